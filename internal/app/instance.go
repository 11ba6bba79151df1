package app

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
)

// instance is the name of the process that uses a data folder. The processes
// that ran there before had the same name, so what one of them left when it was
// killed is ours.
type instance struct {
	name string   // empty: another live process uses the folder, and has the name
	file *os.File // locked while we live
}

// openInstance reads or makes the name in the file at path.
func openInstance(path string) (i *instance, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open instance: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open instance: %w", errors.Join(err, f.Close()))
		}
	}()
	i = &instance{file: f}
	locked, err := lockFile(f)
	if err != nil || !locked {
		return i, err
	}
	name, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return i, err
	}
	if i.name = string(name); i.name == "" {
		i.name = rand.Text()
		_, err = f.WriteString(i.name)
	}
	return i, err
}

// close ends the use of the folder.
func (i *instance) close() error { return i.file.Close() }
