package app

import (
	"fmt"
	"syscall"
)

// networks are the types of file systems that are on another machine.
var networks = map[int64]string{0x6969: "NFS", 0xff534d42: "CIFS", 0xfe534d42: "SMB", 0x01021997: "9P"}

// diskOf looks at the disk that a path is on. network is what kind of remote file
// system it is; empty: none that is known.
func diskOf(path string) (d diskState, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return d, fmt.Errorf("look at disk: %w", err)
	}
	size := uint64(s.Bsize)
	return diskState{free: s.Bavail * size, total: s.Blocks * size, noNames: s.Files > 0 && s.Ffree == 0, network: networks[int64(uint32(s.Type))]}, nil
}
