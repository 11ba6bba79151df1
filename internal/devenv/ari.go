package devenv

import (
	"crypto/x509"
	"net/http"
	"sync"
	"time"
)

// RenewalInfo is when the CA wants a certificate renewed (RFC 9773 section 4).
type RenewalInfo struct {
	// Start and End are the suggested window. A window that ends before it
	// starts is sent as it is.
	Start, End time.Time

	// RetryAfter is when to ask again: 0 sends no Retry-After.
	RetryAfter time.Duration

	// ExplanationURL is left out if it is empty.
	ExplanationURL string
}

// RenewNow is the answer for a certificate to be renewed at once: a window that
// is past at now.
func RenewNow(now time.Time) *RenewalInfo {
	return &RenewalInfo{Start: now.Add(-time.Hour), End: now.Add(-time.Minute), RetryAfter: 6 * time.Hour}
}

// renewal is what overrides Pebble's own windows. The zero value is ready.
type renewal struct {
	mu       sync.Mutex
	all      *RenewalInfo
	bySerial map[string]*RenewalInfo
}

// set stores a copy of info, for all certificates if leaf is nil.
func (n *renewal) set(leaf *x509.Certificate, info *RenewalInfo) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if info != nil {
		info = new(*info)
	}
	switch {
	case leaf == nil:
		n.all = info
	case info == nil:
		delete(n.bySerial, leaf.SerialNumber.String())
	default:
		if n.bySerial == nil {
			n.bySerial = map[string]*RenewalInfo{}
		}
		n.bySerial[leaf.SerialNumber.String()] = info
	}
}

// answer sends what was set, or reports that nothing was.
func (n *renewal) answer(w http.ResponseWriter, r *Request) bool {
	serial := certSerial(r.id)
	if serial == nil || len(r.Hosts) == 0 || r.Method != http.MethodGet {
		return false
	}
	n.mu.Lock()
	info := n.bySerial[serial.String()]
	if info == nil {
		info = n.all
	}
	n.mu.Unlock()
	if info == nil {
		return false
	}
	if info.RetryAfter > 0 {
		w.Header().Set("Retry-After", seconds(info.RetryAfter))
	}
	w.Header().Set("Content-Type", "application/json")
	body := map[string]any{"suggestedWindow": map[string]time.Time{"start": info.Start.UTC(), "end": info.End.UTC()}}
	if info.ExplanationURL != "" {
		body["explanationURL"] = info.ExplanationURL
	}
	writeJSON(w, body)
	return true
}
