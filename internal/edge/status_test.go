package edge

import (
	"context"
	"crypto/tls"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// TestEdge_Port80TellsWhyThereIsNoCertificate visits a known domain in every
// state of its certificate.
func TestEdge_Port80TellsWhyThereIsNoCertificate(t *testing.T) {
	te := startEdge(t, "http://127.0.0.1:1")
	c := te.client(t, 1)
	soon := time.Now().Add(20 * time.Minute)
	for name, x := range map[string]struct {
		is      shingle.Readiness
		retry   string
		refresh bool
		says    []string
	}{
		"waiting":          {shingle.Readiness{State: shingle.CertificateWaiting}, "5", true, []string{"being set up", "its turn", "less than a minute"}},
		"waiting for long": {shingle.Readiness{State: shingle.CertificateWaiting, Next: soon}, "1199", false, []string{"about 20 minutes"}},
		"issuing":          {shingle.Readiness{State: shingle.CertificateFailing, Issuing: true, Next: soon}, "5", true, []string{"right now"}},
		"failing": {shingle.Readiness{State: shingle.CertificateFailing, Who: shingle.WhoCustomer, Problem: "unauthorized", Next: soon}, "1199", false,
			[]string{"found something else", "If the domain is yours", "20 minutes"}},
		"failing at the CA": {shingle.Readiness{State: shingle.CertificateFailing, Who: shingle.WhoCA, Problem: "serverInternal"}, "300", false, []string{"out of order"}},
		"stopped":           {shingle.Readiness{State: shingle.CertificateStopped, Who: shingle.WhoCustomer, Problem: "caa"}, "300", false, []string{"CAA record", "not tried again"}},
		"not proven":        {shingle.Readiness{State: shingle.CertificateStopped, Who: shingle.WhoCustomer, Reason: shingle.ReasonProofNeeded}, "300", false, []string{"prove it by the DNS record"}},
		"CAA, not asked":    {shingle.Readiness{State: shingle.CertificateStopped, Who: shingle.WhoCustomer, Reason: shingle.ReasonCAAForbids}, "300", false, []string{"CAA record"}},
		"stopped by us":     {shingle.Readiness{State: shingle.CertificateStopped, Who: shingle.WhoOperator}, "300", false, []string{"operator of this service"}},
	} {
		t.Run(name, func(t *testing.T) {
			te.certs.readiness.Store(&x.is)
			resp, body := get(t, c, "http://"+testHost+"/a?b")
			if resp.StatusCode != 503 || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" {
				t.Fatalf("got %s, %s", resp.Status, resp.Header)
			}
			if got := resp.Header.Get("Retry-After"); got != x.retry {
				t.Errorf("Retry-After %q, want %s", got, x.retry)
			}
			if got := strings.Contains(body, `http-equiv="refresh"`); got != x.refresh {
				t.Errorf("refreshes: %t", got)
			}
			for _, s := range append(x.says, testHost) {
				if !strings.Contains(body, s) {
					t.Errorf("%q is not in the page:\n%s", s, body)
				}
			}
			if found := regexp.MustCompile(`(?i)(src|href|url\(|https?:|@import)`).FindString(body); found != "" {
				t.Errorf("the page refers to something: %q", found)
			}
			// The rest of port 80 is as ever.
			for url, want := range map[string]int{
				"http://" + testHost + "/.well-known/acme-challenge/known": 200, "http://unknown.customer.test/": 404, "http://any/health": 200,
			} {
				if resp, _ := get(t, c, url); resp.StatusCode != want {
					t.Errorf("%s: %s", url, resp.Status)
				}
			}
		})
	}
	te.certs.readiness.Store(nil)
	if resp, _ := get(t, c, "http://"+testHost+"/"); resp.StatusCode != 308 {
		t.Errorf("with a certificate: %s", resp.Status)
	}
}

// waitingCerts never has a certificate in time.
type waitingCerts struct{ *testCerts }

func (c waitingCerts) Certificate(ctx context.Context, _ string) (*tls.Certificate, error) {
	end, _ := ctx.Deadline()
	select {
	case <-time.After(time.Until(end) / 2):
	case <-ctx.Done():
	}
	return nil, shingle.ErrUnavailable
}

// TestEdge_NoCertificateInTimeIsAnAlert looks at what a client gets, byte for
// byte: one record with a fatal internal_error, and then the end.
func TestEdge_NoCertificateInTimeIsAnAlert(t *testing.T) {
	te := startEdge(t, "http://127.0.0.1:1", func(c *Config) {
		c.Certificates, c.HandshakeTimeout = waitingCerts{c.Certificates.(*testCerts)}, 2*time.Second
	})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c, err := net.Dial("tcp", te.https)
		if err != nil {
			t.Fatal(err)
		}
		seen := &recordingConn{Conn: c}
		err = tls.Client(seen, &tls.Config{ServerName: testHost, MaxVersion: version, InsecureSkipVerify: true}).Handshake()
		_ = c.Close()
		if err == nil || !strings.HasSuffix(err.Error(), "tls: internal error") {
			t.Errorf("TLS %x: got %v", version, err)
		}
		if got := string(seen.read); len(got) != 7 || got[0] != 21 || got[3:] != "\x00\x02\x02\x50" {
			t.Errorf("TLS %x: read % x", version, got)
		}
	}
}

// recordingConn keeps what was read.
type recordingConn struct {
	net.Conn
	read []byte
}

func (c *recordingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read = append(c.read, p[:n]...)
	return n, err
}
