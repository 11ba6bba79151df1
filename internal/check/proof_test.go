package check

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/shingle-proxy/shingle"
)

// The tenants of a played installation, and what they are told to set.
var (
	proofKey = shingle.ProbeKey{7}
	acme     = proofKey.Label("acme")
	mallory  = proofKey.Label("mallory")
)

// proofRequest is a check of host for acme.
func proofRequest(host string) Request {
	return Request{Host: host, Label: acme, Proof: proofKey.Proof(host, "acme"), Prove: true}
}

// TestProof_TakeoverClasses has the records by which a name is, or is not, shown to
// be the tenant's who has added it: those that customers leave behind prove nothing.
func TestProof_TakeoverClasses(t *testing.T) {
	const blog = "blog.customer.com"
	txt := func(host, tenant string) string { return ` TXT "` + proofKey.Proof(host, tenant) + `"` }
	for _, x := range []struct {
		name    string
		host    string // default blog
		records string
		world   func(w *world)
		config  func(c *Config)
		req     func(r *Request)
		want    shingle.Reason
		proven  bool
	}{
		{name: "CNAME to the tenant's own name", records: "blog CNAME " + acme + ".edge.operator.net.", want: shingle.ReasonPointsHere, proven: true},
		{name: "the same in upper case", records: "blog CNAME " + strings.ToUpper(acme) + ".EDGE.Operator.net.", want: shingle.ReasonPointsHere, proven: true},
		{name: "the same at the end of a chain", records: "blog CNAME www.customer.com.\nwww CNAME " + acme + ".edge.operator.net.", want: shingle.ReasonPointsHere, proven: true},
		{name: "dangling CNAME to the shared target", records: toEdge, want: shingle.ReasonPointsHere},
		{name: "dangling CNAME to another tenant's name", records: "blog CNAME " + mallory + ".edge.operator.net.", want: shingle.ReasonOtherTenant},
		{name: "another tenant's name behind an alias", records: "blog CNAME www.customer.com.\nwww CNAME " + mallory + ".edge.operator.net.", want: shingle.ReasonOtherTenant},
		{name: "a name below the target that is nobody's", records: "blog CNAME eu.edge.operator.net.", want: shingle.ReasonPointsHere},
		{name: "the tenant's label below a name that is not ours", records: "blog CNAME " + acme + ".other.net.", want: shingle.ReasonCNAMEBroken},
		{name: "the tenant's label two levels up", records: "blog CNAME " + acme + ".x.edge.operator.net.", want: shingle.ReasonPointsHere},
		{name: "A records of an apex left behind", host: "customer.com", records: "@ A 11.1.0.1", want: shingle.ReasonPointsHere},
		{name: "A records of an apex, and the TXT record", host: "customer.com", records: "@ A 11.1.0.1\n_shingle-challenge" + txt("customer.com", "acme"), want: shingle.ReasonPointsHere, proven: true},
		{name: "customer's wildcard to the shared target", records: "* CNAME edge.operator.net.", want: shingle.ReasonPointsHere},
		{name: "customer's wildcard to another tenant", records: "* CNAME " + mallory + ".edge.operator.net.", want: shingle.ReasonOtherTenant},
		{name: "customer's wildcard to the tenant", records: "* CNAME " + acme + ".edge.operator.net.", want: shingle.ReasonPointsHere, proven: true},
		{name: "customer's wildcard TXT record of another tenant", records: toEdge + "\n*" + txt(blog, "mallory"), want: shingle.ReasonPointsHere},
		{name: "wildcard domain", host: "*.customer.com", records: "* CNAME " + acme + ".edge.operator.net.", want: shingle.ReasonPointsHere, proven: true},
		{name: "wildcard domain, by TXT", host: "*.customer.com", records: "* CNAME edge.operator.net.\n_shingle-challenge" + txt("*.customer.com", "acme"), want: shingle.ReasonPointsHere, proven: true},
		{name: "wildcard domain, TXT of the host above", host: "*.customer.com", records: "* CNAME edge.operator.net.\n_shingle-challenge" + txt("customer.com", "acme"), want: shingle.ReasonPointsHere},
		{name: "TXT of another tenant", records: toEdge + "\n_shingle-challenge.blog" + txt(blog, "mallory"), want: shingle.ReasonPointsHere},
		{name: "TXT of another host of the tenant", records: toEdge + "\n_shingle-challenge.blog" + txt("shop.customer.com", "acme"), want: shingle.ReasonPointsHere},
		{name: "TXT of the parent", records: toEdge + "\n_shingle-challenge" + txt("customer.com", "acme"), want: shingle.ReasonPointsHere},
		{name: "TXT at the host itself", records: "blog A 11.1.0.1\nblog" + txt(blog, "acme"), want: shingle.ReasonPointsHere},
		{name: "TXT before the cut-over", records: "blog A 11.7.7.7\n_shingle-challenge.blog" + txt(blog, "acme"), want: shingle.ReasonPointsElsewhere, proven: true},
		{name: "TXT while DNS leads to another tenant", records: "blog CNAME " + mallory + ".edge.operator.net.\n_shingle-challenge.blog" + txt(blog, "acme"), want: shingle.ReasonOtherTenant, proven: true},
		{name: "TXT among others, cut in two", records: toEdge + "\n_shingle-challenge.blog TXT \"hello\"\n_shingle-challenge.blog TXT \"" + proofKey.Proof(blog, "acme")[:9] + `" "` + proofKey.Proof(blog, "acme")[9:] + `"`, want: shingle.ReasonPointsHere, proven: true},
		{name: "TXT behind an alias", records: toEdge + "\n_shingle-challenge.blog CNAME proof.customer.com.\nproof" + txt(blog, "acme"), want: shingle.ReasonPointsHere, proven: true},
		{name: "TXT that resolvers do not see yet", records: toEdge + "\n_shingle-challenge.blog" + txt(blog, "acme"), want: shingle.ReasonPointsHere, proven: true, world: func(w *world) {
			w.stale["_shingle-challenge.blog.customer.com."] = []dns.RR{}
		}},
		{name: "TXT, no way to the name servers", records: toEdge + "\n_shingle-challenge.blog" + txt(blog, "acme"), want: shingle.ReasonPointsHere, proven: true, config: func(c *Config) {
			c.RootServers = []string{"11.250.0.1"}
		}},
		{name: "TXT that is not asked for", records: toEdge + "\n_shingle-challenge.blog" + txt(blog, "acme"), want: shingle.ReasonPointsHere, req: func(r *Request) { r.Prove = false }},
		{name: "international name", host: "xn--bcher-kva.customer.com", records: "xn--bcher-kva A 11.1.0.1\n_shingle-challenge.xn--bcher-kva" + txt("xn--bcher-kva.customer.com", "acme"), want: shingle.ReasonPointsHere, proven: true},
		{name: "expired and registered anew", host: blog, records: "blog A 11.7.7.7", want: shingle.ReasonPointsElsewhere},
		{name: "a domain without a tenant, a tenant's name", records: "blog CNAME " + mallory + ".edge.operator.net.", want: shingle.ReasonOtherTenant, req: func(r *Request) { r.Label = "" }},
		{name: "nobody's domain yet", records: "blog CNAME " + mallory + ".edge.operator.net.", want: shingle.ReasonPointsHere, req: func(r *Request) { *r = Request{Host: blog, AnyTenant: true} }},
	} {
		for _, thorough := range []bool{false, true} {
			t.Run(x.name, func(t *testing.T) {
				t.Parallel()
				host := blog
				if x.host != "" {
					host = x.host
				}
				w := newWorld(t, zoneRecords(x.records))
				if x.world != nil {
					x.world(w)
				}
				cfg := w.config()
				if x.config != nil {
					x.config(&cfg)
				}
				checker, err := New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				req := proofRequest(host)
				req.Thorough = thorough
				if x.req != nil {
					x.req(&req)
				}
				got, err := checker.CheckDNS(t.Context(), req)
				if err != nil || got.Reason != x.want || got.Proven != x.proven {
					t.Errorf("%s, proven %t, %v: %s", got.Reason, got.Proven, err, got.Message)
				}
				if p := got.Proof; req.Prove && !x.proven && (p == nil || p.Type != "TXT" || p.FQDN != shingle.ProofName(host) || p.Value != req.Proof || !strings.HasSuffix(p.FQDN, p.Name+".customer.com")) {
					t.Errorf("to prove it: %+v", p)
				}
			})
		}
	}
}

// TestProof_HTTP has the text on the server that the host is moving away from.
func TestProof_HTTP(t *testing.T) {
	ca := newFakeCA(t)
	expired := ca.issue(t, probed, -2, -1)
	req := proofRequest(probed)
	shows := func(text string, status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != shingle.ProofPath || r.Host != probed {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(text))
		}
	}
	leads := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	old, edge := netip.MustParseAddr("11.7.7.7"), edge4
	good := shows(req.Proof+"\n", http.StatusOK)
	for _, x := range []struct {
		name   string
		addr   netip.Addr
		site   site
		proven bool
	}{
		{"on the old server", old, serveSite(t, nil, nil, good), true},
		{"behind a redirect to HTTPS, with a certificate that has expired", old, serveSite(t, &expired, good, leads("https://"+probed+shingle.ProofPath)), true},
		{"of another tenant", old, serveSite(t, nil, nil, shows(proofKey.Proof(probed, "mallory"), http.StatusOK)), false},
		{"on a page that is not found", old, serveSite(t, nil, nil, shows(req.Proof, http.StatusNotFound)), false},
		{"among other text", old, serveSite(t, nil, nil, shows("<p>"+req.Proof+"</p>", http.StatusOK)), false},
		{"behind a redirect to another host", old, serveSite(t, nil, nil, leads("http://mallory.example/x")), false},
		{"behind redirects without end", old, serveSite(t, nil, nil, leads(shingle.ProofPath)), false},
		{"behind a redirect to another port", old, serveSite(t, nil, nil, leads("http://"+probed+":8080/")), false},
		{"at an edge of ours", edge, serveSite(t, nil, nil, good), false},
		{"at nobody", old, site{}, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t, probed+". 60 A "+x.addr.String()+"\n")
			cfg := w.config()
			in := internet{x.addr: x.site}
			cfg.dialTo = func(network string, to netip.AddrPort) netip.AddrPort {
				if to.Port() == 53 {
					return w.dialTo(network, to)
				}
				return in.dialTo(network, to)
			}
			c, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := c.CheckDNS(t.Context(), req); err != nil || got.Proven != x.proven {
				t.Errorf("proven %t, %v: %s", got.Proven, err, got.Message)
			}
		})
	}
}
