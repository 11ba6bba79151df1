// Package sqlite keeps domains and blobs in one SQLite file: the embedded
// default. A kill at any moment loses no acknowledged write.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/shingle-proxy/shingle"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config says where the database is.
type Config struct {
	Path string // created with its folder when missing, for its owner alone
	// KeepChanges is how many entries of the change feed are kept at least.
	// Default 100,000.
	KeepChanges int64
	// OnChange, when set, is called behind each write of a domain in this
	// process. It must not block.
	OnChange func()
}

// DB is a [shingle.DomainStore] and a [shingle.Blobs] over one file, which
// several processes may open at once.
type DB struct {
	cfg   Config
	write *sql.DB // one connection: SQLite has one writer
	read  *sql.DB
}

var (
	_ shingle.DomainStore = (*DB)(nil)
	_ shingle.Blobs       = (*DB)(nil)
)

// Open opens or creates the database and brings its schema up to date.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.KeepChanges == 0 {
		cfg.KeepChanges = 100_000
	}
	if cfg.OnChange == nil {
		cfg.OnChange = func() {}
	}
	if err := os.MkdirAll(filepath.Dir(cfg.Path), 0o700); err != nil {
		return nil, fmt.Errorf("make database folder: %w", err)
	}
	f, err := os.OpenFile(cfg.Path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db := &DB{cfg: cfg}
	if db.write, err = connect(cfg.Path, "immediate", 1); err != nil {
		return nil, err
	}
	if db.read, err = connect(cfg.Path, "deferred", 4); err != nil {
		return nil, errors.Join(err, db.write.Close())
	}
	if err := db.migrate(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// connect opens a pool. FULL makes each commit durable, in WAL mode too.
func connect(path, txlock string, conns int) (*sql.DB, error) {
	q := url.Values{"_txlock": {txlock}, "_pragma": {
		"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "trusted_schema(0)",
	}}
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// Close closes the database.
func (db *DB) Close() error { return errors.Join(db.read.Close(), db.write.Close()) }

// migrate applies the migrations behind the file's user_version, each in a
// transaction of its own.
func (db *DB) migrate(ctx context.Context) error {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	for {
		done := false
		err := db.update(ctx, func(tx *sql.Tx) error {
			var version int
			if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
				return err
			}
			if version > len(names) {
				return fmt.Errorf("the database %s is of a newer version of shingle (schema %d, this one knows %d): update shingle", db.cfg.Path, version, len(names))
			}
			if done = version == len(names); done {
				return nil
			}
			script, err := migrations.ReadFile(names[version])
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, string(script)); err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version+1))
			return err
		})
		if err != nil {
			return fmt.Errorf("migrate database: %w", err)
		}
		if done {
			return nil
		}
	}
}

// update runs f in a write transaction.
func (db *DB) update(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return translate(err)
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback() // the first error is the one that counts
		return translate(err)
	}
	return translate(tx.Commit())
}

// translate turns SQLite's errors into the project's.
func translate(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, sql.ErrNoRows) {
		return shingle.ErrNotFound
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR:
			return &shingle.Error{Code: shingle.CodeUnavailable, Message: "the database is busy or out of space, try again later", Err: err}
		}
	}
	return err
}

func micros(t time.Time) int64 { return t.UnixMicro() }

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }
