package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/migrate"
)

type certsImportCmd struct {
	Source string `arg:"" help:"A path (the storage of Caddy, an acme.json of Traefik, a folder of PEM files), dynamodb:REGION/TABLE or s3://BUCKET/PREFIX."`
	DryRun bool   `help:"Report what would be done, and do nothing. The API checks each certificate, and stores none."`
	Quiet  bool   `short:"q" help:"Report only what needs attention."`
	JSON   bool   `name:"json" help:"Report in JSON lines."`

	Region            string `placeholder:"REGION" help:"Region of the table or bucket. Default: that of the environment."`
	Endpoint          string `placeholder:"URL" help:"Server of the table or bucket, when it is not AWS's."`
	EncryptionKeyFile string `placeholder:"FILE" type:"existingfile" help:"File with the 32 characters that Caddy's S3 storage has as its encryption_key."`
}

// Help is what --help adds.
func (certsImportCmd) Help() string {
	return `What a path is can be seen; caddy:DIR, traefik:FILE and pem:DIR say it. Nothing is changed there.

Each name of a certificate must be a domain: import those first, paused if nothing is to be ordered for
them yet. A certificate that is there already and was issued later, or is to be kept, stays. What is
imported is served at once, and renewed by ACME as any other.

Run it again whenever it was cut short: what is there already is left alone. The exit code is 0 when
every certificate that has not expired is in use, or a newer one, and 1 otherwise.`
}

// What became of a certificate, for one of its names.
const (
	certImported  = "imported"
	certUnchanged = "unchanged"
	certNewer     = "newer" // is there
	certExpired   = "expired"
	certNoDomain  = "no-domain"
	certInvalid   = "invalid"
	certFailed    = "failed" // although the API answers
)

// certReport is what is said of it.
type certReport struct {
	Source   string    `json:"source"`
	Host     string    `json:"host,omitempty"`
	Result   string    `json:"result"`
	Message  string    `json:"message,omitempty"`
	NotAfter time.Time `json:"not_after,omitzero"`

	err error // of a failure that ends the import
}

// attention reports whether somebody must act.
func (r *certReport) attention() bool {
	return r.Result == certNoDomain || r.Result == certInvalid || r.Result == certFailed
}

// Run imports the certificates.
func (c *certsImportCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Certs.client()
	if err != nil {
		return err
	}
	source, err := c.open()
	if err != nil {
		return err
	}
	refs, err := source.List(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Source, err)
	}
	im := &certImport{cmd: c, client: client, source: source}
	counts, bar := map[string]int{}, newProgress(s.Err, "importing")
	done := 0
	for i, reports := range inOrder(ctx, importers, refs, im.one) {
		for _, r := range reports {
			if r.err != nil {
				bar.clear()
				return cutShort(r.err, done, "certificate")
			}
			counts[r.Result]++
			if err := c.print(s.Out, bar, r); err != nil {
				return err
			}
		}
		done = i + 1
		bar.at(done, float64(done)/float64(len(refs)))
	}
	bar.clear()
	if err := ctx.Err(); err != nil {
		return cutShort(err, done, "certificate")
	}
	return c.summarize(s.Err, counts)
}

func (c *certsImportCmd) open() (migrate.Source, error) {
	o := migrate.Options{Region: c.Region, Endpoint: c.Endpoint}
	if c.EncryptionKeyFile != "" {
		key, err := os.ReadFile(c.EncryptionKeyFile)
		if err != nil {
			return nil, err
		}
		o.EncryptionKey = bytes.TrimRight(key, "\r\n")
	}
	return migrate.Open(c.Source, o)
}

func (c *certsImportCmd) print(w io.Writer, bar *progress, r certReport) error {
	if c.Quiet && !r.attention() {
		return nil
	}
	bar.clear()
	if c.JSON {
		return json.NewEncoder(w).Encode(r)
	}
	result := map[string]string{certNewer: "a newer one is there", certNoDomain: "no domain"}[r.Result]
	switch {
	case result != "":
	case c.DryRun && r.Result == certImported:
		result = "would be imported"
	default:
		result = r.Result
	}
	text := fmt.Sprintf("%s  %s  %s", r.Source, orDash(r.Host), result)
	if r.Message != "" {
		text += ": " + r.Message
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

// summarize ends the report, and decides over the exit code.
func (c *certsImportCmd) summarize(w io.Writer, counts map[string]int) error {
	var parts []string
	for _, x := range []struct{ result, text string }{
		{certImported, "imported"}, {certUnchanged, "unchanged"}, {certNewer, "older than what is there"},
		{certExpired, "expired"}, {certNoDomain, "without a domain"}, {certInvalid, "invalid"}, {certFailed, "failed"},
	} {
		if n := counts[x.result]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, x.text))
		}
	}
	if parts == nil {
		parts = []string{"no certificates"}
	}
	how := ""
	if c.DryRun {
		how = "dry run, nothing was done: "
	}
	fmt.Fprintf(w, "%s%s\n", how, strings.Join(parts, ", "))
	n := counts[certNoDomain] + counts[certInvalid] + counts[certFailed]
	switch {
	case n == 0:
		return nil
	case counts[certNoDomain] == n:
		return fmt.Errorf("%s are no domains here: shingle domains import adds many at once", plural(n, "name"))
	}
	return fmt.Errorf("%s of certificates need attention", plural(n, "name"))
}

// certImport sends a source's certificates to the API, a few at once.
type certImport struct {
	cmd    *certsImportCmd
	client *api.Client
	source migrate.Source
}

// one imports a certificate for each of its names.
func (im *certImport) one(ctx context.Context, ref migrate.Ref) []certReport {
	report := certReport{Source: ref.Where}
	c, err := im.source.Load(ctx, ref)
	if err != nil {
		report.err = fmt.Errorf("%s: %w", im.cmd.Source, err)
		return []certReport{report}
	}
	if c.Leaf != nil {
		report.NotAfter = c.Leaf.NotAfter
	}
	names := []string{""}
	if c.Leaf != nil && len(c.Leaf.DNSNames) > 0 {
		names = c.Leaf.DNSNames
	}
	list := make([]certReport, 0, len(names))
	for _, name := range names {
		r := report
		r.Host = name
		switch {
		case c.Leaf != nil && !time.Now().Before(c.Leaf.NotAfter):
			r.Result, r.Message = certExpired, "on "+c.Leaf.NotAfter.UTC().Format(time.DateOnly)
		case c.Problem != "":
			r.Result, r.Message = certInvalid, c.Problem
		case name == "":
			r.Result, r.Message = certInvalid, "it names no host"
		default:
			r = im.bring(ctx, r, &c)
		}
		list = append(list, r)
		if r.err != nil {
			break
		}
	}
	return list
}

// bring imports a certificate for one name, and waits for an API that is away.
func (im *certImport) bring(ctx context.Context, r certReport, c *migrate.Certificate) certReport {
	err := patiently(ctx, func() (err error) {
		r.Result, r.Message, err = im.upload(ctx, r.Host, c)
		return err
	})
	switch {
	case err == nil:
	case errors.Is(err, shingle.ErrNotFound):
		r.Result, r.Message = certNoDomain, "add it and run this again, if it is still yours"
	case errors.Is(err, shingle.ErrExists):
		r.Result, r.Message = certNewer, shingle.MessageOf(err)
	case errors.Is(err, shingle.ErrInvalid):
		r.Result, r.Message = certInvalid, messageWithField(err)
	case errors.Is(err, shingle.ErrUnavailable) && im.answers(ctx, r.Host):
		r.Result, r.Message = certFailed, shingle.MessageOf(err)
	default:
		r.err = err
	}
	return r
}

// answers reports whether the API does: then what failed is about the host alone.
func (im *certImport) answers(ctx context.Context, host string) bool {
	_, err := im.client.Certificate(ctx, host)
	return err == nil || errors.Is(err, shingle.ErrNotFound)
}

// upload sends a certificate, unless what is there is the same or newer: then no key
// needs to travel.
func (im *certImport) upload(ctx context.Context, host string, c *migrate.Certificate) (result, message string, err error) {
	have, err := im.client.Certificate(ctx, host)
	switch {
	case errors.Is(err, shingle.ErrNotFound): // no certificate; or no domain, which the upload tells
	case err != nil:
		return "", "", err
	case have.Serial == hex.EncodeToString(c.Leaf.SerialNumber.Bytes()) && have.NotAfter.Equal(c.Leaf.NotAfter):
		return certUnchanged, "", nil
	case time.Now().Before(have.NotAfter) && have.NotBefore.After(c.Leaf.NotBefore):
		return certNewer, "issued on " + have.NotBefore.UTC().Format(time.DateOnly), nil
	}
	now, err := im.client.UploadCertificate(ctx, host, api.NewCertificate{Chain: c.Chain, Key: c.Key, Issuer: c.Issuer}, true, im.cmd.DryRun)
	if err != nil {
		return "", "", err
	}
	message = "valid until " + now.NotAfter.UTC().Format(time.DateOnly)
	if len(now.Warnings) > 0 {
		message += "; " + strings.Join(now.Warnings, "; ")
	}
	return certImported, message, nil
}
