package check

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
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

// handshake connects and shakes hands by the host's name. The certificate is
// verified apart, so that it can be told what is wrong with it.
func (p *httpsProbe) handshake(ctx context.Context, addr netip.Addr) (*tls.Conn, error) {
	raw, err := p.connect(ctx, addr, p.cfg.HTTPSPort)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, &tls.Config{ServerName: p.host, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, &handshakeError{err}
	}
	return conn, nil
}

// wantsCertificate reports whether a server refuses clients without a certificate,
// which in TLS 1.3 it says after the client's handshake (RFC 8446 section 6.2). It is
// not sent anything: it might close the connection before its alert is read.
func (p *httpsProbe) wantsCertificate(ctx context.Context, addr netip.Addr) bool {
	conn, err := p.handshake(ctx, addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(alertTime))
	_, err = conn.Read(make([]byte, 1))
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error" && op.Err.Error() == "tls: certificate required"
}

// connect dials and sets the deadline for all that is done on the connection.
func (p *httpsProbe) connect(ctx context.Context, addr netip.Addr, port int) (net.Conn, error) {
	to := netip.AddrPortFrom(addr, uint16(port))
	if p.cfg.dialTo != nil {
		to = p.cfg.dialTo("tcp", to)
	}
	conn, err := (&net.Dialer{Timeout: connectTime}).DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(answerTime)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	_ = conn.SetDeadline(deadline)
	return conn, nil
}

// handshakeError is a connection on which TLS failed.
type handshakeError struct{ err error }

// Error implements error.
func (e *handshakeError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *handshakeError) Unwrap() error { return e.err }

// connectFinding says why there is no TLS connection.
func connectFinding(addr netip.Addr, err error) shingle.Finding {
	shake, isShake := errors.AsType[*handshakeError](err)
	ne, _ := errors.AsType[net.Error](err)
	switch {
	case isShake:
		why := "the server closed the connection"
		if op, ok := errors.AsType[*net.OpError](shake.err); ok && op.Op == "remote error" { // an alert
			why = "the server refused it (" + strings.TrimPrefix(op.Err.Error(), "tls: ") + ")"
		} else if ne != nil && ne.Timeout() {
			why = "the server did not answer in time"
		}
		return found(shingle.ReasonHandshakeFailed, "At %s no TLS connection could be made: %s.", addr, why)
	case errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.EADDRNOTAVAIL):
		return found(shingle.ReasonNotTried, "%s cannot be reached from where the check runs.", addr)
	case errors.Is(err, syscall.ECONNREFUSED):
		return found(shingle.ReasonUnreachable, "%s refuses connections.", addr)
	}
	return found(shingle.ReasonUnreachable, "%s does not answer.", addr)
}

// reachedPlainly asks over plain HTTP, which works before there is a certificate.
func (p *httpsProbe) reachedPlainly(ctx context.Context, addr netip.Addr) bool {
	nonce := shingle.NewProbeNonce()
	h, err := p.getPlain(ctx, addr, shingle.ProbePath+nonce)
	return err == nil && p.cfg.ProbeKey.Check(h.header.Get(shingle.ProbeField), p.host, nonce) != ""
}

func (p *httpsProbe) getPlain(ctx context.Context, addr netip.Addr, path string) (head, error) {
	conn, err := p.connect(ctx, addr, p.cfg.HTTPPort)
	if err != nil {
		return head{}, err
	}
	defer conn.Close()
	return p.get(ctx, conn, "http", path)
}

// head is the head of an answer. Bodies are left unread: the connection ends.
type head struct {
	status int
	header http.Header
}

// get sends one request on a connection and returns the head of the answer.
func (p *httpsProbe) get(ctx context.Context, conn net.Conn, scheme, target string) (head, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	req := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nConnection: close\r\n\r\n", target, p.authority(scheme), userAgent)
	if _, err := io.WriteString(conn, req); err != nil {
		return head{}, err
	}
	in := textproto.NewReader(bufio.NewReader(io.LimitReader(conn, maxHead)))
	for range maxInterim {
		line, err := in.ReadLine()
		if err != nil {
			return head{}, err
		}
		_, rest, _ := strings.Cut(line, " ")
		status, err := strconv.Atoi(rest[:min(len(rest), 3)])
		if err != nil || !strings.HasPrefix(line, "HTTP/1.") || status < 100 {
			return head{}, errors.New("not HTTP")
		}
		fields, err := in.ReadMIMEHeader()
		if err != nil {
			return head{}, err
		}
		if status >= 200 {
			return head{status, http.Header(fields)}, nil
		}
	}
	return head{}, errors.New("no final answer")
}

const maxInterim = 5 // answers before the final one (RFC 9110 section 15.2)

func (p *httpsProbe) authority(scheme string) string {
	switch {
	case scheme == "https" && p.cfg.HTTPSPort != 443:
		return net.JoinHostPort(p.host, strconv.Itoa(p.cfg.HTTPSPort))
	case scheme == "http" && p.cfg.HTTPPort != 80:
		return net.JoinHostPort(p.host, strconv.Itoa(p.cfg.HTTPPort))
	}
	return p.host
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

// visitPlainly looks whether plain HTTP leads to HTTPS, at every address: browsers
// take any.
func (p *httpsProbe) visitPlainly(ctx context.Context, r *shingle.HTTPSResult, tried []attempt) {
	leads := make([]bool, len(tried))
	var all sync.WaitGroup
	for i := range tried {
		all.Go(func() { leads[i] = p.redirects(ctx, tried[i].Address) })
	}
	all.Wait()
	var not []netip.Addr
	for i := range tried {
		if !leads[i] {
			not = append(not, tried[i].Address)
		}
	}
	if r.Redirects = len(not) == 0; !r.Redirects {
		r.Notes = append(r.Notes, found(shingle.ReasonNoHTTPRedirect, "Plain HTTP does not lead to HTTPS at %s: visitors who type the name alone may not get through.", joinAddresses(not)))
	}
}

func (p *httpsProbe) redirects(ctx context.Context, addr netip.Addr) bool {
	h, err := p.getPlain(ctx, addr, "/")
	if err != nil {
		return false
	}
	to, err := url.Parse(h.header.Get("Location"))
	return err == nil && h.status/100 == 3 && to.Scheme == "https" && strings.EqualFold(to.Hostname(), p.host)
}

// visit looks at the first page as a visitor does, with the redirects that stay on
// the host.
func (p *httpsProbe) visit(ctx context.Context, r *shingle.HTTPSResult, addr netip.Addr) {
	path, seen := "/", map[string]bool{}
	for range maxRedirect {
		seen[path] = true
		h, err := p.getSecure(ctx, addr, path)
		if err != nil {
			return
		}
		r.Status = h.status
		next, stays := p.follows(path, h)
		if !stays {
			p.visitTwin(ctx, r, addr, h)
			break
		}
		if path = next; seen[path] {
			r.Finding = found(shingle.ReasonRedirectLoop, "The site redirects in a circle at %s.", printable(path))
			return
		}
	}
	if r.Status == http.StatusBadGateway || r.Status == http.StatusServiceUnavailable || r.Status == http.StatusGatewayTimeout {
		r.Notes = append(r.Notes, found(shingle.ReasonOriginFailing, "The domain works, but the product behind it answers with %d.", r.Status))
	}
}

// visitTwin follows a redirect between a name and the same with www in front of it:
// two settings of which each sends visitors to the other are a common mistake. Both
// are asked for at the same address; where the twin is elsewhere nothing is said.
func (p *httpsProbe) visitTwin(ctx context.Context, r *shingle.HTTPSResult, addr netip.Addr, h head) {
	to, err := url.Parse(h.header.Get("Location"))
	if err != nil || h.status/100 != 3 || to.Scheme != "https" || to.Hostname() != "www."+p.host && p.host != "www."+to.Hostname() {
		return
	}
	twin := &httpsProbe{Checker: p.Checker, host: to.Hostname()}
	back, err := twin.getSecure(ctx, addr, to.RequestURI())
	if err != nil || back.status/100 != 3 {
		return
	}
	if from, err := url.Parse(back.header.Get("Location")); err == nil && from.Hostname() == p.host {
		r.Finding = found(shingle.ReasonRedirectLoop, "%s leads to %s, and that leads back: visitors go in circles. Have one of them stay.", p.host, twin.host)
	}
}

func (p *httpsProbe) getSecure(ctx context.Context, addr netip.Addr, path string) (head, error) {
	conn, err := p.handshake(ctx, addr)
	if err != nil {
		return head{}, err
	}
	defer conn.Close()
	return p.get(ctx, conn, "https", path)
}

// follows returns where a redirect leads, when that is on the same host by HTTPS.
func (p *httpsProbe) follows(path string, h head) (next string, stays bool) {
	if h.status/100 != 3 {
		return "", false
	}
	from := &url.URL{Scheme: "https", Host: p.authority("https")}
	at, err := from.Parse(path)
	if err != nil {
		return "", false
	}
	to, err := at.Parse(h.header.Get("Location"))
	if err != nil || to.Scheme != "https" || to.Host != from.Host || len(to.RequestURI()) > maxPath {
		return "", false
	}
	return to.RequestURI(), true
}

const maxPath = 2048
