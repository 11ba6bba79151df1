package devenv

import (
	"cmp"
	"crypto/x509"
	"net/http"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/core"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

func TestFault_ValidationFailsNTimes(t *testing.T) {
	c := newTestCA(t, t.TempDir(), quick)
	client, account := c.client(t)
	c.Inject(Times(2, FailValidation(Problem{Type: "connection", Detail: "nobody there", Status: 400})))
	for range 2 {
		_, err := c.order(t, client, account, nil)
		wantProblem(t, err, "connection", http.StatusBadRequest)
	}
	if _, err := c.order(t, client, account, nil); err != nil {
		t.Fatal(err)
	}
	if n := len(c.Issued()); n != 1 || c.Orders() != 3 {
		t.Errorf("%d orders and %d certificates, want 3 and 1", c.Orders(), n)
	}
}

func TestFault_ValidationIsHeld(t *testing.T) {
	c := newTestCA(t, t.TempDir(), quick)
	client, account := c.client(t)
	release, looked := make(chan struct{}), make(chan struct{}, 1)
	c.Inject(HoldValidation(release))
	polls := 0
	c.Inject(At(Observe(func(*Request) {
		if polls++; polls == 3 { // the first is before the challenge
			looked <- struct{}{}
		}
	}), StepAuthz))
	done := make(chan error, 1)
	go func() { _, err := c.tryObtain(t.Context(), client, account); done <- err }()
	select {
	case <-looked:
	case err := <-done:
		t.Fatalf("the order ended before it was validated: %v", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestFault_ValidationIsDelayed(t *testing.T) {
	c := newTestCA(t, t.TempDir(), quick)
	client, account := c.client(t)
	const delay = 200 * time.Millisecond
	c.Inject(DelayValidation(delay))
	start := time.Now()
	if _, err := c.order(t, client, account, nil); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < delay {
		t.Errorf("the order took %v, want %v at least", took, delay)
	}
}

func TestFault_OrderIsInvalidAtFinalize(t *testing.T) {
	c := newTestCA(t, t.TempDir(), quick)
	client, account := c.client(t)
	c.Inject(Times(1, InvalidateOrder(Problem{Type: "caa", Detail: "a CAA record forbids it", Status: 403})))
	_, err := c.order(t, client, account, nil)
	wantProblem(t, err, "caa", http.StatusForbidden)
	if len(c.Issued()) != 0 {
		t.Error("a certificate was issued all the same")
	}
	if _, err := c.order(t, client, account, nil); err != nil {
		t.Fatal(err)
	}
}

func TestCA_ExternalAccountIsRequired(t *testing.T) {
	key := &ExternalAccount{KeyID: "kid-1", MACKey: "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTMyYnl0ZXM"}
	c := newTestCA(t, t.TempDir(), quick, func(c *CAConfig) { c.ExternalAccount = key })
	client := c.newClient()
	account := acme.Account{TermsOfServiceAgreed: true, PrivateKey: newKey(t)}
	_, err := client.NewAccount(t.Context(), account)
	wantProblem(t, err, "externalAccountRequired", http.StatusForbidden)

	wrong := account
	if err := wrong.SetExternalAccountBinding(t.Context(), client.Client, acme.EAB{KeyID: key.KeyID, MACKey: "AAAA"}); err != nil {
		t.Fatal(err)
	}
	_, err = client.NewAccount(t.Context(), wrong)
	wantProblem(t, err, "unauthorized", http.StatusForbidden)

	if err := account.SetExternalAccountBinding(t.Context(), client.Client, acme.EAB{KeyID: key.KeyID, MACKey: key.MACKey}); err != nil {
		t.Fatal(err)
	}
	account, err = client.NewAccount(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.order(t, client, account, nil); err != nil {
		t.Fatal(err)
	}
}

func TestCA_RenewalInfoIsSet(t *testing.T) {
	c := newTestCA(t, t.TempDir(), quick)
	client, account := c.client(t)
	var leaves [2]*x509.Certificate
	for i := range leaves {
		var err error
		if leaves[i], err = c.order(t, client, account, nil); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now().Truncate(time.Second)
	own := &RenewalInfo{Start: now.Add(time.Hour), End: now.Add(2 * time.Hour), RetryAfter: time.Minute, ExplanationURL: "https://ca.localhost/why"}
	c.SetRenewalInfo(nil, RenewNow(now))
	c.SetRenewalInfo(leaves[0], own)
	info := func(leaf *x509.Certificate) acme.RenewalInfo {
		t.Helper()
		info, err := client.GetRenewalInfo(t.Context(), leaf)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	got := info(leaves[0])
	if !got.SuggestedWindow.Start.Equal(own.Start) || !got.SuggestedWindow.End.Equal(own.End) || got.ExplanationURL != own.ExplanationURL {
		t.Errorf("the certificate's own window is %+v", got)
	}
	if got.RetryAfter == nil || time.Until(*got.RetryAfter) > own.RetryAfter {
		t.Errorf("to be asked again at %v", got.RetryAfter)
	}
	if got := info(leaves[1]); !got.SuggestedWindow.End.Before(now) {
		t.Errorf("everybody's window is %+v, want one that is past", got)
	}
	c.SetRenewalInfo(leaves[0], nil)
	if got := info(leaves[0]); !got.SuggestedWindow.End.Before(now) {
		t.Errorf("without a window of its own: %+v", got)
	}
	c.SetRenewalInfo(nil, nil)
	if got := info(leaves[0]); !got.SuggestedWindow.Start.After(now.AddDate(0, 1, 0)) {
		t.Errorf("Pebble's own window is %+v", got)
	}
}

func TestCA_Replaces(t *testing.T) {
	c := newTestCA(t, t.TempDir(), quick)
	client, account := c.client(t)
	old, err := c.order(t, client, account, nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := acme.ARIUniqueIdentifier(old)
	if err != nil {
		t.Fatal(err)
	}
	replacement := acme.Order{Identifiers: []acme.Identifier{{Type: "dns", Value: testHost}}, Replaces: id}
	for kind, status := range map[string]int{"malformed": http.StatusBadRequest, "alreadyReplaced": http.StatusConflict} {
		remove := c.Inject(RejectReplaces(Problem{Type: kind, Status: status, Detail: "not this one"}))
		_, err := client.NewOrder(t.Context(), account, replacement)
		wantProblem(t, err, kind, status)
		if _, err := c.order(t, client, account, nil); err != nil {
			t.Errorf("without replaces: %v", err)
		}
		remove()
	}
	if _, err := c.order(t, client, account, func(p *acmez.OrderParameters) { p.Replaces = old }); err != nil {
		t.Fatal(err)
	}
	issued := c.Issued()
	if last := issued[len(issued)-1]; last.Replaces != id || last.Hosts[0] != testHost {
		t.Errorf("journal has %+v, want a replacement of %s", last, id)
	}
	_, err = client.NewOrder(t.Context(), account, replacement)
	wantProblem(t, err, "alreadyReplaced", http.StatusConflict)
}

// TestCA_ReplacesSerialWithHighBit has a serial number that ASN.1 puts a zero
// byte in front of, which Pebble does not expect.
func TestCA_ReplacesSerialWithHighBit(t *testing.T) {
	g := &gate{store: db.NewMemoryStore()}
	order := &core.Order{ID: "first", AccountID: "a", CertificateObject: &core.Certificate{ID: "ff01"}}
	if err := g.store.AddOrderByIssuedSerial(order); err != nil {
		t.Fatal(err)
	}
	g.aliasReplaced("AAAA.AP8B") // 00 ff 01
	got, err := g.store.GetOrderByIssuedSerial("00ff01")
	if err != nil || got.ID != "first" || got.AccountID != "a" {
		t.Fatalf("got %+v, %v", got, err)
	}
	for _, id := range []string{"", "AAAA", "AAAA.", "AAAA.!", "AAAA.AAEC", "AAAA._wE"} {
		g.aliasReplaced(id)
	}
	if again, err := g.store.GetOrderByIssuedSerial("00ff01"); err != nil || again != got {
		t.Errorf("got %+v, %v, want what was there", again, err)
	}
}

func TestCA_Profiles(t *testing.T) {
	c := newTestCA(t, t.TempDir(), quick, func(c *CAConfig) {
		c.Profiles = append(LetsEncryptProfiles(), Profile{Name: "seconds", Lifetime: 3 * time.Second})
	})
	client, account := c.client(t)
	for _, test := range []struct {
		profile  string
		lifetime time.Duration
		name     string
	}{
		{"", 90 * 24 * time.Hour, testHost},
		{"", 90 * 24 * time.Hour, testHost},
		{"tlsserver", 45 * 24 * time.Hour, ""},
		{"shortlived", 160 * time.Hour, ""},
		{"seconds", 3 * time.Second, ""},
	} {
		leaf, err := c.order(t, client, account, func(p *acmez.OrderParameters) { p.Profile = test.profile })
		if err != nil {
			t.Fatalf("%q: %v", test.profile, err)
		}
		// The last second belongs to the certificate (RFC 5280 section 4.1.2.5).
		if got := leaf.NotAfter.Sub(leaf.NotBefore) + time.Second; got != test.lifetime || leaf.Subject.CommonName != test.name {
			t.Errorf("%q: good for %v, common name %q", test.profile, got, leaf.Subject.CommonName)
		}
		issued := c.Issued()
		last, asked := issued[len(issued)-1], c.NewOrders()[len(issued)-1]
		if last.Profile != cmp.Or(test.profile, "classic") || asked.Profile != test.profile || !last.Leaf.Equal(leaf) {
			t.Errorf("%q: journal has %q, asked for %q", test.profile, last.Profile, asked.Profile)
		}
	}
}

// TestCA_DefaultProfileIsTold makes many orders, as Pebble would choose at
// random.
func TestCA_DefaultProfileIsTold(t *testing.T) {
	c := newTestCA(t, t.TempDir(), quick, func(c *CAConfig) { c.Profiles = LetsEncryptProfiles() })
	client, account := c.client(t)
	for range 20 {
		order, err := client.NewOrder(t.Context(), account, acme.Order{Identifiers: []acme.Identifier{{Type: "dns", Value: testHost}}})
		if err != nil {
			t.Fatal(err)
		}
		if order.Profile != "classic" {
			t.Fatalf("profile is %q, want the first", order.Profile)
		}
	}
}

func TestCA_FreshAuthzIsNeverReady(t *testing.T) {
	c := newTestCA(t, t.TempDir(), quick)
	client, account := c.client(t)
	if _, err := c.order(t, client, account, nil); err != nil {
		t.Fatal(err)
	}
	for range 30 {
		order, err := client.NewOrder(t.Context(), account, acme.Order{Identifiers: []acme.Identifier{{Type: "dns", Value: testHost}}})
		if err != nil {
			t.Fatal(err)
		}
		if order.Status != acme.StatusPending {
			t.Fatalf("order is %s, want it validated again", order.Status)
		}
	}
}

// TestCA_CloseEndsItsGoroutines closes a CA in the middle of an order.
func TestCA_CloseEndsItsGoroutines(t *testing.T) {
	c := newTestCA(t, t.TempDir(), quick)
	client, account := c.client(t)
	held := make(chan struct{}, 1)
	c.Inject(HoldValidation(nil))
	c.Inject(At(Times(1, func(http.ResponseWriter, *Request) bool {
		held <- struct{}{}
		panic(http.ErrAbortHandler)
	}), StepAuthz))
	done := make(chan error, 1)
	go func() { _, err := c.tryObtain(t.Context(), client, account); done <- err }()
	<-held
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	noGoroutine(t, "devenv.(*CA)", "devenv.(*gate)", "devenv.holdValidation", "devenv.HoldValidation")
	if err := <-done; err == nil {
		t.Error("no error from a CA that was closed")
	}
}

// noGoroutine fails if one has a function with any of the names on its stack.
// It looks more than once: who has just said that he is done has not returned.
func noGoroutine(t *testing.T, names ...string) {
	t.Helper()
	var left string
	for range 1000 {
		if left = goroutineWith(t, names); left == "" {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("still there: %s", left)
}

func goroutineWith(t *testing.T, names []string) string {
	t.Helper()
	var b strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&b, 2); err != nil {
		t.Fatal(err)
	}
	for stack := range strings.SplitSeq(b.String(), "\n\n") {
		if slices.ContainsFunc(names, func(name string) bool { return strings.Contains(stack, name) }) {
			return stack
		}
	}
	return ""
}
