// Package app composes the roles of the binary out of their parts. It is the
// only package that knows more than one of them.
package app

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/shingle-proxy/shingle"
)

// The directories that have a name of their own.
const (
	LetsEncrypt        = "https://acme-v02.api.letsencrypt.org/directory"
	LetsEncryptStaging = "https://acme-staging-v02.api.letsencrypt.org/directory"
)

// Config is what a machine that serves needs to know.
type Config struct {
	Target     string // the product behind the custom domains, as [shingle.ParseOrigin] takes it
	EdgeHTTPS  string // address to listen on for visitors
	EdgeHTTP   string // address to listen on for redirects, /health and HTTP-01
	Control    string // address to listen on for the API
	PublicPort int    // the port by which visitors reach EdgeHTTPS; 0: the one listened on
	Data       string // folder of the database, the sealing key and the first API token

	ACMEDirectory string // "letsencrypt", "letsencrypt-staging" or a directory URL
	ACMERoot      string // file of PEM certificates that verify the directory's own HTTPS; empty: the system's
	ACMEEmail     string // where the CA may write to; may be empty
	AgreeTerms    bool   // the operator agrees to the CA's terms of service

	AskToken  string // what /ask demands; empty: nothing
	AccessLog bool   // one line a request
	Version   string
	Logger    *slog.Logger
}

// validate resolves names and refuses what cannot work, saying which flag is at
// fault.
func (c *Config) validate() error {
	switch c.ACMEDirectory {
	case "letsencrypt":
		c.ACMEDirectory = LetsEncrypt
	case "letsencrypt-staging":
		c.ACMEDirectory = LetsEncryptStaging
	case "":
		return errors.New("--acme-ca: name a CA: letsencrypt, letsencrypt-staging or a directory URL")
	}
	if !c.AgreeTerms {
		return fmt.Errorf("--agree-terms: the CA %s issues only to those who agree to its terms of service", c.ACMEDirectory)
	}
	if _, err := shingle.ParseOrigin(c.Target); err != nil {
		return fmt.Errorf("--target: %s", shingle.MessageOf(err))
	}
	if c.Data == "" {
		return errors.New("--data: name a folder for the database")
	}
	return nil
}

func (c *Config) file(elem ...string) string {
	return filepath.Join(append([]string{c.Data}, elem...)...)
}
