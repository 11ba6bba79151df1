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
	"log/slog"
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
	// Existing has nothing created and no schema changed: the file must be there,
	// and may be of an older version.
	Existing bool
	// KeepChanges is how many entries of the change feed are kept. A reader that
	// is further behind reads all domains again. Default 100,000; at least 1.
	KeepChanges int64
	// OnChange, when set, is called behind each write of a domain in this
	// process. It must not block.
	OnChange func()
	// Unreadable is told of rows that cannot be read; nil: nobody is.
	Unreadable *shingle.Unreadable
	// Logger hears of migrations. Default: none.
	Logger *slog.Logger
}

func (c *Config) validate() error {
	if c.Path == "" {
		return errors.New("open database: the path is missing")
	}
	if c.KeepChanges < 0 {
		return fmt.Errorf("open database: cannot keep %d changes", c.KeepChanges)
	}
	if c.KeepChanges == 0 {
		c.KeepChanges = 100_000
	}
	if c.OnChange == nil {
		c.OnChange = func() {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	var err error
	if c.Path, err = filepath.Abs(c.Path); err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	return nil
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

	_ shingle.DomainCounter = (*DB)(nil)
)

// Open opens or creates the database and brings its schema up to date.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	var err error
	if cfg.Existing {
		_, err = os.Stat(cfg.Path)
	} else {
		err = ensureFile(cfg.Path)
	}
	if err != nil {
		return nil, err
	}
	db := &DB{cfg: cfg}
	if db.write, err = connect(cfg.Path, "immediate", 1); err != nil {
		return nil, err
	}
	if db.read, err = connect(cfg.Path, "deferred", 4); err != nil {
		return nil, errors.Join(err, db.write.Close())
	}
	if cfg.Existing {
		return db, nil
	}
	if err := db.migrateAmongOthers(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// ensureFile makes the file when it is missing, for SQLite would let all read
// it; its -wal and -shm get the mode of this one. It must not open one that
// exists: POSIX has a close drop all locks that this process holds on a file,
// and SQLite's are among them when it is open here already.
func ensureFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make database folder: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	return nil
}

// connect opens a pool. FULL makes each commit durable, in WAL mode too; macOS
// needs fullfsync for that. busy_timeout comes first: the others may wait.
func connect(path, txlock string, conns int) (*sql.DB, error) {
	q := url.Values{"_txlock": {txlock}, "_pragma": {
		"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "fullfsync(1)", "foreign_keys(1)", "trusted_schema(0)",
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

// busyWait is how long a file is waited for that others have just begun to use.
const busyWait = 10 * time.Second

// migrateAmongOthers is migrate for a file that several processes may make at once:
// to begin its WAL takes the file alone, and for that SQLite's busy_timeout does not
// wait.
func (db *DB) migrateAmongOthers(ctx context.Context) error {
	for deadline := time.Now().Add(busyWait); ; {
		err := db.migrate(ctx)
		e, ok := errors.AsType[*sqlite.Error](err)
		if !ok || e.Code()&0xff != sqlite3.SQLITE_BUSY || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// migrate applies the migrations behind the file's user_version, each in a
// transaction of its own.
func (db *DB) migrate(ctx context.Context) error {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return fmt.Errorf("list migrations: %w", err)
	}
	for {
		version := 0
		if err := db.update(ctx, func(tx *sql.Tx) (err error) {
			version, err = db.migrateOnce(ctx, tx, names)
			return err
		}); err != nil {
			return fmt.Errorf("migrate database: %w", err)
		}
		if version == 0 {
			return nil
		}
		db.cfg.Logger.Info("database migrated", "path", db.cfg.Path, "schema", version)
	}
}

// migrateOnce applies the next migration and returns the version that it led
// to, or 0 when there is none.
func (db *DB) migrateOnce(ctx context.Context, tx *sql.Tx, names []string) (int, error) {
	var version int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return 0, err
	}
	if version > len(names) {
		return 0, fmt.Errorf("the database %s is of a newer version of shingle (schema %d, this one knows %d): update shingle", db.cfg.Path, version, len(names))
	}
	if version == len(names) {
		return 0, nil
	}
	script, err := migrations.ReadFile(names[version])
	if err != nil {
		return 0, err
	}
	if _, err := tx.ExecContext(ctx, string(script)); err != nil {
		return 0, fmt.Errorf("apply %s: %w", names[version], err)
	}
	version++
	_, err = tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version))
	return version, err
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
		switch e.Code() & 0xff { // the primary code
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_FULL,
			sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM:
			return &shingle.Error{Code: shingle.CodeUnavailable, Message: "the database cannot be used now, try again later", Err: err}
		}
	}
	return err
}

func checkLimit(limit int) error {
	if limit < 1 || limit > 1000 {
		return &shingle.Error{Code: shingle.CodeInvalid, Field: "limit", Message: "a limit is 1 to 1000"}
	}
	return nil
}

func micros(t time.Time) int64 { return t.UnixMicro() }

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }
