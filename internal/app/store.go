package app

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// tableWait is how long a start waits for the table: an edge serves what it knows.
const tableWait = 3 * time.Second

// openTable opens a DynamoDB table. One that does not answer now is no error:
// what is known goes on being served.
func (s *stores) openTable(ctx context.Context, cfg *Config, onChange func()) error {
	table, err := cfg.table(ctx, onChange)
	if err != nil {
		return err
	}
	s.domains, s.blobs, s.closers = table, table, append(s.closers, table)
	s.name = "dynamodb:" + cfg.TableRegion + "/" + cfg.Table
	checked, cancel := context.WithTimeout(ctx, tableWait)
	defer cancel()
	err = table.Check(checked)
	if errors.Is(err, dynamo.ErrSetup) {
		return fmt.Errorf("--table: %w", err)
	}
	if err != nil {
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
