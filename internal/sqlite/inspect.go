package sqlite

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// walWarning is a size of the -wal file, in bytes, at which something keeps SQLite
// from writing it back.
const walWarning = 256 << 20

// maxDamage is how many errors of the integrity check are told.
const maxDamage = 5

// Inspect looks at the file and checks it as a whole, which takes some seconds for
// a million domains. It changes nothing.
func (db *DB) Inspect(ctx context.Context) []shingle.StoreFinding {
	return []shingle.StoreFinding{db.inspectSchema(ctx), db.inspectIntegrity(ctx), db.inspectWAL(ctx), db.inspectMode()}
}

func (db *DB) inspectSchema(ctx context.Context) shingle.StoreFinding {
	f := shingle.StoreFinding{Check: "schema", Severity: shingle.SeverityFailed}
	names, err := fs.Glob(migrations, "migrations/*.sql")
	version := 0
	if err == nil {
		err = db.read.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
	}
	switch {
	case err != nil:
		f.Message, f.Do = Explain(err)
	case version > len(names):
		f.Message, f.Do = fmt.Sprintf("%d, of a newer version of shingle: this one knows %d", version, len(names)), "update shingle"
	case version < len(names):
		f.Severity, f.Message = shingle.SeverityOK, fmt.Sprintf("%d; the next start of this version of shingle makes it %d", version, len(names))
	default:
		f.Severity, f.Message = shingle.SeverityOK, fmt.Sprint(version)
	}
	return f
}

func (db *DB) inspectIntegrity(ctx context.Context) shingle.StoreFinding {
	f := shingle.StoreFinding{Check: "integrity", Severity: shingle.SeverityFailed}
	damage, err := db.damage(ctx)
	switch {
	case err != nil:
		f.Message, f.Do = Explain(err)
	case len(damage) == 1 && damage[0] == "ok":
		f.Severity, f.Message = shingle.SeverityOK, "the whole file is sound"
	default:
		f.Message, f.Do = strings.Join(damage, "; "), doRestore
	}
	return f
}

func (db *DB) damage(ctx context.Context) (list []string, err error) {
	rows, err := db.read.QueryContext(ctx, fmt.Sprintf("PRAGMA integrity_check(%d)", maxDamage))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		list = append(list, text)
	}
	return list, rows.Err()
}

func (db *DB) inspectWAL(ctx context.Context) shingle.StoreFinding {
	f := shingle.StoreFinding{Check: "write-ahead log", Severity: shingle.SeverityOK}
	mode := ""
	if err := db.read.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		f.Severity = shingle.SeverityFailed
		f.Message, f.Do = Explain(err)
		return f
	}
	if mode != "wal" {
		f.Severity, f.Message = shingle.SeverityFailed, "the journal mode is "+mode+": readers and the writer block each other"
		f.Do = "keep the database on a local disk: a network file system cannot have a write-ahead log"
		return f
	}
	var size int64
	if info, err := os.Stat(db.cfg.Path + "-wal"); err == nil {
		size = info.Size()
	}
	f.Message = fmt.Sprintf("on, %d KiB", size>>10)
	if size > walWarning {
		f.Severity, f.Do = shingle.SeverityWarning, "end what holds the database open for long, such as an sqlite3 shell in a transaction; then it shrinks by itself"
	}
	return f
}

// inspectMode looks whether others can read the file, and its companions, which
// have its mode.
func (db *DB) inspectMode() shingle.StoreFinding {
	f := shingle.StoreFinding{Check: "access", Severity: shingle.SeverityOK, Message: "the owner alone"}
	info, err := os.Stat(db.cfg.Path)
	if err != nil {
		f.Severity, f.Message = shingle.SeverityFailed, err.Error()
		return f
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		f.Severity, f.Message = shingle.SeverityWarning, fmt.Sprintf("others on this machine can open the file (mode %04o)", mode)
		f.Do = "chmod 600 " + db.cfg.Path + "*"
	}
	return f
}
