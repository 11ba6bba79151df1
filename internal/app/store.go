package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/certs"
	"github.com/shingle-proxy/shingle/internal/files"
	"github.com/shingle-proxy/shingle/internal/sqlite"
	"github.com/shingle-proxy/shingle/internal/storecopy"
)

// stores are where everything is kept.
type stores struct {
	domains shingle.DomainStore
	blobs   shingle.Blobs
	// near is for those who serve, and go on when the home region of the table is
	// cut off: the domains as they are in this region.
	near shingle.DomainStore
	// nearBlobs is likewise; nil: blobs are as near.
	nearBlobs certs.Reader
	name      string // of the domain store, unlike that of any other
	away      bool   // one of them did not answer at the start
	closers   []io.Closer
}

// openStores opens the stores that cfg names. onChange is called behind each
// write of a domain in this process. What is open is the caller's to close, after
// an error too.
func openStores(ctx context.Context, cfg *Config, onChange func()) (*stores, error) {
	s := &stores{}
	if err := s.openDomains(ctx, cfg, onChange); err != nil {
		return s, err
	}
	if err := s.openBlobs(ctx, cfg); err != nil || s.away {
		return s, err
	}
	return s, storecopy.Unfinished(ctx, s.blobs)
}

// openDomains opens what keeps the domains, and all else unless openBlobs opens
// another place for it.
func (s *stores) openDomains(ctx context.Context, cfg *Config, onChange func()) error {
	if cfg.Table != "" {
		return s.openTable(ctx, cfg, onChange)
	}
	return s.openDatabase(ctx, cfg, onChange)
}

// openDatabase opens the database of one machine. One that cannot be opened is
// tried again later by an edge that has a snapshot: customers' visitors need not
// wait for the operator.
func (s *stores) openDatabase(ctx context.Context, cfg *Config, onChange func()) error {
	path := cfg.file("shingle.db")
	open := func(ctx context.Context) (database, error) {
		return sqlite.Open(ctx, sqlite.Config{Path: path, OnChange: onChange, Unreadable: cfg.unreadable})
	}
	db, err := open(ctx)
	if err != nil {
		message, do := sqlite.Explain(err)
		if do == "" {
			return err
		}
		if !cfg.known() || ctx.Err() != nil {
			return fmt.Errorf("the database %s cannot be opened: %s. Do: %s (%w)", path, message, do, err)
		}
		cfg.Logger.Error("database cannot be opened, what is known is served until it can", "path", path, "is", message, "do", do, "error", err)
		db, s.away = &lateDatabase{open: open, log: cfg.Logger, failed: err, next: time.Now().Add(lateRetry)}, true
	}
	s.domains, s.near, s.blobs, s.name, s.closers = db, db, db, "sqlite:"+path, append(s.closers, db)
	return nil
}

// known reports whether this is an edge that has a snapshot to serve from.
func (c *Config) known() bool {
	_, err := os.Stat(c.snapshot())
	return err == nil && c.Role.edge()
}

// reader reads records as near as they are.
func (s *stores) reader() certs.Reader {
	if s.nearBlobs != nil {
		return s.nearBlobs
	}
	return s.blobs
}

func (s *stores) openTable(ctx context.Context, cfg *Config, onChange func()) error {
	table, err := cfg.table(ctx, onChange)
	if err != nil {
		return err
	}
	s.domains, s.near, s.blobs, s.closers = table, table, table, append(s.closers, table)
	if cfg.HomeRegion != "" && cfg.HomeRegion != cfg.TableRegion {
		replica := table.Replica()
		s.near, s.nearBlobs = replica, replica
	}
	s.name = "dynamodb:" + cfg.TableRegion + "/" + cfg.Table
	return s.reach(ctx, cfg, "--table", table.Check)
}

func (s *stores) openBlobs(ctx context.Context, cfg *Config) error {
	kind, where, err := cfg.blobs()
	switch {
	case err != nil || kind == "":
		return err
	case kind == "files":
		folder, err := files.Open(where)
		if err != nil {
			return fmt.Errorf("--blobs: %w", err)
		}
		s.blobs, s.nearBlobs, s.closers = folder, nil, append(s.closers, folder)
		return nil
	}
	bucket, err := cfg.bucket(ctx)
	if err != nil {
		return err
	}
	s.blobs, s.nearBlobs, s.closers = bucket, nil, append(s.closers, bucket)
	return s.reach(ctx, cfg, "--blobs", bucket.Probe)
}

// How long a start waits for a store that is far away: with a snapshot an edge
// can serve, and without it could not.
const (
	storeWait         = 3 * time.Second
	storeWaitSnapshot = time.Second
)

// reach asks a store for something. One that does not answer now is no error:
// what is known goes on being served. Nor is one that lacks something, such as a
// permission, when there is a snapshot: it was good enough once.
func (s *stores) reach(ctx context.Context, cfg *Config, flag string, ask func(context.Context) error) error {
	wait, known := storeWait, cfg.known()
	if known {
		wait = storeWaitSnapshot
	}
	asked, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err := ask(asked)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, shingle.ErrForbidden), !known && errors.Is(err, shingle.ErrSetup):
		return fmt.Errorf("%s: %w", flag, err)
	}
	s.away = true
	cfg.Logger.Warn("store does not answer, what is known is served until it does", "setting", flag, "error", err)
	return nil
}

func (s *stores) close() error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// CreateStore makes what cfg names and is not there: the DynamoDB table, the
// bucket. It returns a line for each that is there now, and what the operator is
// advised to change about it.
func CreateStore(ctx context.Context, cfg Config) (done []string, advice []shingle.StoreFinding, err error) {
	kind, where, err := cfg.blobs()
	if err == nil {
		err = cfg.validateStore()
	}
	switch {
	case err != nil:
		return nil, nil, err
	case cfg.Table == "" && kind != "s3":
		return nil, nil, errors.New("--table: name the DynamoDB table; the database of one machine needs no preparation")
	}
	if cfg.Table != "" {
		if err := cfg.createTable(ctx); err != nil {
			return nil, nil, err
		}
		done = append(done, "the table "+cfg.Table+" is there")
	}
	if kind != "s3" {
		return done, nil, nil
	}
	advice, err = cfg.createBucket(ctx)
	if err != nil {
		return done, nil, err
	}
	return append(done, "the bucket of "+where+" is there, and heeds conditional writes"), advice, nil
}

func (c *Config) createTable(ctx context.Context) error {
	table, err := c.table(ctx, nil)
	if err != nil {
		return err
	}
	return errors.Join(table.EnsureTable(ctx), table.Close())
}

func (c *Config) createBucket(ctx context.Context) (advice []shingle.StoreFinding, err error) {
	bucket, err := c.bucket(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, bucket.Close()) }()
	if _, err := bucket.EnsureBucket(ctx); err != nil {
		message, _ := explain(err)
		return nil, errors.New(message)
	}
	for _, f := range bucket.Settings(ctx) {
		if f.Severity == shingle.SeverityWarning {
			advice = append(advice, f)
		}
	}
	return advice, bucket.Probe(ctx)
}
