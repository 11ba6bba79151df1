package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/dynamo"
	"github.com/shingle-proxy/shingle/internal/files"
	"github.com/shingle-proxy/shingle/internal/s3"
	"github.com/shingle-proxy/shingle/internal/sqlite"
)

// StoreReport is what [CheckStore] found out about one place.
type StoreReport struct {
	Place    string // such as "dynamodb:eu-central-1/shingle"
	Keeps    string // what is there
	Findings []shingle.StoreFinding
	// Reads and Writes are how long some calls took, in order; none: they failed.
	Reads, Writes []time.Duration
}

// Failed reports whether something does not work.
func (r *StoreReport) Failed() bool { return r.has(shingle.SeverityFailed) }

func (r *StoreReport) has(s shingle.Severity) bool {
	for _, f := range r.Findings {
		if f.Severity == s {
			return true
		}
	}
	return false
}

// add adds findings. What is the matter is said once, however much it breaks.
func (r *StoreReport) add(list ...shingle.StoreFinding) {
	for _, f := range list {
		known := slices.ContainsFunc(r.Findings, func(is shingle.StoreFinding) bool {
			return is.Severity == shingle.SeverityFailed && is.Message == f.Message
		})
		if !known {
			r.Findings = append(r.Findings, f)
		}
	}
}

// fail notes an error, and reports whether the store can be asked for more: it was
// an answer.
func (r *StoreReport) fail(check string, err error) (answers bool) {
	message, do := explain(err)
	r.add(shingle.StoreFinding{Check: check, Severity: shingle.SeverityFailed, Message: message, Do: do})
	return errors.Is(err, dynamo.ErrSetup) || errors.Is(err, s3.ErrSetup) || errors.Is(err, shingle.ErrForbidden)
}

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
	first := &StoreReport{Keeps: keepsAll}
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
	second := &StoreReport{Place: cfg.Blobs, Keeps: keepsBlobs}
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
	if !checkDomains(ctx, table, r) {
		return nil
	}
	checkBlobs(ctx, table, r) // also where they are in a bucket: the calls are those that write domains
	r.add(table.Inspect(ctx)...)
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
		r.fail("file", err)
		return
	}
	defer func() { _ = db.Close() }()
	r.add(inspectDisk(filepath.Dir(path)))
	if checkDomains(ctx, db, r) && checkBlobs(ctx, db, r) && r.Keeps == keepsAll {
		c.checkKept(ctx, db, r)
	}
	r.add(db.Inspect(ctx)...)
}

func (c *Config) checkBucket(ctx context.Context, r *StoreReport) error {
	bucket, err := c.bucket(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = bucket.Close() }()
	if checkBlobs(ctx, bucket, r) {
		r.add(bucket.Inspect(ctx)...)
		c.checkKept(ctx, bucket, r)
	}
	return nil
}

func (c *Config) checkFolder(ctx context.Context, dir string, r *StoreReport) {
	folder, err := files.Open(dir)
	if err != nil {
		r.fail("folder", err)
		return
	}
	defer func() { _ = folder.Close() }()
	r.add(inspectDisk(dir))
	if checkBlobs(ctx, folder, r) {
		c.checkKept(ctx, folder, r)
	}
}

// checkKept looks at what is in the store.
func (c *Config) checkKept(ctx context.Context, b shingle.Blobs, r *StoreReport) {
	if err := unfinishedCopy(ctx, b); err != nil {
		r.fail("content", err)
	}
	c.checkKeys(ctx, b, r)
}

// checkDomains reads as an edge does. It reports whether the store answers.
func checkDomains(ctx context.Context, s shingle.DomainStore, r *StoreReport) bool {
	var t timer
	for range checkCalls {
		for _, ask := range []func() error{
			func() error { _, err := s.Head(ctx); return err },
			func() error { _, err := s.Domains(ctx, "", 1); return err },
			func() error { _, err := s.Domain(ctx, "store-check.invalid"); return absent(err) },
		} {
			if err := t.time(ask); err != nil {
				return r.fail("domains", err)
			}
		}
	}
	r.add(shingle.StoreFinding{Check: "domains", Severity: shingle.SeverityOK, Message: t.String()})
	return true
}

// absent is an error unless err says that there is no such record.
func absent(err error) error {
	switch {
	case errors.Is(err, shingle.ErrNotFound):
		return nil
	case err == nil:
		return errors.New("there is what nobody has written")
	}
	return err
}

// explain puts an error of a store into words, for the operator, who may know what
// happened; and what he does about it, if the words do not say so.
func explain(err error) (message, do string) {
	if message, do = sqlite.Explain(err); do != "" {
		return message, do
	}
	e, ok := errors.AsType[*shingle.Error](err)
	if !ok {
		return err.Error(), ""
	}
	message = e.Message
	if e.Err != nil && !errors.Is(err, dynamo.ErrSetup) && !errors.Is(err, s3.ErrSetup) {
		message = fmt.Sprintf("%s (%s)", message, rootOf(e.Err))
	}
	return message, ""
}

// rootOf is the first cause of an error.
func rootOf(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
