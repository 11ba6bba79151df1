package app

import (
	"crypto/x509"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle/internal/certs"
)

// directories are the CAs that have a name of their own.
var directories = map[string]string{
	"letsencrypt":         "https://acme-v02.api.letsencrypt.org/directory",
	"letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
	"google":              "https://dv.acme-v02.api.pki.goog/directory",
	"zerossl":             "https://acme.zerossl.com/v2/DV90",
}

// parseCA reads a CA as --acme-ca has it: a name or a directory URL, and then
// settings, such as
//
//	zerossl eab-key-id=ID eab-key-file=FILE
//	https://ca.example/directory profile=shortlived chain=NAME root=FILE
func parseCA(s string) (certs.CA, error) {
	words := strings.Fields(s)
	if len(words) == 0 {
		return certs.CA{}, fmt.Errorf("name one of %s, or a directory URL", strings.Join(slices.Sorted(maps.Keys(directories)), ", "))
	}
	ca := certs.CA{Directory: words[0]}
	if url, ok := directories[words[0]]; ok {
		ca.Directory = url
	} else if !strings.HasPrefix(words[0], "https://") {
		return ca, fmt.Errorf("%q is neither one of %s nor an https URL", words[0], strings.Join(slices.Sorted(maps.Keys(directories)), ", "))
	}
	for _, word := range words[1:] {
		name, value, _ := strings.Cut(word, "=")
		if value == "" {
			return ca, fmt.Errorf("%q is not NAME=VALUE", name)
		}
		if err := setCA(&ca, name, value); err != nil {
			return ca, err
		}
	}
	return ca, nil
}

func setCA(ca *certs.CA, name, value string) (err error) {
	switch name {
	case "eab-key-id":
		ca.EABKeyID = value
	case "eab-key-file":
		key, err := os.ReadFile(value)
		if err != nil {
			return fmt.Errorf("eab-key-file: %w", err)
		}
		ca.EABKey = strings.TrimRight(strings.TrimSpace(string(key)), "=")
	case "profile":
		ca.Profile = value
	case "chain":
		ca.PreferredChain = strings.ReplaceAll(value, "_", " ")
	case "root":
		ca.Roots, err = readRoots(value)
	default:
		return fmt.Errorf("%q is not a setting: there are eab-key-id, eab-key-file, profile, chain and root", name)
	}
	return err
}

// readRoots reads a file of PEM certificates.
func readRoots(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", path)
	}
	return roots, nil
}

// directories returns the directory URLs of the CAs.
func (c *Config) directories() (list []string, err error) {
	for _, s := range c.ACMECAs {
		ca, err := parseCA(s)
		if err != nil {
			return nil, fmt.Errorf("--acme-ca: %w", err)
		}
		list = append(list, ca.Directory)
	}
	return list, nil
}

// cas reads the CAs of the configuration.
func (c *Config) cas() ([]certs.CA, error) {
	var roots *x509.CertPool
	var err error
	if c.ACMERoot != "" {
		if roots, err = readRoots(c.ACMERoot); err != nil {
			return nil, fmt.Errorf("--acme-root: %w", err)
		}
	}
	list := make([]certs.CA, len(c.ACMECAs))
	for i, s := range c.ACMECAs {
		if list[i], err = parseCA(s); err != nil {
			return nil, fmt.Errorf("--acme-ca: %w", err)
		}
		if list[i].Roots == nil {
			list[i].Roots = roots
		}
		if len(c.world.rootServers) > 0 { // the CA of `shingle dev` has no limits, and who tries things out does them often
			list[i].Limits.SameName, list[i].Limits.Failures = certs.Rate{Count: 1000, Per: time.Hour}, certs.Rate{Count: 1000, Per: time.Hour}
		}
	}
	return list, nil
}
