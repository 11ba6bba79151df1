package edge

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/shingle-proxy/shingle"
)

// TestUnderWay_EndsWithWhatAllowedIt changes domains under requests that never end.
func TestUnderWay_EndsWithWhatAllowedIt(t *testing.T) {
	allProtocols(t, func(t *testing.T, major int) {
		arrived, gone := make(chan struct{}, 2), make(chan struct{}, 2)
		te := startEdge(t, origin(t, func(w http.ResponseWriter, r *http.Request) {
			arrived <- struct{}{}
			defer func() { gone <- struct{}{} }()
			if r.URL.Path == "/stream" {
				_, _ = io.WriteString(w, "data\n")
				_ = http.NewResponseController(w).Flush()
			}
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}))
		c := te.client(t, major)
		for name, x := range map[string]struct {
			change func(host string)
			ends   bool
		}{
			"deleted":     {te.table.remove, true},
			"paused":      {func(h string) { te.table.set(&shingle.Domain{Host: h, Paused: true}) }, true},
			"denied":      {func(h string) { te.setRules(h, `{"access":{"deny":["127.0.0.1"]}}`) }, true},
			"maintenance": {func(h string) { te.setRules(h, `{"maintenance":{"on":true}}`) }, false},
			"moved":       {func(h string) { te.table.set(&shingle.Domain{Host: h, Origin: "http://127.0.0.1:1"}) }, false},
			"no http3":    {func(h string) { te.setRules(h, `{"http3":"off"}`) }, false},
		} {
			te.table.set(&shingle.Domain{Host: testHost})
			ctx, cancel := context.WithCancel(t.Context())
			req, _ := http.NewRequestWithContext(ctx, "GET", "https://"+testHost+"/stream", nil)
			stream, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(stream.Body)
			if _, err := lines.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			waiting := make(chan int, 1)
			go func() {
				req, _ := http.NewRequestWithContext(ctx, "GET", "https://"+testHost+"/wait", nil)
				resp, err := te.client(t, major).Do(req)
				if err != nil {
					waiting <- 0
					return
				}
				_ = resp.Body.Close()
				waiting <- resp.StatusCode
			}()
			<-arrived
			<-arrived
			x.change(testHost)
			te.review()
			if !x.ends {
				cancel()
			}
			if status := <-waiting; (status == 421) != x.ends {
				t.Errorf("%s: the request without an answer got %d", name, status)
			}
			if _, err := lines.ReadString('\n'); err == nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s: the stream ended by %v", name, err)
			}
			_ = stream.Body.Close()
			cancel()
			<-gone
			<-gone
			c = te.client(t, major) // that connection may be about to end
		}
		if n := te.origins.errors.revoked.Load(); n != 6 { // two of each that ends
			t.Errorf("%d are counted as revoked, want 6", n)
		}
	})
}

// TestUnderWay_ChangeBetweenRouteAndOrigin lets the table change when a request was let
// in, and is not under way yet.
func TestUnderWay_ChangeBetweenRouteAndOrigin(t *testing.T) {
	url, asked := countedOrigin(t, nil)
	te := startEdge(t, url)
	s := te.table.lookup(testHost)
	before := te.changes.Load()
	te.table.remove(testHost)
	te.review()
	w := &notedAnswer{}
	te.proxy(t.Context(), w, &Request{Method: "GET", Target: "/", Authority: testHost, TLS: true, table: before}, errand{to: s.target, host: testHost, target: "/"})
	if asked.Load() != 0 || w.status != 421 {
		t.Errorf("the origin was asked %d times, the client got %d", asked.Load(), w.status)
	}
}

// TestUnderWay_DomainAheadOfTheFeed changes others while a request is under way to a domain
// that the store has and the feed has not told of yet; and then that one.
func TestUnderWay_DomainAheadOfTheFeed(t *testing.T) {
	const early = "early.customer.test"
	arrived, answer := make(chan struct{}), make(chan struct{})
	te := startEdge(t, origin(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-answer:
		case <-r.Context().Done():
		}
	}), func(c *Config) { c.Store = ahead{c.Store, early} })
	ask := func() chan int {
		status := make(chan int, 1)
		go func() {
			resp, err := te.client(t, 1).Get("https://" + early + "/")
			if err != nil {
				status <- 0
				return
			}
			_ = resp.Body.Close()
			status <- resp.StatusCode
		}()
		<-arrived
		return status
	}
	status := ask()
	te.table.set(&shingle.Domain{Host: "another.customer.test"})
	te.review()
	answer <- struct{}{}
	if got := <-status; got != 200 {
		t.Errorf("after a change of another domain: %d", got)
	}
	status = ask()
	te.table.set(&shingle.Domain{Host: early})
	te.sites.forget(early)
	te.table.remove(early)
	te.review()
	if got := <-status; got != 421 {
		t.Errorf("after its deletion: %d", got)
	}
}

// ahead is a store with a domain that its feed has not told of.
type ahead struct {
	shingle.DomainStore
	host string
}

func (s ahead) Domain(ctx context.Context, host string) (shingle.Domain, error) {
	if host == s.host {
		return shingle.Domain{Host: host}, nil
	}
	return s.DomainStore.Domain(ctx, host)
}

// notedAnswer is a ResponseWriter that keeps the status.
type notedAnswer struct {
	ResponseWriter
	status int
}

func (w *notedAnswer) WriteHead(status int, _ Fields) error { w.status = status; return nil }
func (w *notedAnswer) Write(p []byte) (int, error)          { return len(p), nil }
func (w *notedAnswer) CloseAfter()                          {}

// setRules changes the settings of a host.
func (te *testEdge) setRules(host string, settings shingle.SettingsText) {
	te.table.set(&shingle.Domain{Host: host, Settings: settings})
}
