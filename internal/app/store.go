package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/dynamo"
	"github.com/shingle-proxy/shingle/internal/sqlite"
)

// stores are where everything is kept.
type stores struct {
	domains shingle.DomainStore
	blobs   shingle.Blobs
	name    string // of the domain store, unlike that of any other
	away    bool   // it did not answer at the start
	closers []io.Closer
}

// openStores opens the stores that cfg names. onChange is called behind each
// write of a domain in this process. What is open is the caller's to close, after
// an error too.
func openStores(ctx context.Context, cfg *Config, onChange func()) (*stores, error) {
	s := &stores{}
	if cfg.Table != "" {
		return s, s.openTable(ctx, cfg, onChange)
	}
	path := cfg.file("shingle.db")
	db, err := sqlite.Open(ctx, sqlite.Config{Path: path, OnChange: onChange})
	if err != nil {
		return s, err
	}
	s.domains, s.blobs, s.name, s.closers = db, db, "sqlite:"+path, append(s.closers, db)
	return s, nil
}

// How long a start waits for the table: with a snapshot an edge can serve, and
// without it could not.
const (
	tableWait         = 3 * time.Second
	tableWaitSnapshot = time.Second
)

// openTable opens a DynamoDB table. One that does not answer now is no error:
// what is known goes on being served. Nor is one that lacks something, such as a
// permission, when there is a snapshot: it was good enough once.
func (s *stores) openTable(ctx context.Context, cfg *Config, onChange func()) error {
	table, err := cfg.table(ctx, onChange)
	if err != nil {
		return err
	}
	s.domains, s.blobs, s.closers = table, table, append(s.closers, table)
	s.name = "dynamodb:" + cfg.TableRegion + "/" + cfg.Table
	wait, known := tableWait, false
	if _, err := os.Stat(cfg.snapshot()); err == nil && cfg.Role.edge() {
		wait, known = tableWaitSnapshot, true
	}
	checked, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err = table.Check(checked)
	if errors.Is(err, dynamo.ErrSetup) && !known {
		return fmt.Errorf("--table: %w", err)
	}
	if s.away = err != nil; s.away {
		cfg.Logger.Warn("table does not answer, what is known is served until it does", "table", cfg.Table, "error", err)
	}
	return nil
}

func (c *Config) table(ctx context.Context, onChange func()) (*dynamo.Store, error) {
	return dynamo.Open(ctx, dynamo.Config{
		Table: c.Table, Region: c.TableRegion, HomeRegion: c.HomeRegion,
		Endpoint: c.DynamoDBEndpoint, HomeEndpoint: c.HomeDynamoDBEndpoint, OnChange: onChange,
	})
}

func (s *stores) close() error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// CreateStore makes the DynamoDB table that cfg names, unless it is there.
func CreateStore(ctx context.Context, cfg Config) error {
	if cfg.Table == "" {
		return errors.New("--table: name the DynamoDB table; the database of one machine needs no preparation")
	}
	if err := cfg.validateStore(); err != nil {
		return err
	}
	table, err := cfg.table(ctx, nil)
	if err != nil {
		return err
	}
	return errors.Join(table.EnsureTable(ctx), table.Close())
}
