//go:build unix

package keyfile

import (
	"io/fs"
	"os"
	"syscall"
)

// openToOthers reports whether more can read a key file than have to.
func openToOthers(info fs.FileInfo) bool {
	allowed := fs.FileMode(0o700)
	if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != os.Geteuid() {
		allowed |= 0o040
	}
	return info.Mode().Perm()&^allowed != 0
}
