package edge

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/shingle-proxy/shingle"
)

func TestRoutes_LongestPrefixCounts(t *testing.T) {
	echo := func(name string) string {
		return origin(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, "%s %s %s", name, r.RequestURI, r.Header.Get("X-Forwarded-Prefix"))
		})
	}
	settings := fmt.Sprintf(`{"routes":[{"prefix":"/blog","origin":%q,"strip":true},{"prefix":"/blog/shop/","origin":%q}]}`, echo("blog"), echo("shop"))
	te := startEdge(t, echo("main"), withSettings(t, ruledHost, settings))
	allProtocols(t, func(t *testing.T, major int) {
		for path, want := range map[string]string{
			"/": "main / ", "/blogs": "main /blogs ", "/x/blog": "main /x/blog ", "/%62log": "main /%62log ", "/Blog": "main /Blog ", "//blog": "main //blog ",
			"/blog": "blog / /blog", "/blog?q=/x": "blog /?q=/x /blog", "/blog/": "blog / /blog", "/blog/a%2Fb?c": "blog /a%2Fb?c /blog", "/blog/shops": "blog /shops /blog",
			"/blog/shop": "shop /blog/shop ", "/blog/shop/1?x": "shop /blog/shop/1?x ",
		} {
			req, _ := http.NewRequest("GET", "https://"+ruledHost+path, nil)
			req.Header.Set("X-Forwarded-Prefix", "/forged")
			resp, err := te.client(t, major).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if _ = resp.Body.Close(); err != nil || string(body) != want {
				t.Errorf("%s: got %q, want %q", path, body, want)
			}
		}
	})
}

// TestOrigins_PolicyHoldsAtTheAddress: what a name says of itself does not count.
func TestOrigins_PolicyHoldsAtTheAddress(t *testing.T) {
	private, asked := countedOrigin(t, nil)
	_, port, _ := strings.Cut(strings.TrimPrefix(private, "http://"), ":")
	for rules, want := range map[string]int{"": 502, "public": 502, "none": 502, "10.0.0.0/8": 502, "127.0.0.1": 200, "127.0.0.0/8": 200, "localhost": 200} {
		policy, err := shingle.ParseOriginPolicy(strings.Fields(rules))
		if err != nil {
			t.Fatal(err)
		}
		te := startEdge(t, helloOrigin(t), func(c *Config) {
			c.Origins = policy
			s := c.Store.(*testStore)
			s.domains = append(s.domains, shingle.Domain{Host: ruledHost, Origin: "http://localhost:" + port},
				shingle.Domain{Host: "routed.customer.test", Settings: shingle.SettingsText(`{"routes":[{"prefix":"/a","origin":"http://localhost:` + port + `"}]}`)})
		})
		before := asked.Load()
		for _, url := range []string{"https://" + ruledHost + "/", "https://routed.customer.test/a"} {
			if resp, _ := get(t, te.client(t, 2), url); resp.StatusCode != want {
				t.Errorf("%q: %s: got %d, want %d", rules, url, resp.StatusCode, want)
			}
		}
		if reached := asked.Load() > before; reached != (want == 200) {
			t.Errorf("%q: reached %v", rules, reached)
		}
		if resp, _ := get(t, te.client(t, 2), "https://routed.customer.test/"); resp.StatusCode != 200 {
			t.Errorf("%q: the target itself: %d", rules, resp.StatusCode)
		}
	}
}

// TestOrigins_OneThatHangsDoesNotStopTheOthers has all the requests that a domain can
// have under way hang at its own origin.
func TestOrigins_OneThatHangsDoesNotStopTheOthers(t *testing.T) {
	arrived, end := make(chan struct{}), make(chan struct{})
	hanging := origin(t, func(http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-end })
	te := startEdge(t, helloOrigin(t), func(c *Config) {
		c.MaxOriginConns = 8
		s := c.Store.(*testStore)
		s.domains = append(s.domains, shingle.Domain{Host: ruledHost, Origin: hanging})
	})
	var under sync.WaitGroup
	for range 4 { // half of all
		under.Go(func() { get(t, te.client(t, 1), "https://"+ruledHost+"/") })
		<-arrived
	}
	for range 10 {
		if resp, _ := get(t, te.client(t, 1), "https://"+ruledHost+"/"); resp.StatusCode != 503 {
			t.Errorf("got %d", resp.StatusCode)
		}
		if resp, _ := get(t, te.client(t, 1), "https://"+testHost+"/"); resp.StatusCode != 200 {
			t.Errorf("another domain: %d", resp.StatusCode)
		}
	}
	close(end)
	under.Wait()
	te.origins.shares.mu.Lock()
	defer te.origins.shares.mu.Unlock()
	if len(te.origins.shares.held) != 0 || len(te.origins.slots) != 0 {
		t.Errorf("%v and %d slots are held still", te.origins.shares.held, len(te.origins.slots))
	}
}
