package edge

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// exchange is one request on its way to an origin and the answer on its way
// back. The request's body is sent by a goroutine of its own, so that an origin
// may answer before it has read everything.
type exchange struct {
	pool    *origins
	cfg     *Config
	tunnels *tunnelSet
	traffic *traffic
	w       ResponseWriter
	r       *Request
	errand
	conn   *originConn
	upload *upload // nil without a body
	// unwatch ends the watch for the client's leaving, which interrupts conn. It
	// reports false when that has happened, or when it was called before.
	unwatch func() bool
	head    responseHead
	began   bool // a final response head was sent to the client
}

// errClientGone is a client that stalled or left: there is nobody to answer.
var errClientGone = errors.New("client gone")

// errand is what an origin is asked for a visitor, besides the request itself.
type errand struct {
	to        *target
	host      string // that the visitor asked for, as normalised
	target    string // of the request
	fields    []byte // further header lines
	errorPage []byte // HTML for when the origin does not answer; nil: the edge's own words
}

// proxy sends r to an origin and streams the answer back.
func (e *Edge) proxy(ctx context.Context, w ResponseWriter, r *Request, to errand) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	x := exchange{pool: e.origins, cfg: &e.cfg, tunnels: &e.tunnels, traffic: &e.traffic, w: w, r: r, errand: to}
	defer e.underWay.add(&x, end)()
	if e.changes.Load() != r.table && !e.stillAdmits(to.host, r) { // what changes from now on ends x
		end(errRevoked)
	}
	err := x.run(ctx)
	if x.began {
		r.answered = byOrigin
	}
	switch {
	case err == nil:
	case errors.Is(context.Cause(ctx), errRevoked):
		e.origins.errors.revoked.Add(1)
		e.revoke(&x)
	case x.began || ctx.Err() != nil || errors.Is(err, errClientGone):
		e.origins.errors.left.Add(1)
		w.Abort()
	default:
		e.origins.errors.count(err)
		r.answered = originFail
		e.log.Warn("origin failed", "host", to.host, "origin", to.to.authority, "error", err)
		writeFailure(w, r, originErrorPage(err), to.errorPage)
	}
}

// revoke ends x as a request that comes now would end.
func (e *Edge) revoke(x *exchange) {
	if x.began {
		x.w.Abort()
		return
	}
	x.w.CloseAfter()
	writePage(x.w, x.r, pageMisdirected)
}

func (x *exchange) run(ctx context.Context) error {
	if err := x.send(ctx); err != nil {
		return err
	}
	conn := x.conn
	x.unwatch = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(aLongTimeAgo) })
	reusable, err := x.receive(ctx)
	if !x.unwatch() || err != nil {
		reusable = false
		if x.conn != nil {
			_ = conn.Close() // an upload that waits for the origin ends
		}
	}
	if !x.endUpload() { // in any case: it reads what is the request's, which ends with this
		reusable = false
	}
	if x.conn == nil { // a tunnel has taken it, and has ended
		return err
	}
	if !reusable {
		x.pool.discard(conn)
		return err
	}
	x.pool.put(conn, time.Duration(x.head.keepAlive())*time.Second)
	return nil
}

// send gets a connection and writes the request's head. It tries again only
// while no byte can have reached an origin: a connection that was idle may have
// been closed under the first write.
func (x *exchange) send(ctx context.Context) error {
	for {
		conn, err := x.pool.get(ctx, x.to.origin)
		if err != nil {
			return err
		}
		conn.out = appendRequestHead(conn.out[:0], x.r, &x.errand)
		_ = conn.SetDeadline(time.Now().Add(x.cfg.OriginTimeout))
		n, err := conn.Write(conn.out)
		if err != nil {
			x.pool.discard(conn)
			if conn.reused && n == 0 && ctx.Err() == nil {
				continue
			}
			return err
		}
		x.conn = conn
		if x.r.Body != nil && !x.r.ExpectContinue {
			x.startUpload()
		}
		return nil
	}
}

// receive reads the response and passes it on. It reports whether the
// connection is at the end of a message and may carry another.
func (x *exchange) receive(ctx context.Context) (reusable bool, err error) {
	if err := x.readHead(); err != nil {
		return false, err
	}
	if x.head.status == 101 {
		return false, x.switchProtocols(ctx)
	}
	b := newBody(&x.conn.in, &x.head, x.r.Method)
	x.began = true
	if err := x.w.WriteHead(x.head.status, responseFields(x.head.header)); err != nil {
		return false, errClientGone
	}
	if err := x.copyBody(&b); err != nil {
		return false, err
	}
	if len(b.trailer) > 0 {
		x.w.WriteTrailer(b.trailer)
	}
	return !x.head.close && !b.toClose, nil
}

// readHead reads up to the final response head. Interim ones are passed on.
func (x *exchange) readHead() error {
	if x.r.ExpectContinue && x.r.Body != nil {
		if err := x.awaitContinue(); err != nil {
			return err
		}
	}
	for informed := 0; ; informed++ {
		s, err := x.conn.in.head()
		if err != nil {
			return x.cause(err)
		}
		if x.head, err = parseResponseHead(s, x.conn.fields); err != nil {
			return err
		}
		x.conn.fields = x.head.header
		switch {
		case x.head.status >= 200:
			return nil
		case x.head.status == 101:
			if x.r.Upgrade == "" {
				return errBadFraming
			}
			return nil
		case informed == maxInterim:
			return errBadFraming
		case x.head.status == 100:
			if x.r.Body != nil && x.upload == nil {
				x.startUpload()
			}
		default:
			if err := x.w.Inform(x.head.status, responseFields(x.head.header)); err != nil {
				return errClientGone
			}
		}
	}
}

// awaitContinue waits for the first sign of the origin, but not for ever: an
// origin that knows nothing of Expect waits for the body (RFC 9110 section
// 10.1.1).
func (x *exchange) awaitContinue() error {
	_ = x.conn.SetReadDeadline(time.Now().Add(continueTimeout))
	err := x.conn.in.fill(maxHeadSize)
	_ = x.conn.SetReadDeadline(time.Now().Add(x.cfg.OriginTimeout))
	if isTimeout(err) {
		x.startUpload()
		return nil
	}
	return unexpected(err)
}

const continueTimeout = time.Second

// maxInterim bounds the interim responses before a final one.
const maxInterim = 16

// cause prefers the reason for which the upload ended the exchange, if it did.
func (x *exchange) cause(err error) error {
	if x.upload != nil {
		if up := x.upload.failure(); up != nil {
			return up
		}
	}
	return unexpected(err)
}

// copyBody streams the response's body. Whatever has arrived is flushed before
// it waits for more.
func (x *exchange) copyBody(b *body) error {
	if b.done {
		return nil
	}
	buf := copyBuffers.Get().(*[copyBufferSize]byte)
	defer copyBuffers.Put(buf)
	for {
		if err := x.extend(); err != nil {
			return err
		}
		n, err := b.Read(buf[:])
		if n > 0 {
			if _, err := x.w.Write(buf[:n]); err != nil {
				return errClientGone
			}
		}
		if b.done && (err == nil || errors.Is(err, io.EOF)) {
			return nil
		}
		if err != nil {
			return x.cause(err)
		}
		if b.waiting() {
			if err := x.w.Flush(); err != nil {
				return errClientGone
			}
		}
	}
}

// extend gives the origin the stall time-out for its next bytes, unless they
// are here already.
func (x *exchange) extend() error {
	if x.conn.in.r < x.conn.in.w {
		return nil
	}
	return x.conn.SetReadDeadline(time.Now().Add(x.cfg.StallTimeout))
}

const copyBufferSize = 32 << 10

var copyBuffers = sync.Pool{New: func() any { return new([copyBufferSize]byte) }}

// aLongTimeAgo is a deadline that makes every read and write return at once.
var aLongTimeAgo = time.Unix(1, 0)

// isTimeout tells a deadline that passed from other failures.
func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}

// writeFailure answers with p, or with the domain's own page in its place, if any.
func writeFailure(w ResponseWriter, r *Request, p page, html []byte) {
	if html == nil {
		writePage(w, r, p)
		return
	}
	writeBody(w, r, p.status, htmlType, html)
}

// originErrorPage chooses the page for an exchange that failed before its
// answer began.
func originErrorPage(err error) page {
	switch {
	case errors.Is(err, shingle.ErrLimited):
		return pageBusy
	case isTimeout(err):
		return pageTimeout
	default:
		return pageBadGateway
	}
}
