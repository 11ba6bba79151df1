//go:build !linux

package debiantest

import (
	"errors"
	"os"
	"runtime"
	"testing"
)

// Machine is a Debian that runs.
type Machine struct {
	t     *testing.T
	world elsewhere
}

type elsewhere struct{}

func (elsewhere) do(func()) {}

func unable() string { return "boot Debian on " + runtime.GOOS }

func boot(*testing.T, string) *Machine { return nil }

// Try runs a command on the machine as root, and returns all that it printed.
func (m *Machine) Try(string, ...string) (string, error) { return "", errors.ErrUnsupported }

func (m *Machine) write(string, string, os.FileMode) error { return errors.ErrUnsupported }
