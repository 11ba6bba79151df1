package migrate

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle/internal/certtest"
)

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	file := filepath.Join(dir, name)
	check(t, os.MkdirAll(filepath.Dir(file), 0o700))
	check(t, os.WriteFile(file, []byte(text), 0o600))
}

type object = map[string]any

// acmeJSON is what Traefik 2 and 3 have for a resolver.
func acmeJSON(uri string, leaves ...*certtest.Leaf) object {
	list := []object{}
	for _, l := range leaves {
		list = append(list, object{
			"domain":      object{"main": l.Cert.DNSNames[0], "sans": l.Cert.DNSNames[1:]},
			"certificate": []byte(l.Chain()), "key": []byte(l.KeyPEM()), "Store": "default",
		})
	}
	return object{
		"Account": object{
			"Email": "ops@example.com", "KeyType": "4096", "PrivateKey": []byte("x"),
			"Registration": object{"body": object{"status": "valid", "contact": []string{"mailto:ops@example.com"}}, "uri": uri},
		},
		"Certificates": list,
	}
}

func TestTraefik_EachVersion(t *testing.T) {
	ca := certtest.New(t, "Example")
	a, b := ca.Issue(nil, "a.example.com", "www.a.example.com"), ca.Issue(nil, "*.b.example.com")
	account := "https://acme-v02.api.letsencrypt.org/acme/acct/123"
	old := acmeJSON(account, a)
	old["Certificates"] = []object{{"Domain": object{"Main": "a.example.com", "SANs": nil}, "Certificate": []byte(a.Chain()), "Key": []byte(a.KeyPEM())}}
	old["HTTPChallenges"] = object{}
	for name, x := range map[string]struct {
		file object
		want map[string]string // hosts by where they are
	}{
		"2 and 3": {object{
			"le": acmeJSON(account, a, b), "new": nil, "empty": object{"Account": nil, "Certificates": nil},
		}, map[string]string{"le a.example.com": "www.a.example.com", "le *.b.example.com": "*.b.example.com"}},
		"1": {old, map[string]string{"a.example.com": "a.example.com"}},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := json.Marshal(x.file)
			check(t, err)
			dir := t.TempDir()
			write(t, dir, "acme.json", string(data))
			all := collect(t, mustOpen(t, filepath.Join(dir, "acme.json"), Options{}))
			if len(all) != len(x.want) {
				t.Fatalf("%d certificates", len(all))
			}
			for where, host := range x.want {
				wantCertificate(t, all[where], host, "https://acme-v02.api.letsencrypt.org/directory")
			}
		})
	}
}

func TestTraefik_OfACAForTests(t *testing.T) {
	dir := t.TempDir()
	data, err := json.Marshal(object{"le": acmeJSON("https://acme-staging-v02.api.letsencrypt.org/acme/acct/1", certtest.New(t, "Example").Issue(nil, "a.example.com"))})
	check(t, err)
	write(t, dir, "acme.json", string(data))
	for _, c := range collect(t, mustOpen(t, "traefik:"+dir+"/acme.json", Options{})) {
		if !strings.Contains(c.Problem, "CA for tests") {
			t.Errorf("problem %q", c.Problem)
		}
	}
}

func TestTraefik_ErrorsQuoteNothing(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{`{"le":{"Certificates":[{"key":"TUlHSEFnRUFNQk1HQnlxR1NNND`, `{"le":{"Certificates":[{"key":{"TUlHSEFnRUFNQk1HQnlxR1NNND":1}}]}}`, ""} {
		write(t, dir, "acme.json", text)
		if _, err := Open(dir+"/acme.json", Options{}); err == nil || strings.Contains(err.Error(), "TUlH") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// letsEncryptLeaf is a certificate that says where Let's Encrypt has its own.
func letsEncryptLeaf(c *x509.Certificate) {
	c.IssuingCertificateURL = []string{"http://r11.i.lencr.org/"}
}

// TestPEM_Certbot has its two folders: archive with every version, and live with
// links to the newest.
func TestPEM_Certbot(t *testing.T) {
	ca := certtest.New(t, "Example")
	dir := t.TempDir()
	for _, host := range []string{"a.example.com", "b.example.com"} {
		for version := range 2 {
			l := ca.Issue(func(c *x509.Certificate) {
				letsEncryptLeaf(c)
				c.NotBefore = c.NotBefore.AddDate(0, 0, 60*version-61)
				c.NotAfter = c.NotBefore.AddDate(0, 0, 90)
			}, host)
			n := string(rune('1' + version))
			for name, text := range map[string]string{
				"cert": certtest.PEM(l.Cert), "chain": certtest.PEM(ca.Intermediate), "fullchain": l.Chain(), "privkey": l.KeyPEM(),
			} {
				write(t, dir, "archive/"+host+"/"+name+n+".pem", text)
				link := filepath.Join(dir, "live", host, name+".pem")
				check(t, os.MkdirAll(filepath.Dir(link), 0o700))
				_ = os.Remove(link)
				check(t, os.Symlink("../../archive/"+host+"/"+name+n+".pem", link))
			}
		}
		write(t, dir, "live/README", "x")
	}
	for _, address := range []string{filepath.Join(dir, "live"), "pem:" + dir} {
		s := mustOpen(t, address, Options{})
		all := collect(t, s)
		prefix := ""
		if address == "pem:"+dir {
			prefix = "live/"
			if len(all) != 4 {
				t.Errorf("%d certificates", len(all))
			}
		} else if len(all) != 2 {
			t.Errorf("%d certificates", len(all))
		}
		for _, host := range []string{"a.example.com", "b.example.com"} {
			wantCertificate(t, all[prefix+host+"/fullchain.pem"], host, "https://acme-v02.api.letsencrypt.org/directory")
		}
		refs, err := s.List(t.Context())
		check(t, err)
		if !strings.HasPrefix(refs[0].Where, prefix) || strings.Contains(refs[0].Where, "1.pem") {
			t.Errorf("the first is %s", refs[0].Where)
		}
	}
}

// TestPEM_WhateverTheFilesAreCalled has a key in SEC 1, all in one file, and the
// intermediate in a third one.
func TestPEM_WhateverTheFilesAreCalled(t *testing.T) {
	ca := certtest.New(t, "Example")
	dir := t.TempDir()
	a, b, c := ca.Issue(nil, "a.example.com"), ca.Issue(nil, "b.example.com"), ca.Issue(nil, "c.example.com")
	sec1, err := x509.MarshalECPrivateKey(a.Key.(*ecdsa.PrivateKey))
	check(t, err)
	write(t, dir, "x.crt", certtest.PEM(a.Cert))
	write(t, dir, "keys/y.key", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})))
	write(t, dir, "haproxy/b.pem", b.KeyPEM()+certtest.PEM(b.Cert))
	write(t, dir, "ca.cer", certtest.PEM(ca.Intermediate, ca.Root))
	write(t, dir, "c.pem", c.Chain())
	write(t, dir, "notes.txt", c.KeyPEM())
	write(t, dir, "broken.pem", "-----BEGIN CERTIFICATE-----\nhalf")
	all := collect(t, mustOpen(t, dir, Options{}))
	if len(all) != 3 {
		t.Errorf("%d certificates", len(all))
	}
	wantCertificate(t, all["x.crt"], "a.example.com", "")
	wantCertificate(t, all["haproxy/b.pem"], "b.example.com", "")
	if got := all["c.pem"].Problem; !strings.Contains(got, "key is not in this folder") {
		t.Errorf("problem %q", got)
	}
}

func TestIssuer_IsKnownByWhereItsCertificateIs(t *testing.T) {
	for place, want := range map[string]string{
		"http://e7.i.lencr.org/":                                          "https://acme-v02.api.letsencrypt.org/directory",
		"http://stg-e7.i.lencr.org/":                                      "https://acme-staging-v02.api.letsencrypt.org/directory",
		"http://i.pki.goog/we1.crt":                                       "https://dv.acme-v02.api.pki.goog/directory",
		"http://zerossl.crt.sectigo.com/ZeroSSLECCDomainSecureSiteCA.crt": "https://acme.zerossl.com/v2/DV90",
		"http://i.lencr.org.example.com/":                                 "",
		"::":                                                              "",
	} {
		if got := directoryOf(&x509.Certificate{IssuingCertificateURL: []string{place}}); got != want {
			t.Errorf("%s: %q", place, got)
		}
	}
}
