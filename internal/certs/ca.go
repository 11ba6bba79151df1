package certs

import (
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// CA is a certificate authority that speaks ACME. Only Directory is required.
type CA struct {
	// Directory is the https URL of the ACME directory (RFC 8555 section 7.1.1).
	Directory string
	// Roots verifies the CA's own HTTPS. Default: the system's.
	Roots *x509.CertPool
	// EABKeyID and EABKey bind our account to one that the operator has at the CA
	// (RFC 8555 section 7.3.4). EABKey is base64url, as CAs hand it out.
	EABKeyID, EABKey string
	// Profile is the kind of certificate to ask for, as the directory names it,
	// such as "classic", "tlsserver" or "shortlived". Default: the CA's own choice.
	Profile string
	// PreferredChain is the common name of the issuer at the top of the chain to
	// prefer, when the CA offers several. Default: the first.
	PreferredChain string
	// Transport takes the requests to the CA in place of the network: tests play CAs.
	// Default: HTTPS.
	Transport http.RoundTripper
	// Limits are what we allow ourselves. Default: those of Let's Encrypt.
	Limits Limits
}

// Limits are the CA's, for one account and so for the whole fleet.
type Limits struct {
	Orders    Rate // new orders; renewals by ARI do not count
	PerDomain Rate // new certificates for one registered domain
	Renewals  Rate // renewals by ARI, which CAs exempt: a limit of our own, so as to spread them
	Failures  Rate // failed validations of one name
	SameName  Rate // certificates for one name; renewals by ARI do not count
}

// Rate is a number of events in a time, and at most that number at once.
type Rate struct {
	Count int
	Per   time.Duration
}

// every is the time in which one event is earned.
func (r Rate) every() time.Duration { return r.Per / time.Duration(r.Count) }

// or returns r, or the other when r is not set.
func (r Rate) or(other Rate) Rate {
	if r.Count == 0 {
		return other
	}
	return r
}

const hour = time.Hour

// validate fills in the defaults.
func (c *CA) validate() error {
	if u, err := url.Parse(c.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
		return invalid("Directory", "the ACME directory must be an https URL")
	}
	if (c.EABKeyID == "") != (c.EABKey == "") {
		return invalid("EABKey", "external account binding takes a key ID and a key")
	}
	if _, err := base64.RawURLEncoding.DecodeString(c.EABKey); err != nil {
		return invalid("EABKey", "the key of the external account binding must be base64url, as the CA gave it")
	}
	l := &c.Limits
	l.Orders = l.Orders.or(Rate{300, 3 * hour})
	l.PerDomain = l.PerDomain.or(Rate{50, 7 * 24 * hour})
	l.Renewals = l.Renewals.or(Rate{3600, hour})
	l.Failures = l.Failures.or(Rate{5, hour})
	l.SameName = l.SameName.or(Rate{5, 7 * 24 * hour})
	for _, r := range []Rate{l.Orders, l.PerDomain, l.Renewals, l.Failures, l.SameName} {
		if r.Count < 1 || r.Per <= 0 {
			return invalid("Limits", "a limit has a positive count and a positive time")
		}
	}
	return nil
}

// authority is a CA with our account there.
type authority struct {
	CA
	client   *client
	accounts *accounts
	breaker  breaker // of orders
	polls    breaker // of questions when to renew
	tally    tally
	limited  pause
}

func newAuthority(cfg *Config, ca CA, key *accountKeys, s *store) *authority {
	c := newClient(cfg, ca)
	return &authority{CA: ca, client: c, accounts: newAccounts(cfg, ca, key, s, c)}
}

// pause is a time until which the CA wants no new orders.
type pause struct {
	mu    sync.Mutex
	until time.Time
}

func (p *pause) set(until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until.After(p.until) {
		p.until = until
	}
}

func (p *pause) end() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.until
}

// Bounds of the breaker.
const (
	breakerTrips = 3 // outages in a row
	breakerFirst = time.Minute
	breakerMax   = 30 * time.Minute
)

// breaker keeps us away from a CA that is out of order: after several outages in
// a row for a while, then for one trial, then for twice as long.
type breaker struct {
	mu    sync.Mutex
	fails int
	until time.Time
}

// closed returns the zero time when the CA may be asked at now, and otherwise
// when it may be. The one who finds the wait over makes the trial.
func (b *breaker) closed(now time.Time) (until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fails < breakerTrips {
		return time.Time{}
	}
	if now.Before(b.until) {
		return b.until
	}
	b.until = now.Add(b.wait()) // others wait for the trial
	return time.Time{}
}

// open returns when the CA may be asked, not after now if it may be, without
// making the trial. trial reports that one alone is to be made.
func (b *breaker) open(now time.Time) (next time.Time, trial bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fails < breakerTrips {
		return now, false
	}
	return later(now, b.until), true
}

// note takes in how a request to the CA ended.
func (b *breaker) note(outage bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !outage {
		b.fails = 0
		return
	}
	if b.fails++; b.fails >= breakerTrips {
		b.until = now.Add(b.wait())
	}
}

func (b *breaker) wait() time.Duration {
	return min(breakerFirst<<min(max(b.fails-breakerTrips, 0), 10), breakerMax)
}
