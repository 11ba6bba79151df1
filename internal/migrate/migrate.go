// Package migrate reads certificates and keys out of the stores of other programs:
// Caddy's, in a folder, a DynamoDB table or an S3 bucket; Traefik's acme.json; and
// folders of PEM files. It changes nothing there.
package migrate

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Source is a store of another program.
type Source interface {
	// List returns all certificates that there are, and reads no more than that
	// takes. An error means that the source cannot be read.
	List(ctx context.Context) ([]Ref, error)
	// Load reads one. An error is the source's, and may be gone at another time;
	// what is wrong with the certificate is its Problem.
	Load(ctx context.Context, r Ref) (Certificate, error)
}

// Ref names a certificate in a source.
type Ref struct {
	Where string // for people: a file, or a key of the storage

	issuer string   // what the source knows of it already
	files  []string // its keys in a storage of CertMagic
	index  int      // in other sources
}

// Certificate is a certificate as a source has it. Whether it is good for visitors
// remains to be checked.
type Certificate struct {
	Chain, Key string            // PEM
	Leaf       *x509.Certificate // nil when Problem says so
	Issuer     string            // directory URL of the CA; empty: not known
	Problem    string            // why it is of no use; empty: nothing is known against it
}

// Options are what a source may need beside its place.
type Options struct {
	Region        string // of the table or bucket; empty: that of the environment
	Endpoint      string // URL of a server other than AWS's own
	EncryptionKey []byte // of a bucket's objects (NaCl secretbox); nil: they are plain
}

// Open opens a source by its address: KIND:PLACE, or a path alone, whose kind can be
// seen. It reaches out to nobody yet.
func Open(address string, o Options) (Source, error) {
	s, err := open(address, o)
	if err != nil {
		return nil, err
	}
	return parsing{s}, nil
}

func open(address string, o Options) (Source, error) {
	kind, place, _ := strings.Cut(address, ":")
	switch {
	case place == "":
	case kind == "caddy":
		return openCaddy(place)
	case kind == "traefik":
		return openTraefik(place)
	case kind == "pem":
		return openPEM(place)
	case kind == "dynamodb":
		if region, name, ok := strings.Cut(place, "/"); ok {
			place, o.Region = name, region
		}
		return openTable(place, o)
	case kind == "s3":
		return openBucket(strings.TrimPrefix(place, "//"), o)
	}
	info, err := os.Stat(address)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s is neither a path nor one of caddy:DIR, traefik:FILE, pem:DIR, dynamodb:REGION/TABLE and s3://BUCKET/PREFIX: %w", address, err)
	case !info.IsDir():
		return openTraefik(address)
	}
	if _, err := os.Stat(filepath.Join(address, certificatesPrefix)); err == nil {
		return openCaddy(address)
	}
	return openPEM(address)
}

// parsing is a Source that parses what another one loads.
type parsing struct{ Source }

// Load implements [Source].
func (p parsing) Load(ctx context.Context, r Ref) (Certificate, error) {
	c, err := p.Source.Load(ctx, r)
	if err != nil || c.Chain == "" {
		return c, err
	}
	for block, rest := pem.Decode([]byte(c.Chain)); block != nil && c.Leaf == nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if leaf, err := x509.ParseCertificate(block.Bytes); err == nil && !leaf.IsCA {
			c.Leaf = leaf
		}
	}
	switch {
	case c.Leaf == nil:
		c.Problem = cmp.Or(c.Problem, "there is no certificate of a host in it")
	case c.Issuer == "":
		c.Issuer = directoryOf(c.Leaf)
	}
	c.Problem = cmp.Or(c.Problem, forTests(c.Issuer))
	return c, nil
}
