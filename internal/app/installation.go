package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/dynamo"
	"github.com/shingle-proxy/shingle/internal/files"
	"github.com/shingle-proxy/shingle/internal/s3"
	"github.com/shingle-proxy/shingle/internal/sqlite"
	"github.com/shingle-proxy/shingle/internal/storecopy"
)

// place is where a store is, as `shingle store copy` names it.
type place struct {
	kind             string // "sqlite", "dynamodb", "s3" or "files"
	name             string // the file, the table, BUCKET/PREFIX or the folder
	region, endpoint string // of the two in the middle
}

// String is what [parsePlace] reads, without an endpoint.
func (p place) String() string {
	switch p.kind {
	case "dynamodb":
		return "dynamodb:" + p.region + "/" + p.name
	case "s3":
		return "s3://" + p.name
	}
	return p.kind + ":" + p.name
}

// parsePlace reads "sqlite:FILE", "dynamodb:REGION/TABLE", "s3://BUCKET/PREFIX" or
// "files:FOLDER". Behind the two in the middle there may be "?region=R&endpoint=URL".
func parsePlace(text string) (p place, err error) {
	wrong := fmt.Errorf("%q is none of sqlite:FILE, dynamodb:REGION/TABLE, s3://BUCKET/PREFIX and files:FOLDER", text)
	kind, name, ok := strings.Cut(text, ":")
	if !ok {
		return p, wrong
	}
	p = place{kind: kind, name: name}
	switch kind {
	case "sqlite", "files":
		if p.name != "" {
			p.name, err = filepath.Abs(p.name)
		}
	case "dynamodb", "s3":
		name, query, _ := strings.Cut(name, "?")
		settings, queryErr := url.ParseQuery(query)
		p.name, p.region, p.endpoint, err = strings.Trim(name, "/"), settings.Get("region"), settings.Get("endpoint"), queryErr
		if kind == "dynamodb" {
			p.region, p.name, _ = strings.Cut(p.name, "/")
		} else if !strings.HasPrefix(name, "//") {
			return p, wrong
		}
	default:
		return p, wrong
	}
	if err != nil || p.name == "" || kind == "dynamodb" && p.region == "" {
		return p, wrong
	}
	return p, nil
}

// installation is where everything of an installation is.
type installation struct{ domains, blobs place }

// parseInstallation reads one place, or two with a comma between: the domains' and
// that of all else.
func parseInstallation(text string) (i installation, err error) {
	first, second, both := strings.Cut(text, ",")
	if i.domains, err = parsePlace(first); err != nil {
		return i, err
	}
	i.blobs = i.domains
	if both {
		if i.blobs, err = parsePlace(second); err != nil {
			return i, err
		}
	}
	switch {
	case i.domains.kind == "s3", i.domains.kind == "files":
		return i, fmt.Errorf("%s cannot keep domains: name where they are first, such as dynamodb:eu-central-1/shingle,%s", i.domains, i.domains)
	case both && i.blobs != i.domains && i.blobs.kind != "s3" && i.blobs.kind != "files":
		return i, fmt.Errorf("what is not with the domains is in a bucket or a folder, not in %s", i.blobs)
	}
	if i.blobs.region == "" {
		i.blobs.region = i.domains.region
	}
	return i, nil
}

// String is what [parseInstallation] reads.
func (i installation) String() string {
	if i.blobs == i.domains {
		return i.domains.String()
	}
	return i.domains.String() + "," + i.blobs.String()
}

// opened is an installation that is open.
type opened struct {
	installation
	domainStore shingle.MovableStore
	blobStore   shingle.Blobs
	unreadable  *shingle.Unreadable // rows that cannot be copied
	closers     []io.Closer
}

// openInstallation opens the places of i. What is there must be there already
// unless mayMake: then a database and a folder are made. The caller closes what is
// returned, after an error too.
func openInstallation(ctx context.Context, i installation, mayMake bool) (o *opened, err error) {
	o = &opened{installation: i, unreadable: shingle.NewUnreadable(slog.New(slog.DiscardHandler))}
	switch i.domains.kind {
	case "sqlite":
		err = o.openDatabase(ctx, mayMake)
	default:
		err = o.openTable(ctx)
	}
	if err != nil || i.blobs == i.domains {
		return o, err
	}
	if i.blobs.kind == "files" {
		return o, o.openFolder(mayMake)
	}
	return o, o.openBucket(ctx, mayMake)
}

func (o *opened) openDatabase(ctx context.Context, mayMake bool) error {
	db, err := sqlite.Open(ctx, sqlite.Config{Path: o.domains.name, Existing: !mayMake, Unreadable: o.unreadable})
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no %s: %w", o.domains, err)
	}
	if err != nil {
		message, _ := explain(err)
		return fmt.Errorf("%s: %s", o.domains, message)
	}
	o.domainStore, o.blobStore, o.closers = db, db, append(o.closers, db)
	return db.Current(ctx)
}

func (o *opened) openTable(ctx context.Context) error {
	table, err := dynamo.Open(ctx, dynamo.Config{Table: o.domains.name, Region: o.domains.region, Endpoint: o.domains.endpoint, Unreadable: o.unreadable})
	if err != nil {
		return err
	}
	o.domainStore, o.blobStore, o.closers = table, table, append(o.closers, table)
	if err := table.Check(ctx); err != nil {
		message, _ := explain(err)
		return fmt.Errorf("%s: %s", o.domains, message)
	}
	return nil
}

func (o *opened) openFolder(mayMake bool) error {
	if _, err := os.Stat(o.blobs.name); errors.Is(err, fs.ErrNotExist) && !mayMake {
		return fmt.Errorf("there is no %s: %w", o.blobs, err)
	}
	folder, err := files.Open(o.blobs.name)
	if err != nil {
		return fmt.Errorf("%s: %w", o.blobs, err)
	}
	o.blobStore, o.closers = folder, append(o.closers, folder)
	return nil
}

func (o *opened) openBucket(ctx context.Context, written bool) error {
	name, prefix, _ := strings.Cut(o.blobs.name, "/")
	bucket, err := s3.Open(ctx, s3.Config{Bucket: name, Prefix: prefix, Region: o.blobs.region, Endpoint: o.blobs.endpoint, PathStyle: o.blobs.endpoint != ""})
	if err != nil {
		return fmt.Errorf("%s: %w", o.blobs, err)
	}
	o.blobStore, o.closers = bucket, append(o.closers, bucket)
	if written {
		err = bucket.Probe(ctx)
	} else {
		_, err = bucket.List(ctx, "", "", 1)
	}
	if err != nil {
		message, _ := explain(err)
		return fmt.Errorf("%s: %s", o.blobs, message)
	}
	return nil
}

// movable is it, for a copy.
func (o *opened) movable() *storecopy.Installation {
	return &storecopy.Installation{Name: o.String(), Domains: o.domainStore, Blobs: o.blobStore, Unreadable: o.unreadable}
}

func (o *opened) close() error {
	var errs []error
	for _, c := range o.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
