package edge

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// namedCerts knows which certificates were asked for, and has none for some.
type namedCerts struct {
	*testCerts
	lacking []string

	mu    sync.Mutex
	asked []string
}

func (c *namedCerts) Certificate(ctx context.Context, domain string) (*tls.Certificate, error) {
	c.mu.Lock()
	c.asked = append(c.asked, domain)
	c.mu.Unlock()
	if slices.Contains(c.lacking, domain) {
		return nil, shingle.ErrUnavailable
	}
	return c.testCerts.Certificate(ctx, domain)
}

// take returns what was asked for since the last call.
func (c *namedCerts) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := c.asked
	c.asked = nil
	return asked
}

// startWild starts an edge with a wildcard and domains that overrule it.
func startWild(t *testing.T, origin string, lacking ...string) (*testEdge, *namedCerts) {
	certs := &namedCerts{testCerts: newTestCerts(t), lacking: lacking}
	te := startEdge(t, origin, func(c *Config) {
		c.Certificates = certs
		rows := &memory.Store{}
		c.Store = rows
		for _, d := range []shingle.Domain{
			{Host: "*.customer.test"},
			{Host: "own.customer.test"},
			{Host: "other.customer.test", Tenant: "other"},
			{Host: "paused.customer.test", Paused: true},
			{Host: "*.paused.test", Paused: true},
		} {
			if _, err := rows.CreateDomain(t.Context(), d, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
	})
	te.certs = certs.testCerts
	return te, certs
}

func echoHost(t *testing.T) string {
	return origin(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("User-Custom-Domain"))
	})
}

func TestEdge_WildcardServesEachHostUnderItsOwnName(t *testing.T) {
	url := echoHost(t)
	allProtocols(t, func(t *testing.T, major int) {
		te, certs := startWild(t, url)
		c := te.client(t, major)
		for host, certificate := range map[string]string{
			"a.customer.test": "*.customer.test", "B.Customer.test": "*.customer.test", "own.customer.test": "own.customer.test",
		} {
			certs.take()
			resp, body := get(t, c, "https://"+host+"/")
			if want := strings.ToLower(host); resp.StatusCode != 200 || body != want {
				t.Errorf("%s: %s, the origin was told %q", host, resp.Status, body)
			}
			if asked := certs.take(); !slices.Equal(asked, []string{certificate}) {
				t.Errorf("%s: asked for the certificates of %q", host, asked)
			}
		}
		for _, host := range []string{"customer.test", "a.b.customer.test", "paused.customer.test", "a.paused.test", "a.test"} {
			if _, err := c.Get("https://" + host + "/"); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
				t.Errorf("%s: %v", host, err)
			}
		}
	})
}

// TestEdge_WildcardIsNoHost asks for the asterisk itself, and for what only looks
// as if a wildcard covered it.
func TestEdge_WildcardIsNoHost(t *testing.T) {
	te, _ := startWild(t, echoHost(t))
	for _, sni := range []string{"*.customer.test", ".customer.test", "a_b.customer.test"} {
		c, err := tls.Dial("tcp", te.https, &tls.Config{ServerName: sni, InsecureSkipVerify: true})
		if err == nil {
			c.Close()
			t.Errorf("SNI %q was taken", sni)
		}
	}
	for _, host := range []string{"*.customer.test", ".customer.test", "a_b.customer.test", "..customer.test", "b.customer.test"} {
		c, err := tls.Dial("tcp", te.https, &tls.Config{ServerName: "a.customer.test", RootCAs: te.certs.roots, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
		answer, _ := io.ReadAll(c)
		c.Close()
		if status := strings.Fields(string(answer)); len(status) < 2 || status[1] != "400" && status[1] != "421" {
			t.Errorf("Host %q: %q", host, answer)
		}
	}
	r, err := http.NewRequest(http.MethodGet, "http://"+te.http+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"*.customer.test", ".customer.test", "a.b.customer.test", "paused.customer.test"} {
		r.Host = host
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 404 && resp.StatusCode != 400 {
			t.Errorf("port 80, Host %q: %s, %s", host, resp.Status, resp.Header.Get("Location"))
		}
	}
}

func TestEdge_WildcardOnPort80(t *testing.T) {
	te, _ := startWild(t, echoHost(t))
	c := te.client(t, 1)
	if resp, body := get(t, c, "http://a.customer.test/.well-known/acme-challenge/known"); resp.StatusCode != 200 || body != "known.thumbprint" {
		t.Errorf("challenge: %s, %q", resp.Status, body)
	}
	resp, _ := get(t, c, "http://a.customer.test/x?y")
	if to := resp.Header.Get("Location"); resp.StatusCode != 308 || !strings.HasPrefix(to, "https://a.customer.test:") || !strings.HasSuffix(to, "/x?y") {
		t.Errorf("redirect: %s to %q", resp.Status, to)
	}
}

// TestEdge_WildcardStandsIn visits a domain whose own certificate cannot be had.
func TestEdge_WildcardStandsIn(t *testing.T) {
	te, certs := startWild(t, echoHost(t), "own.customer.test")
	if _, body := get(t, te.client(t, 2), "https://own.customer.test/"); body != "own.customer.test" {
		t.Errorf("got %q", body)
	}
	want, asked := []string{"own.customer.test", "*.customer.test"}, certs.take()
	if !slices.Equal(asked, want) {
		t.Errorf("asked for the certificates of %q", asked)
	}
	te, certs = startWild(t, echoHost(t), "other.customer.test") // another tenant's
	_, err := te.client(t, 2).Get("https://other.customer.test/")
	if asked := certs.take(); err == nil || slices.Contains(asked, "*.customer.test") {
		t.Errorf("served with another tenant's certificate: %v, asked for %q", err, asked)
	}
	te, _ = startWild(t, echoHost(t), "own.customer.test", "*.customer.test")
	if _, err := te.client(t, 2).Get("https://own.customer.test/"); err == nil {
		t.Error("served without a certificate")
	}
}

func TestEdge_WildcardMayRedirectToAHostBelow(t *testing.T) {
	certs := newTestCerts(t)
	te := startEdge(t, echoHost(t), func(c *Config) {
		c.Certificates = certs
		c.Store = &testStore{domains: []shingle.Domain{{Host: "*.customer.test", Redirect: "www.customer.test"}}}
	})
	te.certs = certs
	c := te.client(t, 2)
	if resp, _ := get(t, c, "https://a.customer.test/"); resp.StatusCode != 308 || !strings.HasPrefix(resp.Header.Get("Location"), "https://www.customer.test") {
		t.Errorf("%s to %q", resp.Status, resp.Header.Get("Location"))
	}
	if resp, body := get(t, c, "https://www.customer.test/"); resp.StatusCode != 200 || body != "www.customer.test" {
		t.Errorf("%s, %q", resp.Status, body)
	}
}

// TestTickets_OneHostOfAWildcardEach offers the session of one host to another
// host of the same wildcard and certificate.
func TestTickets_OneHostOfAWildcardEach(t *testing.T) {
	bothVersions(t, func(t *testing.T, v *visitor) {
		te, _ := startWild(t, echoHost(t))
		v.want(te, testHost, false)
		v.want(te, testHost, true)
		v.cache = forger{v.cache}
		v.want(te, "a.customer.test", false)
	})
}

func TestTable_WildcardComesAndGoes(t *testing.T) {
	table := newTable(shingle.Origin{Host: "127.0.0.1", Port: 80}, 443, nil)
	table.set(&shingle.Domain{Host: "*.customer.test"})
	table.set(&shingle.Domain{Host: "customer.test", Paused: true})
	for _, host := range []string{"*.customer.test", ".customer.test", "a.customer.test"} {
		if table.lookup(host) != nil {
			t.Errorf("%s has a site of its own", host)
		}
	}
	if s := table.covering("a.customer.test"); !s.served() {
		t.Errorf("a.customer.test is covered by %+v", s)
	}
	for _, host := range []string{"customer.test", "a.b.customer.test", "test", ""} {
		if table.covering(host) != nil {
			t.Errorf("%q is covered", host)
		}
	}
	if allocs := testing.AllocsPerRun(100, func() { table.covering("a.customer.test") }); allocs != 0 {
		t.Errorf("a look-up allocates %v times", allocs)
	}
	table.remove("*.customer.test")
	if table.covering("a.customer.test") != nil || table.lookup("customer.test") == nil {
		t.Error("not the wildcard alone was removed")
	}
}

func served(s *site, _ bool) bool { return s.served() }

// countingStore counts the reads of rows.
type countingStore struct {
	*memory.Store
	mu    sync.Mutex
	reads []string
}

func (s *countingStore) Domain(ctx context.Context, host string) (shingle.Domain, error) {
	s.mu.Lock()
	s.reads = append(s.reads, host)
	s.mu.Unlock()
	return s.Store.Domain(ctx, host)
}

// TestFollower_WildcardAddedAMomentAgo looks up hosts whose wildcard the table
// does not have yet, and what a flood of them costs.
func TestFollower_WildcardAddedAMomentAgo(t *testing.T) {
	store := &countingStore{Store: &memory.Store{}}
	f := newFollower(&Config{Store: store, Logger: slog.New(slog.DiscardHandler)}, newTable(shingle.Origin{Host: "127.0.0.1", Port: 80}, 443, nil))
	for _, d := range []shingle.Domain{{Host: "*.customer.test"}, {Host: "paused.customer.test", Paused: true}} {
		if _, err := store.CreateDomain(t.Context(), d, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if s, wildcard := f.find(t.Context(), "a.customer.test"); !s.served() || !wildcard {
		t.Errorf("found %+v", s)
	}
	if s, wildcard := f.find(t.Context(), "paused.customer.test"); s == nil || s.served() || wildcard {
		t.Errorf("the domain does not overrule the wildcard: %+v", s)
	}
	if want := []string{"a.customer.test", "*.customer.test", "paused.customer.test"}; !slices.Equal(store.reads, want) {
		t.Errorf("read %q", store.reads)
	}
	store.reads = nil
	start := time.Now()
	for i := range 2000 {
		f.find(t.Context(), fmt.Sprintf("x%d.customer%d.test", i, i))
	}
	if most := missReadBurst + int(time.Since(start).Seconds()*missReadsPerSecond) + 1; len(store.reads) > most {
		t.Errorf("a flood of names cost %d reads, more than %d", len(store.reads), most)
	}
	f.table.apply(&shingle.Change{Host: "*.customer.test", Domain: shingle.Domain{Host: "*.customer.test"}})
	if !served(f.find(t.Context(), "b.customer.test")) {
		t.Error("the table does not have the wildcard")
	}
}
