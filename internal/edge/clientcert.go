package edge

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// security is what a visitor's connection must be like.
type security struct {
	minVersion uint16              // of TLS; 0: any
	cas        []*x509.Certificate // of clients; nil: they need no certificate
	pool       *x509.CertPool      // of cas
}

// newSecurity reports false when the settings cannot be read.
func newSecurity(s *shingle.TLS) (*security, bool) {
	if s == nil {
		return nil, true
	}
	is := &security{}
	switch s.MinVersion {
	case "", "1.2":
	case "1.3":
		is.minVersion = tls.VersionTLS13
	default:
		return nil, false
	}
	if s.ClientCA == "" {
		return is, true
	}
	cas, err := shingle.ParseClientCAs(s.ClientCA)
	if err != nil {
		return nil, false
	}
	is.cas, is.pool = cas, x509.NewCertPool()
	for _, ca := range cas {
		is.pool.AddCert(ca)
	}
	return is, true
}

// config returns the configuration for a handshake of the domain; base is that of
// all others. Where a client certificate is needed no session is resumed: each
// connection proves itself, under the settings of the time.
func (s *security) config(base *tls.Config) *tls.Config {
	c := &tls.Config{
		MinVersion: max(base.MinVersion, s.minVersion), NextProtos: base.NextProtos, GetCertificate: base.GetCertificate,
		WrapSession: base.WrapSession, UnwrapSession: base.UnwrapSession,
	}
	if s.pool != nil {
		c.ClientAuth, c.ClientCAs, c.SessionTicketsDisabled = tls.RequireAndVerifyClientCert, s.pool, true
	}
	return c
}

// satisfied reports whether the connection that r came by is one that the settings
// of now would let come about: it may be older than they are.
func (s *security) satisfied(r *Request, now time.Time) bool {
	if r.Version < s.minVersion {
		return false
	}
	return s.cas == nil || slices.ContainsFunc(r.Chains, func(chain []*x509.Certificate) bool {
		return !now.After(chain[0].NotAfter) && slices.ContainsFunc(s.cas, chain[len(chain)-1].Equal)
	})
}

// appendClient appends what the origin is told of a visitor's certificate, which has
// been verified. A subject that is too long for a field is left out.
func (s *security) appendClient(b []byte, r *Request) []byte {
	if s.cas == nil || len(r.Chains) == 0 {
		return b
	}
	leaf := r.Chains[0][0]
	sum := sha256.Sum256(leaf.Raw)
	b = appendField(b, "X-Client-Cert-Fingerprint", hex.EncodeToString(sum[:]))
	if subject := fieldText(leaf.Subject.String()); len(subject) <= maxSubject {
		b = appendField(b, "X-Client-Cert-Subject", subject)
	}
	return b
}

const maxSubject = 2 << 10

// fieldText is a distinguished name in ASCII: what is not is escaped as RFC 4514
// section 2.4 has it.
func fieldText(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if c < ' ' || c > '~' {
			fmt.Fprintf(&b, `\%02X`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
