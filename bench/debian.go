package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// debianProgram finds a program that Debian packages: the installed one, or the
// packages' own, unpacked into the cache, which needs no rights on the machine.
// The first package has the program, below /usr; the others are libraries that
// a small machine may lack.
func debianProgram(ctx context.Context, p *peer, cache, program string, packages ...string) error {
	if installed, err := exec.LookPath("/usr/" + program); err == nil {
		p.program = installed
		return nil
	}
	dir := filepath.Join(cache, "debian", packages[0])
	p.program = filepath.Join(dir, "usr", program)
	if _, err := os.Stat(p.program); errors.Is(err, os.ErrNotExist) {
		if err := unpack(ctx, dir, packages); err != nil {
			return err
		}
	}
	libraries, err := filepath.Glob(filepath.Join(dir, "usr/lib/*-linux-gnu*"))
	if err != nil {
		return fmt.Errorf("find libraries: %w", err)
	}
	if len(libraries) > 0 {
		p.env = append(p.env, "LD_LIBRARY_PATH="+strings.Join(libraries, ":"))
	}
	return nil
}

// unpack downloads packages as apt is set up here, and unpacks them to dir,
// which appears only when it is complete.
func unpack(ctx context.Context, dir string, packages []string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "unpack-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // what is left over lies in the cache
	get := exec.CommandContext(ctx, "apt-get", append([]string{"download"}, packages...)...)
	get.Dir = tmp
	if text, err := get.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get download: %w: %s", err, strings.TrimSpace(string(text)))
	}
	archives, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil {
		return fmt.Errorf("find packages: %w", err)
	}
	root := filepath.Join(tmp, "root")
	for _, archive := range archives {
		if _, err := output(ctx, nil, "dpkg-deb", "-x", archive, root); err != nil {
			return err
		}
	}
	if err := os.Rename(root, dir); err != nil {
		return fmt.Errorf("keep packages: %w", err)
	}
	return nil
}
