package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/shingle-proxy/shingle/internal/api"
)

type certsUploadCmd struct {
	Host   string `arg:"" help:"The customer's name, of a domain that was added."`
	Chain  string `required:"" placeholder:"FILE" type:"existingfile" help:"PEM file with the certificate and its intermediates, in any order; - reads the standard input."`
	Key    string `required:"" placeholder:"FILE" type:"existingfile" help:"PEM file with the private key, not encrypted; - reads the standard input."`
	Keep   bool   `help:"Do not replace it by ACME while it is valid."`
	DryRun bool   `help:"Check it, and change nothing."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Help is what --help adds.
func (certsUploadCmd) Help() string {
	return `The certificate is served by every edge within half a minute, in place of whatever was there. Before it
ends it is renewed by ACME as any other; with --keep you are told 30, 14, 7 and 1 days before it ends, and
ACME takes over only then. The key is sealed in the store, and nothing shows it again.`
}

// Run uploads a certificate.
func (c *certsUploadCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Certs.client()
	if err != nil {
		return err
	}
	if c.Chain == "-" && c.Key == "-" {
		return errors.New("--chain and --key: only one of them can be the standard input")
	}
	chain, err := readUpload("--chain", c.Chain, s)
	if err != nil {
		return err
	}
	key, err := readUpload("--key", c.Key, s)
	if err != nil {
		return err
	}
	cert, err := client.UploadCertificate(ctx, c.Host, api.NewCertificate{Chain: chain, Key: key, Keep: c.Keep}, false, c.DryRun)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, cert)
	}
	if c.DryRun {
		fmt.Fprintln(s.Err, "dry run, nothing was done")
	}
	return printCertificate(s.Out, cert, time.Now())
}

// maxUpload bounds a file that is uploaded; the API takes less.
const maxUpload = 64 << 10

func readUpload(flag, name string, s streams) (string, error) {
	f, _, err := openInput(name, s)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxUpload+1))
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	if len(data) > maxUpload {
		return "", fmt.Errorf("%s: %s is too large for a certificate or key in PEM", flag, name)
	}
	return string(data), nil
}
