package sqlite

import (
	"errors"
	"io/fs"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// doRestore is what helps against a damaged file.
const doRestore = "end shingle, and put a backup in the place of the file and of its -wal and -shm; without one, sqlite3 FILE .recover saves what can be read"

// explanations are what the operator is told of SQLite's primary codes.
var explanations = map[int]struct{ message, do string }{
	sqlite3.SQLITE_BUSY:     {"another process holds it locked", "see which with fuser -v FILE: a backup, or an sqlite3 shell in a transaction; end it, and start again"},
	sqlite3.SQLITE_LOCKED:   {"another process holds it locked", "see which with fuser -v FILE: a backup, or an sqlite3 shell in a transaction; end it, and start again"},
	sqlite3.SQLITE_FULL:     {"the disk is full", "make room on it (df -h tells how full it is), and start again; nothing is lost"},
	sqlite3.SQLITE_CORRUPT:  {"it is damaged", doRestore},
	sqlite3.SQLITE_NOTADB:   {"it is not an SQLite database, or damaged", doRestore},
	sqlite3.SQLITE_READONLY: {"it, its folder or the file system is read-only", "see with mount whether the system made the disk read-only after an error, and with ls -l to whom file and folder belong"},
	sqlite3.SQLITE_CANTOPEN: {"it, or its -wal beside it, cannot be opened", "see with ls -l to whom file and folder belong: both must be of the user that shingle runs as"},
	sqlite3.SQLITE_PERM:     {"this user may not open it", "run shingle as the user who owns the file, or give the folder to this one with chown -R"},
	sqlite3.SQLITE_IOERR:    {"the disk failed", "see with dmesg what the disk reports, and with df -h and df -i whether it is full; if it is broken, move the folder to another one"},
}

// Explain puts an error of [Open] or of an operation into words: what is the
// matter with the file, and what the operator does about it, if that is known.
func Explain(err error) (message, do string) {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		if x, ok := explanations[e.Code()&0xff]; ok {
			return x.message, x.do
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such file", "name the folder of the database with --data; shingle serve makes it at its first start"
	case errors.Is(err, fs.ErrPermission):
		x := explanations[sqlite3.SQLITE_PERM]
		return x.message, x.do
	case errors.Is(err, syscall.ENOSPC):
		x := explanations[sqlite3.SQLITE_FULL]
		return x.message, x.do
	case errors.Is(err, syscall.EROFS):
		x := explanations[sqlite3.SQLITE_READONLY]
		return x.message, x.do
	}
	return err.Error(), ""
}
