package check

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

const probed = "blog.customer.com"

// fakeCA signs certificates of any quality.
type fakeCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newFakeCA(t testing.TB) *fakeCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"Test CA"}, CommonName: "T1"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeCA{cert, key}
}

func (ca *fakeCA) issue(t testing.TB, name string, from, until time.Duration) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, ca.key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: ca.key}
}

// site is a server at an address of the played Internet.
type site struct {
	https, http netip.AddrPort // none: refuses connections
}

// internet is where an HTTPS probe goes, by address.
type internet map[netip.Addr]site

func (in internet) dialTo(_ string, to netip.AddrPort) netip.AddrPort {
	s := in[to.Addr()]
	for port, at := range map[uint16]netip.AddrPort{443: s.https, 80: s.http} {
		if to.Port() == port && at.IsValid() {
			return at
		}
	}
	return netip.MustParseAddrPort("127.0.0.1:1")
}

// serveSite starts a server. A nil handler is one that is not there.
func serveSite(t testing.TB, cert *tls.Certificate, secure, plain http.Handler) (s site) {
	t.Helper()
	if secure != nil {
		srv := httptest.NewUnstartedServer(secure)
		srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		srv.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if cert == nil {
				return nil, shingle.ErrNotFound
			}
			return cert, nil
		}}
		srv.StartTLS()
		t.Cleanup(srv.Close)
		s.https = netip.MustParseAddrPort(srv.Listener.Addr().String())
	}
	if plain != nil {
		srv := httptest.NewServer(plain)
		t.Cleanup(srv.Close)
		s.http = netip.MustParseAddrPort(srv.Listener.Addr().String())
	}
	return s
}

// edgeHandler answers as an edge that is reached by scheme does.
func edgeHandler(key shingle.ProbeKey, scheme string, page http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if nonce, ok := strings.CutPrefix(r.URL.Path, shingle.ProbePath); ok {
			w.Header().Set(shingle.ProbeField, key.Answer(scheme, r.Host, nonce))
			return
		}
		if scheme == "http" {
			http.Redirect(w, r, "https://"+r.Host+r.URL.RequestURI(), http.StatusPermanentRedirect)
			return
		}
		page(w, r)
	})
}

// strictSite is an edge's, of a domain with a client CA.
func strictSite(t testing.TB, cert tls.Certificate, key shingle.ProbeKey) site {
	t.Helper()
	srv := httptest.NewUnstartedServer(edgeHandler(key, "https", okPage))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	s := serveSite(t, nil, nil, edgeHandler(key, "http", nil))
	s.https = netip.MustParseAddrPort(srv.Listener.Addr().String())
	return s
}

func okPage(http.ResponseWriter, *http.Request) {}

func TestHTTPS_Verdicts(t *testing.T) {
	ca, other := newFakeCA(t), newFakeCA(t)
	key, otherKey := shingle.ProbeKey{1}, shingle.ProbeKey{2}
	good := ca.issue(t, probed, -time.Hour, 60*24*time.Hour)
	ending := ca.issue(t, probed, -80*24*time.Hour, 5*24*time.Hour)
	expired := ca.issue(t, probed, -2*time.Hour, -time.Hour)
	wrongName := ca.issue(t, "other.example", -time.Hour, time.Hour)
	twins := ca.issue(t, probed, -time.Hour, 60*24*time.Hour)
	untrusted := other.issue(t, probed, -time.Hour, time.Hour)

	edgeWith := func(cert *tls.Certificate, page http.HandlerFunc) site {
		return serveSite(t, cert, edgeHandler(key, "https", page), edgeHandler(key, "http", nil))
	}
	stranger := http.HandlerFunc(okPage)
	replayed := shingle.NewProbeNonce()
	cached := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(shingle.ProbeField, key.Answer("https", r.Host, replayed))
	})
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	a1, a2, a6 := netip.MustParseAddr("11.1.0.1"), netip.MustParseAddr("11.1.0.2"), netip.MustParseAddr("2a0a:1::1")
	for _, x := range []struct {
		name    string
		sites   internet
		addrs   []netip.Addr
		want    shingle.Reason
		reached bool
		notes   []shingle.Reason
		says    string
	}{
		{"an edge", internet{a1: edgeWith(&good, okPage)}, []netip.Addr{a1}, shingle.ReasonHTTPSWorks, true, nil, "with a certificate until"},
		{"two edges", internet{a1: edgeWith(&good, okPage), a6: edgeWith(&good, okPage)}, []netip.Addr{a1, a6}, shingle.ReasonHTTPSWorks, true, nil, ""},
		{"nothing to try", nil, nil, shingle.ReasonNotTried, false, nil, ""},
		{"nobody there", internet{}, []netip.Addr{a1}, shingle.ReasonUnreachable, false, nil, "11.1.0.1 refuses connections"},
		{"one of two edges is down", internet{a1: edgeWith(&good, okPage)}, []netip.Addr{a1, a2}, shingle.ReasonMixedAnswers, false, nil, "11.1.0.2 refuses connections"},
		{"one of two is another server", internet{a1: edgeWith(&good, okPage), a2: serveSite(t, &untrusted, stranger, stranger)}, []netip.Addr{a1, a2}, shingle.ReasonMixedAnswers, false, nil, "At 11.1.0.2 another server answers"},
		{"an edge without a certificate", internet{a1: edgeWith(nil, okPage)}, []netip.Addr{a1}, shingle.ReasonHandshakeFailed, true, nil, "the server refused it (internal error)"},
		{"an edge with an expired certificate", internet{a1: edgeWith(&expired, okPage)}, []netip.Addr{a1}, shingle.ReasonCertificateInvalid, true, nil, "it has expired on"},
		{"an edge with a certificate for another name", internet{a1: edgeWith(&wrongName, okPage)}, []netip.Addr{a1}, shingle.ReasonCertificateInvalid, true, nil, "for another name"},
		{"an edge with a certificate of an unknown CA", internet{a1: edgeWith(&untrusted, okPage)}, []netip.Addr{a1}, shingle.ReasonCertificateInvalid, true, nil, "issuer is not trusted"},
		{"a certificate that ends soon", internet{a1: edgeWith(&ending, okPage)}, []netip.Addr{a1}, shingle.ReasonHTTPSWorks, true, []shingle.Reason{shingle.ReasonExpiresSoon}, ""},
		{"an edge that wants client certificates", internet{a1: strictSite(t, good, key)}, []netip.Addr{a1}, shingle.ReasonHTTPSWorks, true, nil, ""},
		{"the same with a certificate that has expired", internet{a1: strictSite(t, expired, key)}, []netip.Addr{a1}, shingle.ReasonCertificateInvalid, true, nil, "it has expired on"},
		{"another server", internet{a1: serveSite(t, &good, stranger, stranger)}, []netip.Addr{a1}, shingle.ReasonOtherServer, false, nil, "another server answers"},
		{"another Shingle", internet{a1: serveSite(t, &good, edgeHandler(otherKey, "https", okPage), edgeHandler(otherKey, "http", nil))}, []netip.Addr{a1}, shingle.ReasonOtherServer, false, nil, ""},
		{"a cache with an old answer", internet{a1: serveSite(t, &good, cached, cached)}, []netip.Addr{a1}, shingle.ReasonOtherServer, false, nil, ""},
		{"our edge on port 80 alone", internet{a1: serveSite(t, &good, stranger, edgeHandler(key, "http", nil))}, []netip.Addr{a1}, shingle.ReasonOtherServer, true, nil, "though our edge does over HTTP"},
		{"a proxy that comes by plain HTTP", internet{a1: serveSite(t, &good, edgeHandler(key, "http", nil), edgeHandler(key, "http", nil))}, []netip.Addr{a1}, shingle.ReasonRedirectLoop, true, nil, "Full (strict)"},
		{"a site that goes in circles", internet{a1: edgeWith(&good, redirect("/"))}, []netip.Addr{a1}, shingle.ReasonRedirectLoop, true, nil, "redirects in a circle at /"},
		{"a site that leads on", internet{a1: edgeWith(&good, redirect("https://www.example.com/"))}, []netip.Addr{a1}, shingle.ReasonHTTPSWorks, true, nil, ""},
		{"a name and its twin that lead to each other", internet{a1: edgeWith(&twins, func(w http.ResponseWriter, r *http.Request) {
			to := "www." + probed
			if r.Host == to {
				to = probed
			}
			http.Redirect(w, r, "https://"+to+r.URL.RequestURI(), http.StatusPermanentRedirect)
		})}, []netip.Addr{a1}, shingle.ReasonRedirectLoop, true, nil, "leads to www." + probed + ", and that leads back"},
		{"a name that leads to its twin", internet{a1: edgeWith(&twins, func(w http.ResponseWriter, r *http.Request) {
			if r.Host == probed {
				http.Redirect(w, r, "https://www."+probed+"/", http.StatusPermanentRedirect)
			}
		})}, []netip.Addr{a1}, shingle.ReasonHTTPSWorks, true, nil, ""},
		{"one of two edges does not lead to HTTPS", internet{a1: edgeWith(&good, okPage), a2: serveSite(t, &good, edgeHandler(key, "https", okPage), nil)}, []netip.Addr{a1, a2}, shingle.ReasonHTTPSWorks, true, []shingle.Reason{shingle.ReasonNoHTTPRedirect}, ""},
		{"a product that fails", internet{a1: edgeWith(&good, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })}, []netip.Addr{a1}, shingle.ReasonHTTPSWorks, true, []shingle.Reason{shingle.ReasonOriginFailing}, ""},
		{"no redirect from plain HTTP", internet{a1: serveSite(t, &good, edgeHandler(key, "https", okPage), stranger)}, []netip.Addr{a1}, shingle.ReasonHTTPSWorks, true, []shingle.Reason{shingle.ReasonNoHTTPRedirect}, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			c := probeChecker(t, x.sites)
			c.cfg.ProbeKey, c.cfg.Roots = key, x509.NewCertPool()
			c.cfg.Roots.AddCert(ca.cert)
			got := c.probeHTTPS(t.Context(), probed, x.addrs)
			if got.Reason != x.want || got.Reached != x.reached || !strings.Contains(got.Message, x.says) {
				t.Errorf("%s, reached %t: %s", got.Reason, got.Reached, got.Message)
			}
			var notes []shingle.Reason
			for _, n := range got.Notes {
				notes = append(notes, n.Reason)
			}
			if len(notes) != len(x.notes) || len(notes) > 0 && notes[0] != x.notes[0] {
				t.Errorf("notes %v", got.Notes)
			}
			if len(got.Attempts) != len(x.addrs) {
				t.Errorf("%d attempts", len(got.Attempts))
			}
		})
	}
}

func probeChecker(t testing.TB, in internet) *Checker {
	t.Helper()
	c, err := New(Config{Targets: []string{"edge.operator.net"}, Resolvers: []string{"11.9.9.9"}, dialTo: in.dialTo})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestHTTPS_NoPortScanner: a customer's DNS must not have the probe connect to
// what the Internet does not reach.
func TestHTTPS_NoPortScanner(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	met := make(chan struct{}, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			met <- struct{}{}
			conn.Close()
		}
	}()
	listener := netip.MustParseAddrPort(l.Addr().String())
	c := probeChecker(t, nil)
	c.cfg.dialTo = func(string, netip.AddrPort) netip.AddrPort { return listener }
	for _, s := range []string{
		"127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1",
		"::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "::ffff:127.0.0.1", "::7f00:1", "64:ff9b::a00:1", "2002:a00:1::", "2001:0:a00:1::", "ff02::1", "fec0::1",
	} {
		addr := netip.MustParseAddr(s)
		got := c.probeHTTPS(t.Context(), probed, []netip.Addr{addr})
		if got.Reason != shingle.ReasonAddressRefused || got.Reached {
			t.Errorf("%s: %s", s, got.Reason)
		}
		if r := c.walker.askServer(t.Context(), &zone{name: "x."}, nameserver{addrs: []netip.Addr{addr}, port: 53}, question{name: "a.x."}, 0); r.fault != shingle.ReasonLameDelegation {
			t.Errorf("name server %s: %s", s, r.fault)
		}
	}
	if len(met) > 0 {
		t.Errorf("%d connections", len(met))
	}
	c.cfg.Private = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if got := c.probeHTTPS(t.Context(), probed, []netip.Addr{netip.MustParseAddr("127.0.0.1")}); got.Reason == shingle.ReasonAddressRefused {
		t.Errorf("allowed, and yet %s", got.Reason)
	}
	c.cfg.Private, c.cfg.Addresses = nil, []netip.Addr{netip.MustParseAddr("10.1.2.3")}
	if got := c.probeHTTPS(t.Context(), probed, []netip.Addr{netip.MustParseAddr("10.1.2.3")}); got.Reason == shingle.ReasonAddressRefused {
		t.Errorf("an edge's address, and yet %s", got.Reason)
	}
}

// TestCheck_Reached: whoever passes requests on to our edge points here, whatever
// DNS seems to say; what does not is what DNS says.
func TestCheck_Reached(t *testing.T) {
	ca, key := newFakeCA(t), shingle.ProbeKey{1}
	cert := ca.issue(t, probed, -time.Hour, 60*24*time.Hour)
	edge := serveSite(t, &cert, edgeHandler(key, "https", okPage), edgeHandler(key, "http", nil))
	stranger := serveSite(t, &cert, http.HandlerFunc(okPage), http.HandlerFunc(okPage))
	cdn4, other4 := netip.MustParseAddr("104.16.1.1"), netip.MustParseAddr("11.7.7.7")
	for _, x := range []struct {
		name      string
		addr      netip.Addr
		site      site
		targets   []string
		want      shingle.Reason
		ready     bool
		certified bool
	}{
		{"a CDN that passes on", cdn4, edge, []string{"edge.operator.net"}, shingle.ReasonProxied, true, true},
		{"a CDN that does not", cdn4, stranger, []string{"edge.operator.net"}, shingle.ReasonCDNInFront, false, false},
		{"another proxy that passes on", other4, edge, []string{"edge.operator.net"}, shingle.ReasonProxied, true, true},
		{"nothing to compare with, our edge", other4, edge, nil, shingle.ReasonPointsHere, true, true},
		{"nothing to compare with, another server", other4, stranger, nil, shingle.ReasonUnconfigured, true, false},
		{"nobody there", other4, site{}, []string{"edge.operator.net"}, shingle.ReasonPointsElsewhere, false, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t, "blog.customer.com. 60 A "+x.addr.String()+"\n")
			in := internet{x.addr: x.site}
			cfg := w.config()
			cfg.Targets, cfg.ProbeKey, cfg.Roots = x.targets, key, x509.NewCertPool()
			cfg.Roots.AddCert(ca.cert)
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
			r, err := c.Check(t.Context(), Request{Host: probed})
			if err != nil {
				t.Fatal(err)
			}
			if r.DNS.Reason != x.want || (shingle.Preflight(r) == nil) != x.ready || r.CertifiedUntil.IsZero() == x.certified {
				t.Errorf("%s, %v, certified until %s: %s", r.DNS.Reason, shingle.Preflight(r), r.CertifiedUntil, r.DNS.Message)
			}
			if x.ready && len(r.DNS.Set)+len(r.DNS.Remove) > 0 {
				t.Errorf("set %v, remove %v", r.DNS.Set, r.DNS.Remove)
			}
		})
	}
}
