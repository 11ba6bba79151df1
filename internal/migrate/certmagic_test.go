package migrate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"

	"github.com/shingle-proxy/shingle/internal/certtest"
)

// issuer is a CA to CertMagic, of which there may be several.
type issuer struct {
	ca        *certtest.CA
	key       string // as CertMagic calls it
	directory string // in the metadata; empty: an old version did not tell
}

func (i *issuer) IssuerKey() string { return i.key }

func (i *issuer) Issue(_ context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	return &certmagic.IssuedCertificate{
		Certificate: []byte(i.ca.Certify(csr.PublicKey, nil, csr.DNSNames...).Chain()),
		Metadata:    acme.Certificate{URL: "https://acme-v02.api.letsencrypt.org/acme/cert/0a", CA: i.directory, Account: "https://acme-v02.api.letsencrypt.org/acme/acct/7"},
	}, nil
}

const letsEncrypt = "acme-v02.api.letsencrypt.org-directory"

// caddyFolder has CertMagic itself obtain certificates for hosts, into a folder.
func caddyFolder(t *testing.T, by *issuer, hosts ...string) string {
	t.Helper()
	dir := t.TempDir()
	storage := &certmagic.FileStorage{Path: dir}
	var cfg *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return cfg, nil }})
	t.Cleanup(cache.Stop)
	cfg = certmagic.New(cache, certmagic.Config{Storage: storage, Issuers: []certmagic.Issuer{by}})
	for _, host := range hosts {
		if err := cfg.ObtainCertSync(t.Context(), host); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// collect reads all of a source.
func collect(t *testing.T, s Source) map[string]Certificate {
	t.Helper()
	refs, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]Certificate{}
	for _, r := range refs {
		c, err := s.Load(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		all[r.Where] = c
	}
	return all
}

// wantCertificate fails unless the certificate is whole, and for host.
func wantCertificate(t *testing.T, c Certificate, host, directory string) {
	t.Helper()
	if c.Problem != "" || c.Issuer != directory || c.Leaf == nil || !slices.Contains(c.Leaf.DNSNames, host) {
		t.Errorf("%s: problem %q, issuer %q", host, c.Problem, c.Issuer)
	}
	if pair, err := tls.X509KeyPair([]byte(c.Chain), []byte(c.Key)); err != nil || len(pair.Certificate) != 2 {
		t.Errorf("%s: chain and key: %v", host, err)
	}
}

func mustOpen(t *testing.T, address string, o Options) Source {
	t.Helper()
	s, err := Open(address, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCaddy_WhatCertMagicWrites(t *testing.T) {
	ca := certtest.New(t, "Example")
	directory := "https://acme-v02.api.letsencrypt.org/directory"
	for name, by := range map[string]*issuer{
		"with its directory": {ca, letsEncrypt, directory},
		"an old version":     {ca, letsEncrypt, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := caddyFolder(t, by, "a.example.com", "*.example.com")
			for _, address := range []string{dir, "caddy:" + dir} {
				all := collect(t, mustOpen(t, address, Options{}))
				if len(all) != 2 {
					t.Fatalf("%d certificates", len(all))
				}
				base := "certificates/" + letsEncrypt + "/"
				wantCertificate(t, all[base+"a.example.com/a.example.com.crt"], "a.example.com", directory)
				wantCertificate(t, all[base+"wildcard_.example.com/wildcard_.example.com.crt"], "*.example.com", directory)
			}
		})
	}
}

func TestCaddy_WhatIsOfNoUse(t *testing.T) {
	ca := certtest.New(t, "Example")
	for key, words := range map[string]string{
		"local": "private CA of Caddy",
		"acme-staging-v02.api.letsencrypt.org-directory": "CA for tests",
	} {
		for where, c := range collect(t, mustOpen(t, caddyFolder(t, &issuer{ca, key, ""}, "a.example.com"), Options{})) {
			if !strings.Contains(c.Problem, words) {
				t.Errorf("%s: problem %q", where, c.Problem)
			}
		}
	}
	dir := caddyFolder(t, &issuer{ca, letsEncrypt, ""}, "a.example.com", "b.example.com", "c.example.com")
	site := func(name, ext string) string {
		return filepath.Join(dir, "certificates", letsEncrypt, name+".example.com", name+".example.com"+ext)
	}
	check(t, os.Remove(site("a", ".key")))
	check(t, os.WriteFile(site("b", ".crt"), []byte("half"), 0o600))
	check(t, os.Truncate(site("c", ".crt"), maxFile+1))
	all := collect(t, mustOpen(t, dir, Options{}))
	for name, words := range map[string]string{"a": "its key is missing", "b": "no certificate of a host", "c": "too large"} {
		if c := all["certificates/"+letsEncrypt+"/"+name+".example.com/"+name+".example.com.crt"]; !strings.Contains(c.Problem, words) {
			t.Errorf("%s: problem %q", name, c.Problem)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpen_WhatIsNoSource(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	check(t, os.WriteFile(text, []byte("hello"), 0o600))
	for address, words := range map[string]string{
		dir + "/nowhere": "neither a path nor one of caddy:DIR",
		"caddy:" + dir:   "name the storage of Caddy",
		"caddy:":         "neither a path",
		"traefik:" + dir: "directory",
		text:             "not an acme.json",
		"pem:" + text:    "not a folder",
	} {
		if _, err := Open(address, Options{}); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, err := Open("s3:bucket", Options{EncryptionKey: []byte("short")}); err == nil || !strings.Contains(err.Error(), "32 bytes") {
		t.Errorf("a short key: %v", err)
	}
}
