package app

import (
	"context"
	"path/filepath"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/files"
	"github.com/shingle-proxy/shingle/internal/members"
	"github.com/shingle-proxy/shingle/internal/sqlite"
	"github.com/shingle-proxy/shingle/internal/storecheck"
	"github.com/shingle-proxy/shingle/internal/storecopy"
)

// StoreReport is what [CheckStore] found out about one place.
type StoreReport = storecheck.Report

const (
	keepsAll     = "everything"
	keepsDomains = "domains"
	keepsBlobs   = "certificates and all else"
)

// CheckStore tries everything that the processes do to the stores that cfg names,
// and looks at how they are set up. It writes under keys of its own, of which it
// leaves none, and makes nothing that is not there. The error is for a
// configuration that cannot be.
func CheckStore(ctx context.Context, cfg Config) ([]*StoreReport, error) {
	if err := cfg.validateStore(); err != nil {
		return nil, err
	}
	kind, where, err := cfg.blobs()
	if err != nil {
		return nil, err
	}
	first := &StoreReport{Keeps: keepsAll, Explain: explain}
	if kind != "" {
		first.Keeps = keepsDomains
	}
	if cfg.Table != "" {
		err = cfg.checkTable(ctx, first)
	} else {
		cfg.checkDatabase(ctx, first)
	}
	if kind == "" || err != nil {
		return []*StoreReport{first}, err
	}
	second := &StoreReport{Place: cfg.Blobs, Keeps: keepsBlobs, Explain: explain}
	if kind == "files" {
		cfg.checkFolder(ctx, where, second)
	} else {
		err = cfg.checkBucket(ctx, second)
	}
	return []*StoreReport{first, second}, err
}

func (c *Config) checkTable(ctx context.Context, r *StoreReport) error {
	r.Place = "dynamodb:" + c.TableRegion + "/" + c.Table
	table, err := c.table(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = table.Close() }()
	if !r.Domains(ctx, table) {
		return nil
	}
	r.Blobs(ctx, table) // also where they are in a bucket: the calls are those that write domains
	r.Add(table.Inspect(ctx)...)
	if r.Keeps == keepsAll {
		c.checkKept(ctx, table, r)
	}
	return nil
}

func (c *Config) checkDatabase(ctx context.Context, r *StoreReport) {
	path := c.file("shingle.db")
	r.Place = "sqlite:" + path
	db, err := sqlite.Open(ctx, sqlite.Config{Path: path, Existing: true})
	if err != nil {
		r.Fail("file", err)
		return
	}
	defer func() { _ = db.Close() }()
	r.Add(inspectDisk(filepath.Dir(path)))
	if r.Domains(ctx, db) && r.Blobs(ctx, db) && r.Keeps == keepsAll {
		c.checkKept(ctx, db, r)
	}
	r.Add(db.Inspect(ctx)...)
}

func (c *Config) checkBucket(ctx context.Context, r *StoreReport) error {
	bucket, err := c.bucket(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = bucket.Close() }()
	if r.Blobs(ctx, bucket) {
		r.Add(bucket.Inspect(ctx)...)
		c.checkKept(ctx, bucket, r)
	}
	return nil
}

func (c *Config) checkFolder(ctx context.Context, dir string, r *StoreReport) {
	folder, err := files.Open(dir)
	if err != nil {
		r.Fail("folder", err)
		return
	}
	defer func() { _ = folder.Close() }()
	r.Add(inspectDisk(dir))
	if r.Blobs(ctx, folder) {
		c.checkKept(ctx, folder, r)
	}
}

// checkKept looks at what is in the store.
func (c *Config) checkKept(ctx context.Context, b shingle.Blobs, r *StoreReport) {
	if err := storecopy.Unfinished(ctx, b); err != nil {
		r.Fail("content", err)
	}
	c.checkKeys(ctx, b, r)
	r.Add(checkReadable(ctx, b))
}

// checkReadable asks what the processes that are at work have met and could not read.
func checkReadable(ctx context.Context, b shingle.Blobs) shingle.StoreFinding {
	f := shingle.StoreFinding{Check: "records", Severity: shingle.SeverityOK, Message: "no process tells of any that it cannot read"}
	list, _, err := members.New(members.Config{Blobs: b}).Members(ctx, "", 1000)
	if err != nil {
		f.Severity, f.Message = shingle.SeverityUnknown, "what processes could not read is not known: "+shingle.MessageOf(err)
		return f
	}
	for i := range list {
		if list[i].Unreadable != "" {
			f.Severity, f.Message = shingle.SeverityWarning, list[i].Name+" tells: "+list[i].Unreadable
			f.Do = "docs/storage.md, Records that cannot be read, says what to do; the log of " + list[i].Name + " has the others"
		}
	}
	return f
}
