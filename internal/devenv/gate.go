package devenv

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/letsencrypt/pebble/v2/acme"
	"github.com/letsencrypt/pebble/v2/core"
	"github.com/letsencrypt/pebble/v2/db"
)

// pebbleNonceReject is the share of good nonces, in percent, that Pebble
// refuses unless told otherwise.
const pebbleNonceReject = 5

// gate stands between the clients and Pebble: it refuses nonces, asks the
// faults, keeps the journal and answers for renewal information that was set.
type gate struct {
	pebble         http.Handler
	store          *db.MemoryStore
	nonceReject    int    // percent
	defaultProfile string // for orders that name none
	freshAuthz     bool
	ctx            context.Context // ends when the CA closes

	journal journal
	renewal renewal

	mu     sync.Mutex
	faults []*Fault // copied on write
	spent  map[string]bool

	busy inflight // requests, and what they left behind
}

// inject adds f behind the faults that are there, and returns a function that
// takes it out.
func (g *gate) inject(f Fault) (remove func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faults = append(slices.Clip(g.faults), &f)
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.faults = slices.DeleteFunc(slices.Clone(g.faults), func(p *Fault) bool { return p == &f })
	}
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !g.busy.enter() {
		panic(http.ErrAbortHandler)
	}
	defer g.busy.leave()
	req, err := newRequest(g, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if g.refusesNonce(req.nonce) {
		Problem{Type: "badNonce", Detail: "refused on purpose"}.send(w, req)
		return
	}
	if req.Step == StepOrder {
		sw := &statusWriter{ResponseWriter: w}
		entry := g.journal.ask(req)
		defer func() { g.journal.answer(entry, sw.problem()) }()
		w = sw
	}
	for _, f := range g.current() {
		if (*f)(w, req) {
			return
		}
	}
	req.Forward(w)
}

func (g *gate) current() []*Fault {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.faults
}

// refusesNonce decides about one request. A nonce refused stays refused, though
// Pebble never saw it.
func (g *gate) refusesNonce(nonce string) bool {
	if nonce == "" {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.spent[nonce] {
		return true
	}
	if rand.IntN(100) >= g.nonceReject {
		return false
	}
	if g.spent == nil {
		g.spent = map[string]bool{}
	}
	g.spent[nonce] = true
	return true
}

// newNonce returns one that Pebble will accept.
func (g *gate) newNonce() string {
	r, err := http.NewRequest(http.MethodHead, "https://ca.localhost"+noncePath, nil)
	if err != nil {
		return ""
	}
	r.Header.Set("User-Agent", "shingle")
	answer := newReply()
	g.pebble.ServeHTTP(answer, r)
	return answer.header.Get("Replay-Nonce")
}

func (g *gate) forward(w http.ResponseWriter, r *Request) {
	switch {
	case r.Step == StepOrder:
		g.forwardOrder(w, r)
	case r.Step == StepRenewalInfo && g.renewal.answer(w, r):
	default:
		g.pebble.ServeHTTP(w, r.http)
	}
}

func (g *gate) forwardOrder(w http.ResponseWriter, r *Request) {
	if g.freshAuthz {
		g.journal.hideAuthzs(r.Account)
	}
	g.aliasReplaced(r.Replaces)
	answer := newReply()
	g.pebble.ServeHTTP(answer, r.http)
	if answer.status == http.StatusCreated {
		location := answer.header.Get("Location")
		order := g.store.GetOrderByID(location[strings.LastIndexByte(location, '/')+1:])
		if r.Profile == "" {
			g.setDefaultProfile(order, answer)
		}
		g.journal.accept(r, order)
	}
	answer.send(w)
}

// aliasReplaced lets Pebble find the order of the certificate that id names. It
// looks for the serial number with the zero byte that ASN.1 puts before a high
// bit, and has stored it without.
func (g *gate) aliasReplaced(id string) {
	_, part, _ := strings.Cut(id, ".")
	serial, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil || len(serial) < 2 || serial[0] != 0 {
		return
	}
	alias := hex.EncodeToString(serial)
	if _, err := g.store.GetOrderByIssuedSerial(alias); err == nil {
		return
	}
	order, err := g.store.GetOrderByIssuedSerial(hex.EncodeToString(serial[1:]))
	if err != nil {
		return
	}
	order.RLock()
	twin := &core.Order{
		ID: order.ID, AccountID: order.AccountID, Order: acme.Order{Identifiers: order.Identifiers},
		IsReplaced: order.IsReplaced, CertificateObject: &core.Certificate{ID: alias},
	}
	order.RUnlock()
	_ = g.store.AddOrderByIssuedSerial(twin) // fails without a certificate only
}

// setDefaultProfile puts the default in place of Pebble's choice, which is any.
func (g *gate) setDefaultProfile(order *core.Order, answer *reply) {
	order.Lock()
	order.Profile = g.defaultProfile
	order.Unlock()
	var fields map[string]any
	if json.Unmarshal(answer.body.Bytes(), &fields) != nil {
		return
	}
	fields["profile"] = g.defaultProfile
	data, err := json.Marshal(fields)
	if err != nil {
		return
	}
	answer.body = *bytes.NewBuffer(data)
}

// hosts returns the names that the object of a step is for.
func (g *gate) hosts(step Step, id string) []string {
	switch step {
	case StepAuthz:
		if authz := g.store.GetAuthorizationByID(id); authz != nil {
			return authzHosts(authz)
		}
	case StepChallenge:
		if challenge := g.store.GetChallengeByID(id); challenge != nil {
			return authzHosts(challenge.Authz)
		}
	case StepFinalize, StepPoll:
		return g.journal.hosts(id)
	case StepCertificate:
		id, _, _ = strings.Cut(id, "/")
		if cert := g.store.GetCertificateByID(id); cert != nil {
			return slices.Clone(cert.Cert.DNSNames)
		}
	case StepRenewalInfo:
		if serial := certSerial(id); serial != nil {
			if cert := g.store.GetCertificateBySerial(serial); cert != nil {
				return slices.Clone(cert.Cert.DNSNames)
			}
		}
	}
	return nil
}

func authzHosts(authz *core.Authorization) []string {
	authz.RLock()
	defer authz.RUnlock()
	return []string{strings.ToLower(authz.Identifier.Value)}
}

// statusWriter remembers the error that was sent.
type statusWriter struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status >= 400 {
		w.body.Write(p)
	}
	return w.ResponseWriter.Write(p)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// problem returns the type of the problem that was sent, "" for none, and the
// status for an error without a type.
func (w *statusWriter) problem() string {
	if w.status < 400 {
		return ""
	}
	var p struct{ Type string }
	if json.Unmarshal(w.body.Bytes(), &p) != nil || p.Type == "" {
		return http.StatusText(w.status)
	}
	return strings.TrimPrefix(p.Type, problemPrefix)
}
