package devenv

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
)

// Step is what a request wants of the CA.
type Step string

// The steps, in the order in which a client meets them.
const (
	StepDirectory   Step = "directory"
	StepNonce       Step = "new-nonce"
	StepAccount     Step = "new-account"
	StepOrder       Step = "new-order"
	StepAuthz       Step = "authz"
	StepChallenge   Step = "challenge"
	StepFinalize    Step = "finalize"
	StepPoll        Step = "order" // the order again, to see what became of it
	StepCertificate Step = "certificate"
	StepRenewalInfo Step = "renewal-info"
	StepRevoke      Step = "revoke"
	StepOther       Step = "other" // what has an account as its object, and paths unknown
)

// Pebble's paths, which it does not export.
const (
	noncePath       = "/nonce-plz"
	newOrderPath    = "/order-plz"
	renewalInfoPath = "/draft-ietf-acme-ari-03/renewalInfo/"
)

// stepPaths has what the path of each step begins with.
var stepPaths = []struct {
	prefix string
	step   Step
}{
	{"/dir", StepDirectory},
	{noncePath, StepNonce},
	{"/sign-me-up", StepAccount},
	{newOrderPath, StepOrder},
	{"/authZ/", StepAuthz},
	{"/chalZ/", StepChallenge},
	{"/finalize-order/", StepFinalize},
	{"/my-order/", StepPoll},
	{"/certZ/", StepCertificate},
	{renewalInfoPath, StepRenewalInfo},
	{"/revoke-cert", StepRevoke},
}

// Request is a request to the CA, as a [Fault] sees it. It is not to be kept
// after the fault has returned.
type Request struct {
	Step   Step
	Method string
	Path   string

	// Hosts are the names that the order, authorization or certificate in
	// question is for, in lower case, and empty for the other steps.
	Hosts []string

	// Account is the URL of the account that signed, and empty before it has one.
	Account string

	// Profile and Replaces are what a new order asks for.
	Profile  string
	Replaces string

	// Payload is what was signed. It is empty for GET, HEAD and POST-as-GET.
	// The signature has not been verified.
	Payload []byte

	gate  *gate
	http  *http.Request
	body  []byte
	id    string // of the object, from the path
	nonce string
	entry *entry // in the journal, for a new order
}

// Context ends when the client goes away or the CA closes.
func (r *Request) Context() context.Context { return r.http.Context() }

// Forward has the CA itself answer. A fault that calls it reports the request
// as answered.
func (r *Request) Forward(w http.ResponseWriter) {
	r.http.Body = io.NopCloser(bytes.NewReader(r.body))
	r.gate.forward(w, r)
}

// newRequest reads and parses what it can. What is malformed is left to Pebble
// to complain about.
func newRequest(g *gate, r *http.Request) (*Request, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read ACME request: %w", err)
	}
	req := &Request{Step: StepOther, Method: r.Method, Path: r.URL.Path, gate: g, http: r, body: body}
	for _, p := range stepPaths {
		if id, ok := strings.CutPrefix(r.URL.Path, p.prefix); ok {
			req.Step, req.id = p.step, id
			break
		}
	}
	req.parseJWS()
	if req.Step == StepOrder {
		req.parseOrder()
	} else {
		req.Hosts = g.hosts(req.Step, req.id)
	}
	return req, nil
}

// parseJWS takes the flattened JSON serialization apart (RFC 8555 section 6.2).
func (r *Request) parseJWS() {
	var jws struct{ Protected, Payload string }
	if json.Unmarshal(r.body, &jws) != nil {
		return
	}
	var header struct{ Nonce, Kid string }
	if data, err := base64.RawURLEncoding.DecodeString(jws.Protected); err != nil || json.Unmarshal(data, &header) != nil {
		return
	}
	r.nonce, r.Account = header.Nonce, header.Kid
	if payload, err := base64.RawURLEncoding.DecodeString(jws.Payload); err == nil {
		r.Payload = payload
	}
}

func (r *Request) parseOrder() {
	var order struct {
		Identifiers       []struct{ Value string }
		Profile, Replaces string
	}
	if json.Unmarshal(r.Payload, &order) != nil {
		return
	}
	r.Profile, r.Replaces = order.Profile, order.Replaces
	for _, identifier := range order.Identifiers {
		r.Hosts = append(r.Hosts, strings.ToLower(identifier.Value))
	}
}

// certSerial returns the serial number in an ARI certificate identifier (RFC
// 9773 section 4.1), or nil if there is none.
func certSerial(id string) *big.Int {
	_, serial, ok := strings.Cut(id, ".")
	data, err := base64.RawURLEncoding.DecodeString(serial)
	if !ok || err != nil || len(data) == 0 {
		return nil
	}
	return new(big.Int).SetBytes(data)
}

// reply is an answer that is not sent yet.
type reply struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newReply() *reply { return &reply{header: http.Header{}} }

func (r *reply) Header() http.Header { return r.header }

func (r *reply) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *reply) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(p)
}

// send passes the answer on. The only error left is the client's going away.
func (r *reply) send(w http.ResponseWriter) {
	for key, values := range r.header {
		w.Header()[key] = values
	}
	w.WriteHeader(max(r.status, http.StatusOK))
	_, _ = w.Write(r.body.Bytes())
}
