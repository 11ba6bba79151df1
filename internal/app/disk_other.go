//go:build !linux

package app

import "errors"

func diskOf(string) (diskState, error) {
	return diskState{}, errors.New("the free space is not looked at on this system")
}
