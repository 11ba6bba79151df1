package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"encoding/pem"
	"sync/atomic"
	"time"
)

// entry is a certificate, ready for handshakes. Only the atomic fields change,
// and those of the cache, which no one else reads.
type entry struct {
	// cert has no Leaf, which would be half of its memory: crypto/tls looks at it
	// only to choose between several certificates, and we choose by name.
	cert     tls.Certificate
	notAfter time.Time
	renewAt  time.Time
	issuer   string  // directory URL
	fence    uint64  // of the stored record
	upload   *upload // nil: obtained by ACME

	host  string // in the cache
	links links  // in the cache
	score uint16 // in the cache: how often it was visited

	shared  atomic.Bool   // it was in the cache
	unsaved atomic.Bool   // the store has not taken it
	stale   atomic.Bool   // the store has another one
	marks   atomic.Uint32 // that it was used
	nextTry atomic.Int64  // no renewal is begun before, in Unix nanoseconds
}

// Marks of an entry that is used. Each is taken away by whom it is for.
const (
	used    = 1 << iota // since the sieve's hand last came by
	visited             // since the scores were last counted
)

// renewPause is the least time between two renewals begun for one entry: a busy
// host in its renewal period costs its handshakes no more than a comparison.
const renewPause = time.Minute

// pem returns the chain as it is stored, the leaf first.
func (e *entry) pem() string {
	var chain []byte
	for _, der := range e.cert.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return string(chain)
}

// brought notes that the operator brought the certificate, unless u is nil. One that
// is to be kept is not due before it ends.
func (e *entry) brought(u *upload) {
	if e.upload = u; u != nil && u.Keep {
		e.renewAt = e.notAfter
	}
}

// valid reports whether the certificate can be served. NotBefore is not looked
// at: a CA backdates it, and our clock may be the one that is wrong.
func (e *entry) valid(now time.Time) bool { return now.Before(e.notAfter) }

// due reports whether the certificate should be renewed.
func (e *entry) due(now time.Time) bool { return !now.Before(e.renewAt) }

// claim reports whether the caller is to begin a renewal: one caller a renewPause.
func (e *entry) claim(now time.Time) bool {
	next := e.nextTry.Load()
	return now.UnixNano() >= next && e.nextTry.CompareAndSwap(next, now.Add(renewPause).UnixNano())
}

// entryBytes is what an entry takes beside its leaf and key: itself, its name,
// its place in a map that is on average two thirds full.
const entryBytes = 512

// bytes returns what the entry takes in memory, without the rest of the chain.
func (e *entry) bytes() int64 {
	n := int64(entryBytes) + keyBytes(e.cert.PrivateKey)
	if len(e.cert.Certificate) > 0 {
		n += allocated(len(e.cert.Certificate[0]))
	}
	return n
}

// intermediates returns the chain without the leaf.
func (e *entry) intermediates() [][]byte {
	return e.cert.Certificate[min(1, len(e.cert.Certificate)):]
}

// keyBytes returns what a parsed key takes in memory once it has signed: what
// crypto/x509 makes of it, and what the package that signs keeps beside it. The
// figures are measured, and TestCache_CountsWhatItHolds keeps them true.
func keyBytes(key crypto.PrivateKey) int64 {
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		return 600 + 4*int64(k.Params().BitSize)/8
	case ed25519.PrivateKey:
		return 400
	case *rsa.PrivateKey:
		return 2300 + 9*int64(k.Size())
	}
	return 8 << 10 // of a kind that we do not make
}

// allocated returns what n bytes take in memory: sizes are rounded up.
func allocated(n int) int64 { return int64(n) + int64(n)/10 }

// renewalTime is when a third of the lifetime is left, or a half when the whole
// is under ten days.
func renewalTime(notBefore, notAfter time.Time) time.Time {
	life := notAfter.Sub(notBefore)
	if life < 10*24*time.Hour {
		return notAfter.Add(-life / 2)
	}
	return notAfter.Add(-life / 3)
}
