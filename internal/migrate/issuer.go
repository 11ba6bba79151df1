package migrate

import (
	"crypto/x509"
	"net/url"
	"strings"
)

// directories are the ACME directories that are known, by their host.
var directories = map[string]string{
	"acme-v02.api.letsencrypt.org":         "https://acme-v02.api.letsencrypt.org/directory",
	"acme-staging-v02.api.letsencrypt.org": "https://acme-staging-v02.api.letsencrypt.org/directory",
	"acme.zerossl.com":                     "https://acme.zerossl.com/v2/DV90",
	"dv.acme-v02.api.pki.goog":             "https://dv.acme-v02.api.pki.goog/directory",
}

// directoryAt returns the directory at the host of an ACME resource, such as an
// account, or "".
func directoryAt(resource string) string {
	u, err := url.Parse(resource)
	if err != nil {
		return ""
	}
	return directories[u.Host]
}

// directoryOf returns the directory of the CA that signed the certificate, as far as
// where it has its own certificate tells (RFC 5280 section 4.2.2.1), or "".
func directoryOf(c *x509.Certificate) string {
	for _, place := range c.IssuingCertificateURL {
		u, err := url.Parse(place)
		if err != nil {
			continue
		}
		switch host := u.Host; {
		case strings.HasSuffix(host, ".i.lencr.org") && strings.HasPrefix(host, "stg-"):
			return directories["acme-staging-v02.api.letsencrypt.org"]
		case strings.HasSuffix(host, ".i.lencr.org"):
			return directories["acme-v02.api.letsencrypt.org"]
		case host == "i.pki.goog":
			return directories["dv.acme-v02.api.pki.goog"]
		case host == "zerossl.crt.sectigo.com":
			return directories["acme.zerossl.com"]
		}
	}
	return ""
}

// forTests says why a CA's certificates are not for visitors, or is empty. The issuer
// is a directory, or how Caddy calls it.
func forTests(issuer string) string {
	switch {
	case issuer == "local":
		return "it is of the private CA of Caddy, which visitors do not trust"
	case strings.Contains(issuer, "acme-staging-v02.api.letsencrypt.org"):
		return "it is of Let's Encrypt's CA for tests, which visitors do not trust"
	}
	return ""
}
