package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// certificatesPrefix begins the keys of CertMagic's certificates, wherever it keeps
// them:
//
//	certificates/ISSUER/SITE/SITE.crt   the chain, leaf first
//	certificates/ISSUER/SITE/SITE.key
//	certificates/ISSUER/SITE/SITE.json  names, and what the issuer told
const certificatesPrefix = "certificates"

// storage is where CertMagic, and so Caddy, keeps its files.
type storage interface {
	// keys returns the keys of the certificates, and may return others.
	keys(ctx context.Context) ([]string, error)
	// load returns the values, in order; nil for one that is not there.
	load(ctx context.Context, keys []string) ([][]byte, error)
}

// certmagicStore is a [Source] over a storage of CertMagic.
type certmagicStore struct{ storage storage }

// List implements [Source].
func (c *certmagicStore) List(ctx context.Context) ([]Ref, error) {
	keys, err := c.storage.keys(ctx)
	if err != nil {
		return nil, err
	}
	slices.Sort(keys)
	var list []Ref
	for _, key := range keys {
		parts := strings.Split(key, "/")
		site, ok := strings.CutSuffix(path.Base(key), ".crt")
		if !ok || len(parts) != 4 || parts[0] != certificatesPrefix || parts[2] != site {
			continue
		}
		base := path.Join(parts[0], parts[1], site, site)
		list = append(list, Ref{Where: key, issuer: parts[1], files: []string{base + ".crt", base + ".key", base + ".json"}})
	}
	return list, nil
}

// Load implements [Source].
func (c *certmagicStore) Load(ctx context.Context, r Ref) (Certificate, error) {
	values, err := c.storage.load(ctx, r.files)
	if e, ok := errors.AsType[*problem](err); ok {
		return Certificate{Problem: e.text}, nil
	}
	if err != nil {
		return Certificate{}, err
	}
	out := Certificate{Chain: string(values[0]), Key: string(values[1]), Issuer: issuerIn(values[2], r.issuer), Problem: forTests(r.issuer)}
	for i, what := range []string{"certificate", "key"} {
		if values[i] == nil {
			out.Problem = "its " + what + " is missing: there is no " + r.files[i]
		}
	}
	return out, nil
}

// issuerIn returns the directory that the metadata of a certificate names, or that
// its issuer key is made of.
func issuerIn(meta []byte, key string) string {
	var m struct {
		IssuerData struct {
			CA  string `json:"ca"`
			URL string `json:"url"` // of the certificate
		} `json:"issuer_data"`
	}
	if json.Unmarshal(meta, &m) == nil {
		if m.IssuerData.CA != "" {
			return m.IssuerData.CA
		}
		if known := directoryAt(m.IssuerData.URL); known != "" {
			return known
		}
	}
	for host, directory := range directories {
		if strings.HasPrefix(key, host) {
			return directory
		}
	}
	return ""
}

// problem is what is wrong with one certificate, and not with the source.
type problem struct{ text string }

// Error implements error.
func (p *problem) Error() string { return p.text }

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
