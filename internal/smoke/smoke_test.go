package smoke

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

var elsewhere = netip.MustParseAddr("192.0.2.99")

// trouble is what can go wrong, and what the steps that it concerns say.
type trouble struct {
	name   string
	do     func(w *world)
	failed map[string]string // step: a regexp of the reason
	advice string            // a part of what is to be done about the first
	// skipped are those that did not need to be done, or could not be.
	skipped string
	left    string // regexp of what is left behind; empty: nothing
}

const domainSteps = "domain record active https-by-name https-by-address refused"

var troubles = []trouble{
	{name: "nothing"},
	{
		name: "the API does not answer", do: func(w *world) { w.refuse("/", http.StatusBadGateway, "no function") },
		failed: map[string]string{"api": "^502 Bad Gateway: no function$"}, advice: "see the log", skipped: "token edges left-overs " + domainSteps,
	},
	{
		name: "nobody may call the function", do: func(w *world) { w.refuse("/health", http.StatusForbidden, "Forbidden") },
		failed: map[string]string{"api": "^403 Forbidden: Forbidden$"}, advice: "lambda:InvokeFunctionUrl", skipped: "token edges left-overs " + domainSteps,
	},
	{
		name: "the API is cut off", do: func(w *world) { w.refuse("/health", http.StatusOK, "degraded\nthe store does not answer") },
		failed: map[string]string{"api": "^degraded: the store does not answer$"}, advice: "reaches its store", skipped: "token edges left-overs " + domainSteps,
	},
	{
		name: "there is no token", do: func(w *world) { w.Client = nil },
		failed: map[string]string{"token": "^there is none$"}, advice: "SHINGLE_TOKEN", skipped: "edges left-overs " + domainSteps,
	},
	{
		name: "the token is of another stage", do: func(w *world) {
			w.before = func(rw http.ResponseWriter, r *http.Request) bool {
				r.Header.Set("Authorization", "Bearer shingle_abcdefghijklmnop_abcdefghijklmnopqrstuvwxyz")
				return false
			}
		},
		failed: map[string]string{"token": "token"}, advice: "--new-token", skipped: "edges left-overs " + domainSteps,
	},
	{
		name: "the token may look only", do: func(w *world) { w.Client = w.as(shingle.RoleRead) },
		failed: map[string]string{"domain": "."}, advice: "role operator", skipped: "record active https-by-name https-by-address refused",
	},
	{
		name: "an edge is missing", do: func(w *world) { w.members = w.members[:1] },
		failed: map[string]string{"edges": "^in eu-west-1 0 of 1 edges are alive and of the API's version$"}, advice: "shingle edges",
	},
	{
		name: "an edge is of another version", do: func(w *world) { w.members[1].Version = "v0" },
		failed: map[string]string{"edges": "^edgeeuwest1 in eu-west-1: it runs version v0, and the process that answers v1; in eu-west-1 0 of 1"},
	},
	{
		name: "an edge is silent", do: func(w *world) { w.members[0].Reported = time.Now().Add(-time.Hour) },
		failed: map[string]string{"edges": "^in us-east-1 0 of 1 edges are alive"},
	},
	{
		name: "an edge is degraded", do: func(w *world) { w.members[0].Degraded = []string{"the store does not answer"} },
		failed: map[string]string{"edges": "^edgeuseast1 in us-east-1: the store does not answer; in us-east-1 0 of 1"},
	},
	{
		name: "a name server is silent", do: func(w *world) { w.names["ns2.example.net"] = nil },
		failed: map[string]string{"dns": `^ns2\.example\.net has for edge\.example\.com no answer; ns2\.example\.net has for [0-9a-f]{20}\.edge\.example\.com no answer$`}, advice: "registrar",
	},
	{
		name: "a name server leads elsewhere", do: func(w *world) { w.names["ns1.example.net"] = []netip.Addr{elsewhere} },
		failed: map[string]string{"dns": `^ns1\.example\.net has for edge\.example\.com 192\.0\.2\.99, which is not the front's;`},
	},
	{
		name: "tenants' names lead nowhere", do: func(w *world) { w.tenants = []netip.Addr{} },
		failed: map[string]string{"dns": `^ns2\.example\.net has for [0-9a-f]{20}\.edge\.example\.com no address$`}, advice: `*.edge.example.com`,
	},
	{
		name: "the zone is delegated nowhere", do: func(w *world) {
			w.asked = shingle.Errorf(shingle.CodeInvalid, "its name servers do not answer properly")
		},
		failed: map[string]string{"dns": `^edge\.example\.com: its name servers do not answer properly;`}, advice: "registrar",
	},
	{
		name: "no name server can be asked from here", do: func(w *world) { w.asked = shingle.ErrUnavailable },
		skipped: "dns",
	},
	{
		name: "an address is not healthy", do: func(w *world) { w.edges[1] = playedEdge{health: 503, said: "shutting down"} },
		failed: map[string]string{"http": `^127\.0\.0\.1: 503 Service Unavailable: shutting down$`}, advice: "journalctl",
	},
	{
		name: "at an address is something else", do: func(w *world) { w.edges[0].said = "<h1>Apache</h1>" },
		failed: map[string]string{"http": "another server answers$"},
	},
	{
		name: "nobody has an address", do: func(w *world) { w.Front[0].HTTP = closedPort(w.t) },
		failed: map[string]string{"http": "no answer: .*refused$"}, advice: "no edge has the address",
	},
	{
		name: "the domain is a customer's", do: func(w *world) {
			w.Domain = "blog.customer.com"
			w.add("blog.customer.com", time.Now())
		},
		failed: map[string]string{"domain": "exists"}, advice: "--domain", skipped: "active https-by-name https-by-address refused", left: `^blog\.customer\.com$`,
	},
	{
		name: "the reply to the addition is lost", do: func(w *world) {
			w.after = func(r *http.Request) {
				if r.Method == http.MethodPost && r.URL.Path == "/v1/domains" {
					panic(http.ErrAbortHandler)
				}
			}
		},
		failed: map[string]string{"domain": "no answer"}, skipped: "record active https-by-name https-by-address refused",
	},
	{
		name: "the record cannot be set", do: func(w *world) { w.broken = "set" },
		failed: map[string]string{"record": "^the answer was lost$"}, advice: "--domain", skipped: "active https-by-name https-by-address refused",
	},
	{
		name: "the checks refuse the domain", do: func(w *world) { w.state, w.Wait = shingle.StateVerifying, 50*time.Millisecond },
		failed: map[string]string{"active": `^it is verifying: CAA records forbid it\.$`}, advice: "shingle domains check", skipped: "https-by-name https-by-address refused",
	},
	{
		name: "the CA refuses the domain", do: func(w *world) { w.failed, w.Wait = "The CA allows no more today.", 50*time.Millisecond },
		failed: map[string]string{"active": `^its certificate is failing: The CA allows no more today\.$`}, advice: "shingle certs list", skipped: "https-by-name https-by-address refused",
	},
	{
		name: "the name leads to another server", do: func(w *world) { w.edges[0].other = true },
		failed: map[string]string{
			"https-by-name":    "^another server answers, 200 OK, without the header Shingle-Edge$",
			"https-by-address": `^127\.0\.0\.1:\d+: another server answers`,
		}, advice: "what DNS leads to",
	},
	{
		name: "an address refuses connections", do: func(w *world) { w.Front[1].HTTPS = closedPort(w.t) },
		failed: map[string]string{"https-by-address": "refused$", "refused": "refused$"}, advice: "security groups",
	},
	{
		name: "the product does not answer behind an edge", do: func(w *world) { w.edges[1].product = 502 },
		failed: map[string]string{"https-by-address": `^127\.0\.0\.1:\d+: the edge answers, the product does not: 502 Bad Gateway`}, advice: "the product",
	},
	{
		name: "the product is not told the domain", do: func(w *world) { w.edges[1].mute = true },
		failed: map[string]string{"https-by-address": "does not show the domain as User-Custom-Domain"},
	},
	{
		name: "the record cannot be removed", do: func(w *world) { w.broken = "remove" },
		failed: map[string]string{"record-removed": "^throttled$"}, advice: "remove the CNAME record shingle-smoke-", left: `^record shingle-smoke-\w+\.example\.com$`,
	},
	{
		name: "the domain cannot be deleted", do: func(w *world) {
			w.before = func(rw http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodDelete {
					rw.WriteHeader(http.StatusBadGateway)
				}
				return r.Method == http.MethodDelete
			}
		},
		failed: map[string]string{"removed": "502"}, advice: "shingle domains rm shingle-smoke-", skipped: "refused", left: `^shingle-smoke-\w+\.example\.com$`,
	},
	{
		name: "an edge serves on", do: func(w *world) { w.edges[1].lags = true },
		failed: map[string]string{"refused": `^127\.0\.0\.1:\d+: it is served$`}, advice: "an edge that is behind",
	},
}

// TestRun_SaysWhatIsWrong has one thing after the other be wrong: the steps that it
// concerns say so, those that do not need them are done, and nothing is left behind.
func TestRun_SaysWhatIsWrong(t *testing.T) {
	for _, each := range troubles {
		t.Run(each.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if each.do != nil {
				each.do(w)
			}
			var told []Result
			all := Run(t.Context(), w.Steps(), func(r Result) { told = append(told, r) })
			if !slices.Equal(all, told) {
				t.Error("not all results were told as they came")
			}
			for _, r := range all {
				each.judge(t, r)
			}
			if left := strings.Join(w.left(), " "); each.left == "" && left != "" || !regexp.MustCompile(each.left).MatchString(left) {
				t.Errorf("left behind: %s", left)
			}
		})
	}
}

func (each *trouble) judge(t *testing.T, r Result) {
	t.Helper()
	want, bad := each.failed[r.Step]
	switch {
	case bad && (r.Outcome != Failed || !regexp.MustCompile(want).MatchString(r.Reason)):
		t.Errorf("%s is %s, not failed for %s: %s%s", r.Step, r.Outcome, want, r.Found, r.Reason)
	case bad && len(each.failed) == 1 && !strings.Contains(r.Do, each.advice):
		t.Errorf("%s: what to do is %q", r.Step, r.Do)
	case bad:
	case slices.Contains(strings.Fields(each.skipped), r.Step):
		if r.Outcome != Skipped || r.Reason == "" {
			t.Errorf("%s is %s, not skipped: %s%s", r.Step, r.Outcome, r.Found, r.Reason)
		}
	case r.Outcome != OK:
		t.Errorf("%s is %s: %s", r.Step, r.Outcome, r.Reason)
	}
	if r.What == "" || r.Outcome == Skipped && r.Seconds > 1 {
		t.Errorf("%+v", r)
	}
}

// TestRun_TakesAwayWhatItMadeWhenItEnds: it is interrupted, or out of time, while it waits for
// the certificate.
func TestRun_TakesAwayWhatItMadeWhenItEnds(t *testing.T) {
	for reason, why := range map[string]error{"interrupted": context.Canceled, "the time for all steps was up": context.DeadlineExceeded} {
		w := newWorld(t)
		w.state = shingle.StateVerifying
		ctx := &endingContext{Context: t.Context(), why: why, done: make(chan struct{})}
		w.after = func(r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/check") {
				ctx.end()
			}
		}
		outcomes := map[string]Result{}
		for _, r := range Run(ctx, w.Steps(), func(Result) {}) {
			outcomes[r.Step] = r
		}
		if is := outcomes["active"]; is.Outcome != Skipped || is.Reason != reason {
			t.Errorf("%s: active is %+v", reason, is)
		}
		if a, b := outcomes["record-removed"], outcomes["removed"]; a.Outcome != OK || b.Outcome != OK || b.Found != "" {
			t.Errorf("%s: removed: %+v, %+v", reason, a, b)
		}
		if left := w.left(); len(left) > 0 {
			t.Errorf("%s: left behind: %v", reason, left)
		}
	}
}

// endingContext ends when it is told to.
type endingContext struct {
	context.Context
	why  error
	done chan struct{}
	once sync.Once
}

func (c *endingContext) end() { c.once.Do(func() { close(c.done) }) }

func (c *endingContext) Done() <-chan struct{} { return c.done }

func (c *endingContext) Err() error {
	select {
	case <-c.done:
		return c.why
	default:
		return nil
	}
}

// TestRun_NoStepHangs: what does not answer ends with its step.
func TestRun_NoStepHangs(t *testing.T) {
	w := newWorld(t)
	w.before = func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }
	steps := w.Steps()
	for i := range steps {
		if steps[i].Within <= 0 {
			t.Errorf("%s has no bound", steps[i].Name)
		}
		steps[i].Within = min(steps[i].Within, 2*time.Second)
	}
	is := Run(t.Context(), steps, func(Result) {})
	if is[0].Step != "api" || is[0].Outcome != Failed || Count(is, Skipped) != 9 {
		t.Errorf("%+v", is)
	}
}

// TestLeftOvers_AreDeleted: those of runs that are over, and nothing of customers'.
func TestLeftOvers_AreDeleted(t *testing.T) {
	w := newWorld(t)
	w.add("shingle-smoke-old.example.com", time.Now().Add(-2*time.Hour), tag)
	w.zone["shingle-smoke-old.example.com"] = "old.edge.example.com"
	w.add("shingle-smoke-young.example.com", time.Now(), tag)
	w.add("shingle-smoke-fans.example.com", time.Now().Add(-2*time.Hour)) // somebody's of that name
	w.Domain = "try.example.org"
	w.add(w.Domain, time.Now(), tag) // of a run of the same domain that was killed
	for _, r := range Run(t.Context(), w.Steps(), func(Result) {}) {
		if r.Outcome != OK {
			t.Errorf("%s is %s: %s", r.Step, r.Outcome, r.Reason)
		}
		if r.Step == "left-overs" && r.Found != "deleted shingle-smoke-old.example.com, try.example.org" {
			t.Errorf("left-overs: %s", r.Found)
		}
	}
	if left := w.left(); !slices.Equal(left, []string{"shingle-smoke-fans.example.com", "shingle-smoke-young.example.com"}) {
		t.Errorf("there is left: %v", left)
	}
}

// refuse has the API answer requests below a path so.
func (w *world) refuse(path string, code int, text string) {
	w.before = func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, path) {
			return false
		}
		rw.WriteHeader(code)
		_, _ = rw.Write([]byte(text))
		return true
	}
}

// add has a domain be there since a time.
func (w *world) add(host string, at time.Time, tags ...string) {
	settings, err := shingle.Settings{Tags: tags}.Text()
	check(w.t, err)
	_, err = w.store.CreateDomain(w.t.Context(), shingle.Domain{Host: host, Settings: settings}, at)
	check(w.t, err)
}

// closedPort is an address at which nobody listens.
func closedPort(t *testing.T) netip.AddrPort {
	s, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	at := netip.MustParseAddrPort(s.Addr().String())
	check(t, s.Close())
	return at
}
