package app

import (
	"fmt"

	"github.com/dustin/go-humanize"

	"github.com/shingle-proxy/shingle"
)

// diskState is how a disk is.
type diskState struct {
	free, total uint64 // bytes
	noNames     bool   // it takes no more files, however small
	network     string // the kind of remote file system that it is; empty: none
}

// Bounds of the free space.
const (
	diskWarning = 1 << 30
	diskFailure = 64 << 20
)

// inspectDisk says whether there is room for what is at path, and whether it may
// be there.
func inspectDisk(path string) shingle.StoreFinding {
	d, err := diskOf(path)
	if err != nil {
		return shingle.StoreFinding{Check: "disk", Severity: shingle.SeverityUnknown, Message: err.Error()}
	}
	return d.finding()
}

func (d diskState) finding() shingle.StoreFinding {
	f := shingle.StoreFinding{Check: "disk", Severity: shingle.SeverityOK, Message: fmt.Sprintf("%s of %s free", humanize.IBytes(d.free), humanize.IBytes(d.total))}
	switch {
	case d.network != "":
		f.Severity, f.Message = shingle.SeverityFailed, "it is on another machine, by "+d.network+", where locks do not hold and a write may be lost"
		f.Do = "move --data to a disk of this machine"
	case d.noNames:
		f.Severity, f.Message, f.Do = shingle.SeverityFailed, "it has no inode left", "remove files that are not needed: df -i tells where"
	case d.free < diskFailure:
		f.Severity, f.Do = shingle.SeverityFailed, "make room at once: writes fail soon, and with them new domains and renewals"
	case d.free < diskWarning:
		f.Severity, f.Do = shingle.SeverityWarning, "make room, or enlarge the disk"
	}
	return f
}
