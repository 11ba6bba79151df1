package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/shingle-proxy/shingle"
)

// simCA is a certificate authority that answers ACME (RFC 8555, RFC 9773) without
// a network, and enforces the limits of Let's Encrypt. It takes every proof for
// good, unless invalid says otherwise, and looks at no signature: what is tried
// here is when and how often it is asked.
type simCA struct {
	url    string
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
	life   time.Duration
	again  time.Duration                   // Retry-After of the renewal information
	noARI  bool                            // it has no renewal information
	refuse func(r *simRequest) *simProblem // asked first; nil leaves the request to the CA

	invalid func(host string) bool // whose validations fail; nil: nobody's
	latency time.Duration          // of each request

	processing int    // how often it says that it is still signing an order
	retryField string // Retry-After of that

	mu        sync.Mutex
	revoked   bool
	limits    map[string]*gcra
	pending   map[string]*simOrder // by number
	hosts     map[string]*simHost
	serials   map[string]span
	accepted  []simAccepted
	polls     int
	polledAt  map[string][]time.Time // by the certificate; nil: not noted
	replaced  int                    // accepted orders that named what they replace
	refusals  map[string]int
	expiries  []string // hosts whose certificate had expired when the next one came
	busyUntil time.Time
}

type simOrder struct {
	host   string
	chain  []byte
	status string
	looked int // while it was being signed
}

type simHost struct {
	notAfter time.Time
	issued   int
}

type span struct{ notBefore, notAfter time.Time }

type simAccepted struct {
	at     time.Time
	host   string
	exempt bool
}

type simRequest struct {
	step     string // of the URL: order, authz, challenge, finalize, certificate, ari
	id       string // of what is asked for; empty: something new
	host     string
	replaces string
	now      time.Time
}

type simProblem struct {
	status     int
	problem    string // without its prefix; empty: a page of HTML
	detail     string
	retryAfter time.Duration
}

// gcra is a token bucket in the other form that it is written in, so that the
// CA's arithmetic is not ours.
type gcra struct{ full time.Time } // when the bucket will be full again

func (g *gcra) take(r Rate, now time.Time) (wait time.Duration) {
	every := r.Per / time.Duration(r.Count)
	full := later(now, g.full).Add(every)
	if wait = full.Sub(now) - r.Per; wait > 0 {
		return wait
	}
	g.full = full
	return 0
}

func newSimCA(t testing.TB, name string) *simCA {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(10, 0, 0), SubjectKeyId: []byte(name),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &simCA{
		url: "https://" + name + ".sim", key: key, cert: cert, life: 90 * 24 * time.Hour, again: 12 * time.Hour,
		limits: map[string]*gcra{}, pending: map[string]*simOrder{}, hosts: map[string]*simHost{}, serials: map[string]span{}, refusals: map[string]int{},
	}
}

// RoundTrip implements [http.RoundTripper].
func (c *simCA) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.latency > 0 {
		time.Sleep(c.latency)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	step, id, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	req := &simRequest{step: step, id: id, now: time.Now()}
	var payload []byte
	if r.Body != nil {
		var jws struct{ Payload string }
		if err := json.NewDecoder(r.Body).Decode(&jws); err != nil {
			return nil, err
		}
		payload, _ = base64.RawURLEncoding.DecodeString(jws.Payload)
	}
	var asked acme.Order
	if step == "order" && id == "" {
		if err := json.Unmarshal(payload, &asked); err != nil {
			return nil, err
		}
		req.host, req.replaces = asked.Identifiers[0].Value, asked.Replaces
	} else if o := c.pending[id]; o != nil {
		req.host = o.host
	}
	if c.refuse != nil {
		if p := c.refuse(req); p != nil {
			return c.problem(p)
		}
	}
	switch step {
	case "directory":
		d := acme.Directory{NewNonce: c.url + "/nonce", NewAccount: c.url + "/account", NewOrder: c.url + "/order", RenewalInfo: c.url + "/ari"}
		if c.noARI {
			d.RenewalInfo = ""
		}
		return reply(http.StatusOK, d), nil
	case "nonce":
		return reply(http.StatusOK, nil), nil
	case "account":
		return reply(http.StatusCreated, map[string]string{"status": "valid"}, "Location", c.url+"/account/1"), nil
	case "ari":
		return c.renewalInfo(id)
	case "order":
		if id == "" {
			return c.order(req)
		}
	case "finalize":
		return c.finalize(id, payload)
	case "certificate":
		resp := reply(http.StatusOK, nil, "Content-Type", "application/pem-certificate-chain")
		resp.Body = io.NopCloser(bytes.NewReader(c.pending[id].chain))
		delete(c.pending, id)
		return resp, nil
	}
	o := c.pending[id]
	switch {
	case o == nil:
		return c.problem(&simProblem{status: http.StatusNotFound, problem: "malformed", detail: "no such thing: " + r.URL.Path})
	case step == "authz":
		return c.authz(id), nil
	case step == "challenge":
		return c.challenge(id)
	}
	return c.show(id, http.StatusOK), nil
}

func (c *simCA) authz(id string) *http.Response {
	o := c.pending[id]
	doc := map[string]any{"status": "pending", "identifier": map[string]string{"type": "dns", "value": o.host}}
	var list []map[string]any
	for _, kind := range []string{acme.ChallengeTypeHTTP01, acme.ChallengeTypeTLSALPN01} {
		x := map[string]any{"type": kind, "url": c.url + "/challenge/" + id, "token": "t" + id, "status": "pending"}
		if o.status == "invalid" {
			doc["status"], x["status"] = o.status, o.status
			x["error"] = map[string]any{"type": "urn:ietf:params:acme:error:connection", "detail": "connection refused"}
		}
		list = append(list, x)
	}
	doc["challenges"] = list
	return reply(http.StatusOK, doc)
}

// challenge is a validation that fails, and counts.
func (c *simCA) challenge(id string) (*http.Response, error) {
	o := c.pending[id]
	o.status = "invalid"
	name := "failures " + o.host
	if c.limits[name] == nil {
		c.limits[name] = &gcra{}
	}
	if c.limits[name].take(Rate{5, time.Hour}, time.Now()) > 0 {
		c.refusals["failed validations of one name"]++
	}
	return reply(http.StatusOK, map[string]string{
		"type": acme.ChallengeTypeHTTP01, "url": c.url + "/challenge/" + id, "token": "t" + id, "status": "processing",
	}), nil
}

// order is newOrder, with the limits.
func (c *simCA) order(r *simRequest) (*http.Response, error) {
	exempt := r.replaces != ""
	if !exempt {
		for _, l := range []struct {
			name   string
			rate   Rate
			detail string
		}{
			{"account", Rate{300, 3 * time.Hour}, "too many new orders (300) from this account in the last 3h0m0s"},
			{"domain " + shingle.RegisteredDomain(r.host), Rate{50, 7 * 24 * time.Hour},
				fmt.Sprintf("too many certificates (50) already issued for %q in the last 168h0m0s", shingle.RegisteredDomain(r.host))},
		} {
			renewal := c.hosts[r.host] != nil && strings.HasPrefix(l.name, "domain ") // a renewal of the same names is exempt from that one
			if renewal {
				continue
			}
			if c.limits[l.name] == nil {
				c.limits[l.name] = &gcra{}
			}
			if wait := c.limits[l.name].take(l.rate, r.now); wait > 0 {
				return c.problem(&simProblem{http.StatusTooManyRequests, "rateLimited", l.detail, wait})
			}
		}
	} else {
		c.replaced++
	}
	c.accepted = append(c.accepted, simAccepted{r.now, r.host, exempt})
	id := strconv.Itoa(len(c.accepted))
	c.pending[id] = &simOrder{host: r.host, status: "ready"}
	if c.invalid != nil && c.invalid(r.host) {
		c.pending[id].status = "pending"
	}
	return c.show(id, http.StatusCreated), nil
}

func (c *simCA) show(id string, status int) *http.Response {
	o := c.pending[id]
	doc := map[string]any{
		"status": o.status, "finalize": c.url + "/finalize/" + id, "authorizations": []string{c.url + "/authz/" + id},
		"identifiers": []map[string]string{{"type": "dns", "value": o.host}},
	}
	header := []string{"Location", c.url + "/order/" + id}
	switch {
	case o.chain != nil && o.looked < c.processing:
		o.looked++
		doc["status"] = "processing"
		header = append(header, "Retry-After", c.retryField)
	case o.chain != nil:
		doc["status"], doc["certificate"] = "valid", c.url+"/certificate/"+id
	}
	return reply(status, doc, header...)
}

func (c *simCA) finalize(id string, payload []byte) (*http.Response, error) {
	var body struct{ CSR string }
	if err := json.Unmarshal(payload, &body); err != nil {
		return nil, err
	}
	der, err := base64.RawURLEncoding.DecodeString(body.CSR)
	if err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	c.pending[id].chain, err = c.sign(csr.DNSNames[0], csr.PublicKey, time.Now())
	if err != nil {
		return nil, err
	}
	return c.show(id, http.StatusOK), nil
}

// notePolls begins to note when the CA is asked about each certificate.
func (c *simCA) notePolls() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.polledAt = map[string][]time.Time{}
}

// asked returns how many questions about certificates there were.
func (c *simCA) asked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.polls
}

// polled returns how many certificates it was asked about.
func (c *simCA) polled() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.polledAt)
}

// pollGaps returns the longest and the shortest time between two questions about a
// certificate.
func (c *simCA) pollGaps() (longest, shortest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	shortest = 1000 * time.Hour
	for _, times := range c.polledAt {
		for i := 1; i < len(times); i++ {
			gap := times[i].Sub(times[i-1])
			longest, shortest = max(longest, gap), min(shortest, gap)
		}
	}
	return longest, shortest
}

// sign issues a certificate. The caller holds the lock, or is alone.
func (c *simCA) sign(host string, public any, now time.Time) (chain []byte, err error) {
	serial := make([]byte, 16)
	_, _ = rand.Read(serial)
	serial[0] = 4
	notBefore := now.Add(-time.Hour)
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), DNSNames: []string{host}, NotBefore: notBefore, NotAfter: notBefore.Add(c.life),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, public, c.key)
	if err != nil {
		return nil, err
	}
	h := c.hosts[host]
	if h == nil {
		h = &simHost{}
		c.hosts[host] = h
	} else if now.After(h.notAfter) {
		c.expiries = append(c.expiries, host)
	}
	h.issued++
	h.notAfter = template.NotAfter
	c.serials[hex.EncodeToString(serial)] = span{template.NotBefore, template.NotAfter}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// renewalInfo suggests two days around a third of the lifetime left, a twelfth
// of the lifetime for short ones; or, when everything was revoked, the past.
func (c *simCA) renewalInfo(id string) (*http.Response, error) {
	c.polls++
	_, last, _ := strings.Cut(id, ".")
	serial, err := base64.RawURLEncoding.DecodeString(last)
	if err != nil {
		return nil, err
	}
	s, ok := c.serials[hex.EncodeToString(serial)]
	if c.polledAt != nil {
		c.polledAt[id] = append(c.polledAt[id], time.Now())
	}
	if !ok {
		return c.problem(&simProblem{status: http.StatusNotFound, problem: "malformed", detail: "no such certificate"})
	}
	at, width := renewalTime(s.notBefore, s.notAfter), min(48*time.Hour, c.life/12)
	w := window{Start: at.Add(-width), End: at}
	if issued := s.notBefore.Add(time.Hour); c.revoked && issued.Before(c.busyUntil) {
		w = window{Start: c.busyUntil.Add(-72 * time.Hour), End: c.busyUntil.Add(-48 * time.Hour)}
	}
	body := append(append(append(w.Start.UTC().AppendFormat([]byte(`{"suggestedWindow":{"start":"`), time.RFC3339), `","end":"`...),
		w.End.UTC().Format(time.RFC3339)...), `"}}`...)
	resp := reply(http.StatusOK, nil, "Retry-After", strconv.Itoa(int(c.again/time.Second)))
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

func (c *simCA) problem(p *simProblem) (*http.Response, error) {
	c.refusals[p.problem+" "+strconv.Itoa(p.status)]++
	var extra []string
	if p.retryAfter > 0 {
		extra = []string{"Retry-After", strconv.Itoa(int((p.retryAfter + time.Second - 1) / time.Second))}
	}
	if p.problem == "" {
		return reply(p.status, nil, append(extra, "Content-Type", "text/html")...), nil
	}
	doc := map[string]any{"type": "urn:ietf:params:acme:error:" + p.problem, "detail": p.detail, "status": p.status}
	return reply(p.status, doc, append(extra, "Content-Type", "application/problem+json")...), nil
}

func reply(status int, doc any, header ...string) *http.Response {
	h := http.Header{"Replay-Nonce": {"n"}}
	var body []byte
	if doc != nil {
		h.Set("Content-Type", "application/json")
		body, _ = json.Marshal(doc)
	}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: -1}
}

// noneExpired fails when a certificate that was issued here last for its host is
// not valid now, or was not when its successor came.
func (c *simCA) noneExpired(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.expiries) > 0 {
		t.Fatalf("certificates had expired: %v", c.expiries)
	}
	now := time.Now()
	for host, h := range c.hosts {
		if !now.Before(h.notAfter) {
			t.Fatalf("the certificate of %s expired on %s", host, h.notAfter)
		}
	}
}

// revokeAll has the CA suggest to renew what it has issued until now.
func (c *simCA) revokeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revoked, c.busyUntil = true, time.Now()
}

// fail has the CA answer by refuse; nil ends that.
func (c *simCA) fail(refuse func(*simRequest) *simProblem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse = refuse
}

// refused returns how often the CA refused anything, and begins to count again.
func (c *simCA) refused() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, times := range c.refusals {
		n += times
	}
	clear(c.refusals)
	return n
}

// orderedSince returns when the first order for each host came after a time.
func (c *simCA) orderedSince(from time.Time) map[string]time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := map[string]time.Time{}
	for _, a := range c.accepted {
		if _, ok := first[a.host]; !ok && !a.at.Before(from) {
			first[a.host] = a.at
		}
	}
	return first
}

func (c *simCA) lastOrder() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.accepted[len(c.accepted)-1].at
}
