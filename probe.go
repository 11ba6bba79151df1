package shingle

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strings"
)

// ProbePath is where an edge answers the probes of the domain check, on every
// host that it serves, over HTTP and HTTPS: behind it comes a nonce. The answer is
// in the field ProbeField.
const (
	ProbePath  = "/.well-known/shingle-probe/"
	ProbeField = "Shingle-Edge"
)

// ProbeKey is shared by the edges and the check of one installation, so that
// another Shingle, or a cache, cannot pass for an edge of ours. The labels by which
// tenants prove who they are come from it too.
type ProbeKey [32]byte

// Label returns the DNS label below the CNAME targets that is the tenant's own. It
// cannot be guessed: a CNAME record that leads there says whose the host is.
func (k ProbeKey) Label(tenant string) string {
	mac := hmac.New(sha256.New, k[:])
	mac.Write([]byte("tenant 1\x00" + tenant))
	return hex.EncodeToString(mac.Sum(nil)[:labelBytes])
}

const labelBytes = 10

// IsTenantLabel reports whether a DNS label, in lower case, is of the form of those
// of [ProbeKey.Label].
func IsTenantLabel(label string) bool {
	_, err := hex.DecodeString(label)
	return err == nil && len(label) == 2*labelBytes
}

// Secret returns a key for another purpose of the installation, which is named.
func (k ProbeKey) Secret(purpose string) [32]byte {
	mac := hmac.New(sha256.New, k[:])
	mac.Write([]byte("secret 1\x00" + purpose))
	return [32]byte(mac.Sum(nil))
}

// Proof returns the text by which whoever controls a domain says that it is the
// tenant's: in a TXT record, or at [ProofPath]. For another domain or tenant it is
// another one.
func (k ProbeKey) Proof(domain, tenant string) string {
	mac := hmac.New(sha256.New, k[:])
	mac.Write([]byte("proof 1\x00" + domain + "\x00" + tenant))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// ProofPath is where the present server of a host may show the text of
// [ProbeKey.Proof]. No edge passes a request for it on: else whoever has content on
// a host that we serve could claim it.
const ProofPath = "/.well-known/shingle-challenge"

// ProofName returns the name of the TXT record that may hold the text of
// [ProbeKey.Proof]; a wildcard's is that of what it covers.
func ProofName(domain string) string {
	return "_shingle-challenge." + strings.TrimPrefix(domain, "*.")
}

// NewProbeNonce returns what makes a probe unlike all before it.
func NewProbeNonce() string { return strings.ToLower(rand.Text()) }

// maxNonce bounds what an edge answers.
const maxNonce = 64

// Answer returns what an edge that was reached by scheme ("http" or "https")
// says to nonce on host, or "" for what cannot be a nonce.
func (k ProbeKey) Answer(scheme, host, nonce string) string {
	if nonce == "" || len(nonce) > maxNonce || strings.ContainsAny(nonce, "/?") {
		return ""
	}
	mac := hmac.New(sha256.New, k[:])
	mac.Write([]byte("probe 1\x00" + scheme + "\x00" + host + "\x00" + nonce))
	return scheme + " " + hex.EncodeToString(mac.Sum(nil))
}

// Check returns by which scheme an edge of this installation was reached, or ""
// when the answer is not from one.
func (k ProbeKey) Check(answer, host, nonce string) (scheme string) {
	for _, scheme := range []string{"https", "http"} {
		if want := k.Answer(scheme, host, nonce); want != "" && subtle.ConstantTimeCompare([]byte(answer), []byte(want)) == 1 {
			return scheme
		}
	}
	return ""
}
