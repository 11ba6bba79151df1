package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// database keeps everything in one file.
type database interface {
	shingle.DomainStore
	shingle.DomainCounter
	shingle.Blobs
	io.Closer
}

// lateDatabase is a database that could not be opened at the start, of a process
// that knows enough to serve without. It is tried again when somebody needs it,
// and until then every call fails with [shingle.ErrUnavailable].
type lateDatabase struct {
	open func(ctx context.Context) (database, error)
	log  *slog.Logger

	mu     sync.Mutex
	opened database // nil: not yet
	failed error    // of the last try
	next   time.Time
	trying bool
	closed bool
}

// lateRetry is how often it is tried.
const lateRetry = 5 * time.Second

// get returns the database, which it opens when it is time for that.
func (l *lateDatabase) get(ctx context.Context) (database, error) {
	l.mu.Lock()
	db, try := l.opened, l.opened == nil && !l.trying && !l.closed && !time.Now().Before(l.next)
	err := &shingle.Error{Code: shingle.CodeUnavailable, Message: "the database cannot be opened now", Err: l.failed}
	l.trying = l.trying || try
	l.mu.Unlock()
	switch {
	case db != nil:
		return db, nil
	case !try:
		return nil, err
	}
	db, failed := l.open(context.WithoutCancel(ctx)) // it is for all
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trying, l.next = false, time.Now().Add(lateRetry)
	if failed != nil {
		l.failed = failed
		return nil, &shingle.Error{Code: shingle.CodeUnavailable, Message: err.Message, Err: failed}
	}
	if l.closed {
		return nil, errors.Join(err, db.Close())
	}
	l.opened = db
	l.log.Info("database is open again")
	return db, nil
}

// Close closes the database if it is open.
func (l *lateDatabase) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.opened == nil {
		return nil
	}
	return l.opened.Close()
}

// CreateDomain implements [shingle.DomainStore].
func (l *lateDatabase) CreateDomain(ctx context.Context, d shingle.Domain, now time.Time) (shingle.Domain, error) {
	db, err := l.get(ctx)
	if err != nil {
		return shingle.Domain{}, err
	}
	return db.CreateDomain(ctx, d, now)
}

// Domain implements [shingle.DomainStore].
func (l *lateDatabase) Domain(ctx context.Context, host string) (shingle.Domain, error) {
	db, err := l.get(ctx)
	if err != nil {
		return shingle.Domain{}, err
	}
	return db.Domain(ctx, host)
}

// CountDomains implements [shingle.DomainCounter].
func (l *lateDatabase) CountDomains(ctx context.Context, tenant string, most int) (int, error) {
	db, err := l.get(ctx)
	if err != nil {
		return 0, err
	}
	return db.CountDomains(ctx, tenant, most)
}

// UpdateDomain implements [shingle.DomainStore].
func (l *lateDatabase) UpdateDomain(ctx context.Context, d shingle.Domain, now time.Time) (shingle.Domain, error) {
	db, err := l.get(ctx)
	if err != nil {
		return shingle.Domain{}, err
	}
	return db.UpdateDomain(ctx, d, now)
}

// DeleteDomain implements [shingle.DomainStore].
func (l *lateDatabase) DeleteDomain(ctx context.Context, host string, version int64, by string, now time.Time) error {
	db, err := l.get(ctx)
	if err != nil {
		return err
	}
	return db.DeleteDomain(ctx, host, version, by, now)
}

// Domains implements [shingle.DomainStore].
func (l *lateDatabase) Domains(ctx context.Context, after string, limit int) ([]shingle.Domain, error) {
	db, err := l.get(ctx)
	if err != nil {
		return nil, err
	}
	return db.Domains(ctx, after, limit)
}

// FindDomains implements [shingle.DomainStore].
func (l *lateDatabase) FindDomains(ctx context.Context, q shingle.DomainQuery) ([]shingle.Domain, error) {
	db, err := l.get(ctx)
	if err != nil {
		return nil, err
	}
	return db.FindDomains(ctx, q)
}

// Head implements [shingle.DomainStore].
func (l *lateDatabase) Head(ctx context.Context) (shingle.Cursor, error) {
	db, err := l.get(ctx)
	if err != nil {
		return "", err
	}
	return db.Head(ctx)
}

// Changes implements [shingle.DomainStore].
func (l *lateDatabase) Changes(ctx context.Context, after shingle.Cursor, limit int) ([]shingle.Change, shingle.Cursor, error) {
	db, err := l.get(ctx)
	if err != nil {
		return nil, "", err
	}
	return db.Changes(ctx, after, limit)
}

// Get implements [shingle.Blobs].
func (l *lateDatabase) Get(ctx context.Context, key string) (shingle.Blob, error) {
	db, err := l.get(ctx)
	if err != nil {
		return shingle.Blob{}, err
	}
	return db.Get(ctx, key)
}

// Put implements [shingle.Blobs].
func (l *lateDatabase) Put(ctx context.Context, key string, value []byte, ifVersion string) (string, error) {
	db, err := l.get(ctx)
	if err != nil {
		return "", err
	}
	return db.Put(ctx, key, value, ifVersion)
}

// Delete implements [shingle.Blobs].
func (l *lateDatabase) Delete(ctx context.Context, key, ifVersion string) error {
	db, err := l.get(ctx)
	if err != nil {
		return err
	}
	return db.Delete(ctx, key, ifVersion)
}

// List implements [shingle.Blobs].
func (l *lateDatabase) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	db, err := l.get(ctx)
	if err != nil {
		return nil, err
	}
	return db.List(ctx, prefix, after, limit)
}
