package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Bounds of the HTTPS probe.
const (
	maxProbed   = 6 // addresses of a host
	maxRedirect = 5
	maxHead     = 64 << 10 // bytes of an answer that are read
	connectTime = 3 * time.Second
	answerTime  = 4 * time.Second
	alertTime   = time.Second // for a server that is silent otherwise
	userAgent   = "shingle-check"
)

// httpsProbe is one look at a host over HTTPS.
type httpsProbe struct {
	*Checker
	host string
}

// attempt is what one address answered.
type attempt struct {
	shingle.HTTPSAttempt
	reached bool // our edge has seen the request, by whatever way
	leaf    *x509.Certificate
}

// probeHTTPS asks every address of a host, over connections of its own, for what
// only an edge of this installation can answer.
func (c *Checker) probeHTTPS(ctx context.Context, host string, addrs []netip.Addr) (r shingle.HTTPSResult) {
	p := &httpsProbe{Checker: c, host: host}
	if len(addrs) == 0 {
		r.Finding = found(shingle.ReasonNotTried, "There is no address to try.")
		return r
	}
	tried := make([]attempt, min(len(addrs), maxProbed))
	var all sync.WaitGroup
	for i := range tried {
		all.Go(func() { tried[i] = p.try(ctx, addrs[i]) })
	}
	all.Wait()
	for _, a := range tried {
		r.Attempts = append(r.Attempts, a.HTTPSAttempt)
	}
	p.summarise(ctx, &r, tried)
	return r
}

func found(r shingle.Reason, format string, args ...any) shingle.Finding {
	return shingle.Finding{Reason: r, Message: fmt.Sprintf(format, args...)}
}

// try asks one address.
func (p *httpsProbe) try(ctx context.Context, addr netip.Addr) (a attempt) {
	a.Address = addr
	if !p.cfg.mayConnect(addr) {
		a.Finding = found(shingle.ReasonAddressRefused, "%s is not an address of the Internet, and was not connected to.", addr)
		return a
	}
	conn, err := p.handshake(ctx, addr)
	if err != nil {
		a.Finding = connectFinding(addr, err)
		a.reached = a.Reason == shingle.ReasonHandshakeFailed && p.reachedPlainly(ctx, addr)
		return a
	}
	defer conn.Close()
	a.leaf = conn.ConnectionState().PeerCertificates[0]
	nonce := shingle.NewProbeNonce()
	scheme := ""
	if h, err := p.get(ctx, conn, "https", shingle.ProbePath+nonce); err == nil {
		scheme = p.cfg.ProbeKey.Check(h.header.Get(shingle.ProbeField), p.host, nonce)
	}
	a.reached, a.Plain = scheme != "", scheme == "http"
	invalid := p.verify(conn)
	switch {
	case scheme == "" && !p.reachedPlainly(ctx, addr):
		a.Finding = found(shingle.ReasonOtherServer, "At %s another server answers%s.", addr, certificateText(a.leaf, invalid))
	case invalid != nil:
		a.reached = true
		a.Finding = found(shingle.ReasonCertificateInvalid, "At %s the certificate is not accepted: %s.", addr, invalid)
	case a.Plain:
		a.Finding = found(shingle.ReasonRedirectLoop, "The proxy at %s reaches us over plain HTTP, which we redirect to HTTPS: visitors go in circles. Set it to use HTTPS to us (at Cloudflare: SSL/TLS mode \"Full (strict)\").", addr)
	case scheme == "" && p.wantsCertificate(ctx, addr):
		a.reached = true
		a.Finding = found(shingle.ReasonHTTPSWorks, "%s is our edge, and asks visitors for a certificate.", addr)
	case scheme == "":
		a.reached = true
		a.Finding = found(shingle.ReasonOtherServer, "At %s another server answers over HTTPS, though our edge does over HTTP.", addr)
	default:
		a.Finding = found(shingle.ReasonHTTPSWorks, "%s is our edge.", addr)
	}
	return a
}

func certificateText(leaf *x509.Certificate, invalid error) string {
	if invalid != nil {
		return ", with a certificate that is not accepted: " + invalid.Error()
	}
	if len(leaf.Issuer.Organization) > 0 {
		return ", with a certificate of " + printable(leaf.Issuer.Organization[0])
	}
	return ""
}

// reachedPlainly asks over plain HTTP, which works before there is a certificate.
func (p *httpsProbe) reachedPlainly(ctx context.Context, addr netip.Addr) bool {
	nonce := shingle.NewProbeNonce()
	h, err := p.getPlain(ctx, addr, shingle.ProbePath+nonce)
	return err == nil && p.cfg.ProbeKey.Check(h.header.Get(shingle.ProbeField), p.host, nonce) != ""
}

// verify returns why a visitor would not accept the certificate, in few words.
func (p *httpsProbe) verify(conn *tls.Conn) error {
	certs, now := conn.ConnectionState().PeerCertificates, time.Now()
	rest := x509.NewCertPool()
	for _, c := range certs[1:] {
		rest.AddCert(c)
	}
	_, err := certs[0].Verify(x509.VerifyOptions{DNSName: p.host, Roots: p.cfg.Roots, Intermediates: rest, CurrentTime: now})
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return errors.New("it is for another name")
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return errors.New("its issuer is not trusted")
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		if now.Before(certs[0].NotBefore) {
			return errors.New("it is not valid yet")
		}
		return fmt.Errorf("it has expired on %s", certs[0].NotAfter.Format(time.DateOnly))
	}
	return errors.New("it does not verify")
}

// summarise makes one verdict of all attempts.
func (p *httpsProbe) summarise(ctx context.Context, r *shingle.HTTPSResult, tried []attempt) {
	counts := map[shingle.Reason]int{}
	r.Reached = true
	judged := slices.DeleteFunc(slices.Clone(tried), func(a attempt) bool { return a.Reason == shingle.ReasonNotTried })
	for _, a := range judged {
		counts[a.Reason]++
		r.Reached = r.Reached && a.reached
		if a.leaf != nil && (r.NotAfter.IsZero() || a.leaf.NotAfter.Before(r.NotAfter)) {
			r.Issuer, r.NotBefore, r.NotAfter = issuerOf(a.leaf), a.leaf.NotBefore, a.leaf.NotAfter
		}
	}
	switch works := counts[shingle.ReasonHTTPSWorks]; {
	case len(judged) == 0:
		r.Reached = false
		r.Finding = tried[0].Finding
	case works == len(judged):
		r.Finding = found(shingle.ReasonHTTPSWorks, "HTTPS works, with a certificate until %s.", r.NotAfter.Format(time.DateOnly))
		p.noteExpiry(r)
		p.visitPlainly(ctx, r, judged)
		p.visit(ctx, r, judged[0].Address)
	case works > 0:
		var parts []string
		for _, a := range judged {
			parts = append(parts, strings.TrimSuffix(a.Message, "."))
		}
		r.Finding = found(shingle.ReasonMixedAnswers, "The addresses do not all work: %s.", strings.Join(parts, "; "))
	default:
		r.Finding = judged[0].Finding
	}
}

// noteExpiry warns when less than a fifth of the certificate's life is left: its
// renewal is due when a third is.
func (p *httpsProbe) noteExpiry(r *shingle.HTTPSResult) {
	if left := time.Until(r.NotAfter); left < r.NotAfter.Sub(r.NotBefore)/5 {
		r.Notes = append(r.Notes, found(shingle.ReasonExpiresSoon, "The certificate ends in %s and should have been renewed by now.", roughly(left)))
	}
}

func issuerOf(leaf *x509.Certificate) string {
	var parts []string
	for _, s := range append(slices.Clone(leaf.Issuer.Organization), leaf.Issuer.CommonName) {
		if s = printable(s); s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, " ")
}
