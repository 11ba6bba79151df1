//go:build unix

package app

import (
	"fmt"
	"os"
	"syscall"
)

// lockFile takes the lock on f for this process, until it closes f or ends. It
// reports false when another process has it.
func lockFile(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch err {
	case nil:
		return true, nil
	case syscall.EWOULDBLOCK:
		return false, nil
	}
	return false, fmt.Errorf("lock %s: %w", f.Name(), err)
}
