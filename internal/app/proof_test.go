package app

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

func (r *running) api(t *testing.T) *api.Client {
	t.Helper()
	token, err := os.ReadFile(r.TokenPath)
	if err != nil {
		t.Fatal(err)
	}
	c, err := api.NewClient("http://"+r.Control, strings.TrimSpace(string(token)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// orders is how many the CA has accepted.
func (r *running) orders(t *testing.T) (n int) {
	t.Helper()
	u, err := url.Parse(r.CA)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.roots}}}
	defer c.CloseIdleConnections()
	resp, err := c.Get("https://" + u.Host + "/stats")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var stats struct{ Orders int }
	if err := json.NewDecoder(resp.Body).Decode(&stats); err != nil {
		t.Fatal(err)
	}
	return stats.Orders
}

// zone sets what the played customers have in DNS.
func (r *running) zone(t *testing.T, records ...string) {
	t.Helper()
	file := filepath.Join(filepath.Dir(r.TokenPath), "zone.txt")
	if err := os.WriteFile(file, []byte(strings.Join(records, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// state waits until a domain is in a state, for a reason unless that is empty.
func state(t *testing.T, c *api.Client, host string, want shingle.State, reason shingle.Reason) api.Domain {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		d, err := c.Domain(t.Context(), host)
		if err != nil {
			t.Fatal(err)
		}
		if s := d.Status; s != nil && s.State == string(want) && (reason == "" || s.Reason == string(reason)) {
			return d
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not %s, %s: %+v", host, want, reason, d.Status)
		}
	}
}

// TestProof_TakeoverFails plays who adds names whose records lead here and are not
// theirs, and visits them at once: no order, no certificate, no answer.
func TestProof_TakeoverFails(t *testing.T) {
	r := runDev(t, Config{Proof: ProofTenant})
	c, visitor := r.api(t), r.client(true)
	defer visitor.CloseIdleConnections()
	victim := "victim.customer.localhost"
	d, err := c.CreateDomain(t.Context(), api.NewDomain{Host: victim, Tenant: "victim"})
	if err != nil {
		t.Fatal(err)
	}
	r.zone(t,
		"dangling.customer.localhost. 60 CNAME "+exampleTarget+".",
		"apex-customer.localhost. 60 A 127.0.0.1",
		"other.customer.localhost. 60 CNAME "+d.DNS.CNAME+".",
		"victim.customer.localhost. 60 CNAME "+d.DNS.CNAME+".",
	)
	served := state(t, c, victim, shingle.StateActive, shingle.ReasonServed)
	if served.Status.Proven.IsZero() || served.Status.ProofNeeded {
		t.Errorf("%+v", served.Status)
	}
	visit(t, visitor, victim, 2)
	before := r.orders(t)
	for host, reason := range map[string]shingle.Reason{
		"dangling.customer.localhost": shingle.ReasonProofNeeded, "apex-customer.localhost": shingle.ReasonProofNeeded, "other.customer.localhost": shingle.ReasonOtherTenant,
	} {
		if _, err := c.CreateDomain(t.Context(), api.NewDomain{Host: host, Tenant: "mallory"}); err != nil {
			t.Fatal(err)
		}
		if resp, err := visitor.Get("https://" + host + "/"); err == nil { // before it has been looked at
			t.Errorf("%s answers with %s", host, resp.Status)
		}
		want := shingle.StateVerifying
		if reason == shingle.ReasonOtherTenant {
			want = shingle.StatePending
		}
		if resp, err := http.Get("http://" + r.Control + "/ask?domain=" + host); err != nil || resp.Body.Close() != nil || resp.StatusCode == http.StatusOK {
			t.Errorf("another server may have a certificate for %s: %v, %v", host, resp, err)
		}
		d := state(t, c, host, want, reason)
		if !d.Status.ProofNeeded || !strings.Contains(d.Status.Message, host) || d.Status.Who != shingle.WhoCustomer {
			t.Errorf("%s: %+v", host, d.Status)
		}
		if resp, err := visitor.Get("https://" + host + "/"); err == nil {
			t.Errorf("%s answers with %s", host, resp.Status)
		}
		if err := c.DeleteDomain(t.Context(), host); err != nil {
			t.Fatal(err)
		}
	}
	// The victim leaves, and forgets the record.
	if err := c.DeleteDomain(t.Context(), victim); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateDomain(t.Context(), api.NewDomain{Host: victim, Tenant: "mallory"}); err != nil {
		t.Fatal(err)
	}
	if resp, err := r.client(true).Get("https://" + victim + "/"); err == nil { // with the certificate that was the victim's
		t.Errorf("%s answers mallory's visitors with %s", victim, resp.Status)
	}
	state(t, c, victim, shingle.StatePending, shingle.ReasonOtherTenant)
	if _, err := c.ClaimDomain(t.Context(), victim, "newco"); !errors.Is(err, shingle.ErrForbidden) {
		t.Errorf("claimed without a proof: %v", err)
	}
	if n := r.orders(t); n != before {
		t.Errorf("%d orders for names that are not proven", n-before)
	}
	proveAndVisit(t.Context(), t, r, c, victim)
}

// proveAndVisit has a new owner set the TXT record, and get the domain from who has
// added it in vain.
func proveAndVisit(ctx context.Context, t *testing.T, r *running, c *api.Client, host string) {
	t.Helper()
	found, err := c.CheckDomain(ctx, host, "newco")
	if err != nil || found.DNS.Proven || found.DNS.Proof == nil {
		t.Fatalf("%+v, %v", found.DNS, err)
	}
	r.zone(t, "_shingle-challenge."+host+`. 60 TXT "`+found.DNS.Proof.Value+`"`)
	d, err := c.ClaimDomain(ctx, host, "newco")
	if err != nil || d.Tenant != "newco" {
		t.Fatalf("%+v, %v", d, err)
	}
	state(t, c, host, shingle.StateActive, shingle.ReasonServed)
	visitor := r.client(true)
	defer visitor.CloseIdleConnections()
	visit(t, visitor, host, 2)
}

// TestProof_CertificateBeforeTheCutOver: who delegates DNS-01 has a certificate while
// the name still leads to the old server, and moves without an interruption.
func TestProof_CertificateBeforeTheCutOver(t *testing.T) {
	r := runDev(t, Config{Proof: ProofTenant})
	c := r.api(t)
	const host = "moving.customer.localhost"
	r.zone(t, host+". 60 A 127.0.0.2")
	d, err := c.CreateDomain(t.Context(), api.NewDomain{Host: host, Tenant: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if is, err := c.Certificate(t.Context(), host); err == nil && is.State == string(shingle.CertificateValid) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no certificate")
		}
	}
	if _, err := c.CheckDomain(t.Context(), host, ""); err != nil {
		t.Fatal(err)
	}
	if s := state(t, c, host, shingle.StatePending, shingle.ReasonPointsElsewhere); !strings.Contains(s.Status.Message, "will interrupt nothing") {
		t.Errorf("%+v", s.Status)
	}
	before := r.orders(t)
	r.zone(t, host+". 60 CNAME "+d.DNS.CNAME+".")
	visitor := r.client(true)
	defer visitor.CloseIdleConnections()
	visit(t, visitor, host, 2) // at once
	if _, err := c.CheckDomain(t.Context(), host, ""); err != nil {
		t.Fatal(err)
	}
	state(t, c, host, shingle.StateActive, shingle.ReasonServed)
	if n := r.orders(t); n != before {
		t.Errorf("%d orders after the cut-over", n-before)
	}
}
