package devenv

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// quick has the client wait as little as it may.
func quick(c *CAConfig) { c.NoRetryAfter, c.FreshAuthz, c.NonceReject = true, true, -1 }

// order asks for a certificate, with what is not in the CSR set by change.
func (c *testCA) order(t *testing.T, client *acmez.Client, account acme.Account, change func(*acmez.OrderParameters)) (*x509.Certificate, error) {
	t.Helper()
	csr, err := acmez.NewCSR(newKey(t), []string{testHost})
	if err != nil {
		t.Fatal(err)
	}
	params, err := acmez.OrderParametersFromCSR(account, csr)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&params)
	}
	issued, err := client.ObtainCertificate(t.Context(), params)
	if err != nil {
		return nil, err
	}
	return parseChain(t, issued[0].ChainPEM)[0], nil
}

// wantProblem fails unless err carries an ACME problem of the type. The client
// has some as pointers.
func wantProblem(t *testing.T, err error, kind string, status int) {
	t.Helper()
	problem, ok := errors.AsType[acme.Problem](err)
	if p, isPointer := errors.AsType[*acme.Problem](err); isPointer {
		problem, ok = *p, true
	}
	if !ok || problem.Type != problemPrefix+kind || problem.Status != status {
		t.Fatalf("error is %v, want %s with status %d", err, kind, status)
	}
}

func TestFault_NextOrdersAreRateLimited(t *testing.T) {
	c := newTestCA(t, t.TempDir(), quick)
	client, account := c.client(t)
	c.Inject(At(Times(2, RateLimited(90*time.Second)), StepOrder))
	for range 2 {
		_, err := c.order(t, client, account, nil)
		wantProblem(t, err, "rateLimited", http.StatusTooManyRequests)
	}
	if _, err := c.order(t, client, account, nil); err != nil {
		t.Fatalf("third order: %v", err)
	}
	var got []string
	for _, o := range c.NewOrders() {
		if !slices.Equal(o.Hosts, []string{testHost}) || o.Account != account.Location || time.Since(o.Time) > time.Minute || o.Accepted != (o.Problem == "") {
			t.Errorf("journal has %+v", o)
		}
		got = append(got, o.Problem)
	}
	if !slices.Equal(got, []string{"rateLimited", "rateLimited", ""}) || c.Orders() != 1 {
		t.Errorf("journal has problems %q, %d orders", got, c.Orders())
	}
}

func TestFault_RefusalHasRetryAfterAndFreshNonce(t *testing.T) {
	c := newTestCA(t, t.TempDir(), quick)
	var on atomic.Bool
	on.Store(true)
	remove := c.Inject(ForHost(testHost, While(on.Load, RateLimited(1500*time.Millisecond))))
	client, account := c.client(t)
	transport := &recorder{RoundTripper: client.HTTPClient.Transport}
	client.HTTPClient.Transport = transport
	_, err := c.order(t, client, account, nil)
	wantProblem(t, err, "rateLimited", http.StatusTooManyRequests)
	if h := transport.last(); h.Get("Retry-After") != "2" || h.Get("Replay-Nonce") == "" || h.Get("Content-Type") != "application/problem+json" {
		t.Errorf("header of the refusal: %v", h)
	}
	on.Store(false)
	if _, err := c.order(t, client, account, nil); err != nil {
		t.Errorf("after the limit: %v", err)
	}
	on.Store(true)
	remove()
	if _, err := c.order(t, client, account, nil); err != nil {
		t.Errorf("after the fault was removed: %v", err)
	}
}

func TestFault_NoncesRefused(t *testing.T) {
	c := newTestCA(t, t.TempDir(), quick, func(c *CAConfig) { c.NonceReject = 20 })
	client, account := c.client(t)
	if _, err := c.order(t, client, account, nil); err != nil {
		wantProblem(t, err, "badNonce", http.StatusBadRequest) // out of attempts
	}
	remove := c.Inject(At(Times(1, BadNonce()), StepOrder))
	defer remove()
	if _, err := c.order(t, client, account, nil); err != nil {
		wantProblem(t, err, "badNonce", http.StatusBadRequest)
	}
	if o := c.NewOrders(); !slices.ContainsFunc(o, func(o NewOrder) bool { return o.Problem == "badNonce" }) {
		t.Errorf("no order was refused for its nonce: %+v", o)
	}
}

func TestFault_ShareOfNonces(t *testing.T) {
	g := &gate{nonceReject: 30}
	var refused []string
	for i := range 2000 {
		if nonce := strconv.Itoa(i); g.refusesNonce(nonce) {
			refused = append(refused, nonce)
		}
	}
	if n := len(refused); n < 450 || n > 750 {
		t.Errorf("%d of 2000 nonces refused, want about 600", n)
	}
	g.nonceReject = 0
	if !g.refusesNonce(refused[0]) || g.refusesNonce("new") {
		t.Error("want a nonce that was refused to stay so, and no other to be")
	}
}

func TestFault_BrokenGateway(t *testing.T) {
	c := newTestCA(t, t.TempDir(), quick)
	client, account := c.client(t)
	for _, step := range []Step{StepOrder, StepFinalize} {
		remove := c.Inject(At(Broken(http.StatusBadGateway), step))
		if _, err := c.order(t, client, account, nil); err == nil {
			t.Errorf("%s: no error", step)
		}
		remove()
	}
	if o := c.NewOrders(); len(o) == 0 || o[0].Problem != "Bad Gateway" || o[0].Accepted {
		t.Errorf("journal has %+v", o)
	}
	c.Inject(Broken(http.StatusServiceUnavailable))
	resp, err := c.https().Get(c.DirectoryURL())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("directory has status %d, want 503", resp.StatusCode)
	}
}

func TestFault_HangEndsWithClientAndWithCA(t *testing.T) {
	c := newTestCA(t, t.TempDir(), quick)
	client, account := c.client(t)
	asked := make(chan struct{}, 16)
	c.Inject(At(Observe(func(*Request) { asked <- struct{}{} }), StepOrder))
	c.Inject(At(Hang(), StepOrder))
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	try := func() { _, err := c.tryObtain(ctx, client, account); failed <- err }
	go try()
	<-asked
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want the client's own", err)
	}
	ctx = t.Context()
	go try()
	<-asked
	start := time.Now()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took >= closeGrace {
		t.Errorf("Close took %v with a request that hangs", took)
	}
	if err := <-failed; err == nil {
		t.Error("no error from a CA that is gone")
	}
}

func TestFault_DelayIsAnsweredAllTheSame(t *testing.T) {
	c := newTestCA(t, t.TempDir(), quick)
	const delay = 100 * time.Millisecond
	c.Inject(At(Delay(delay), StepDirectory))
	start := time.Now()
	if _, err := c.newClient().GetDirectory(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < delay {
		t.Errorf("the answer took %v, want %v at least", took, delay)
	}
}

func TestFault_LostReplyLeavesAnOrder(t *testing.T) {
	c := newTestCA(t, t.TempDir(), quick)
	client, account := c.client(t)
	c.Inject(At(Times(1, LoseReply()), StepFinalize))
	if _, err := c.order(t, client, account, nil); err == nil {
		t.Fatal("no error though the reply to finalize was lost")
	}
	if c.Orders() != 1 {
		t.Fatalf("%d orders, want 1", c.Orders())
	}
	if _, err := c.order(t, client, account, nil); err != nil {
		t.Fatal(err)
	}
	if n := len(c.Issued()); n != 2 {
		t.Errorf("%d certificates issued, want the one that nobody got too", n)
	}
}

func TestFault_StepsOfAnOrder(t *testing.T) {
	c := newTestCA(t, t.TempDir(), quick)
	var mu sync.Mutex
	var steps []Step
	c.Inject(Observe(func(r *Request) {
		mu.Lock()
		defer mu.Unlock()
		if len(steps) == 0 || steps[len(steps)-1] != r.Step {
			steps = append(steps, r.Step)
		}
		needsHost := !slices.Contains([]Step{StepDirectory, StepNonce, StepAccount}, r.Step)
		if needsHost != slices.Equal(r.Hosts, []string{testHost}) {
			t.Errorf("%s %s is for %q", r.Step, r.Path, r.Hosts)
		}
	}))
	client, account := c.client(t)
	leaf, err := c.order(t, client, account, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.GetRenewalInfo(t.Context(), leaf); err != nil {
		t.Fatal(err)
	}
	want := []Step{
		StepDirectory, StepNonce, StepAccount, StepOrder, StepAuthz, StepChallenge, StepAuthz,
		StepFinalize, StepPoll, StepCertificate, StepRenewalInfo,
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(steps, want) {
		t.Errorf("steps are %q, want %q", steps, want)
	}
}

// TestFault_EachCAHasItsOwn runs several CAs at once.
func TestFault_EachCAHasItsOwn(t *testing.T) {
	for name, fault := range map[string]Fault{"well": nil, "limited": At(RateLimited(time.Minute), StepOrder), "broken": At(Broken(500), StepOrder)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newTestCA(t, t.TempDir(), quick, func(c *CAConfig) {
				if fault != nil {
					c.Faults = []Fault{fault}
				}
			})
			client, account := c.client(t)
			if _, err := c.order(t, client, account, nil); (err == nil) != (fault == nil) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// recorder keeps the header of the last answer.
type recorder struct {
	http.RoundTripper
	mu     sync.Mutex
	header http.Header
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.RoundTripper.RoundTrip(req)
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.header = resp.Header
	}
	return resp, err
}

func (r *recorder) last() http.Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.header
}
