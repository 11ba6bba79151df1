//go:build !unix

package app

import "os"

// lockFile reports that the lock cannot be had.
func lockFile(*os.File) (bool, error) { return false, nil }
