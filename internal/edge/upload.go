package edge

import (
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"time"
)

// upload sends a request's body to the origin.
type upload struct {
	done   chan struct{}
	failed atomic.Pointer[error] // why the exchange cannot go on; set before done is closed
	whole  bool                  // all of the body was sent; read it after done is closed
}

// failure returns why the upload ended the exchange, or nil.
func (u *upload) failure() error {
	if p := u.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// startUpload sends the body in the background. A client that fails ends the
// exchange; an origin that stops reading may still answer, and does not.
func (x *exchange) startUpload() {
	u := &upload{done: make(chan struct{})}
	x.upload = u
	conn := x.conn
	go func() {
		defer close(u.done)
		fromClient, err := x.sendBody(conn)
		u.whole = err == nil
		if fromClient {
			err = fmt.Errorf("%w: %w", errClientGone, err)
			u.failed.Store(&err)
			_ = conn.SetDeadline(aLongTimeAgo)
		}
	}()
}

// endUpload waits until the upload has ended, cutting it short when the origin
// did not want all of it. It reports whether the connection is between messages.
func (x *exchange) endUpload() bool {
	if x.upload == nil {
		return x.r.Body == nil // a refused Expect leaves the origin waiting or not: unclear
	}
	select {
	case <-x.upload.done:
	default:
		x.w.InterruptBody()
		if x.conn != nil {
			_ = x.conn.SetWriteDeadline(aLongTimeAgo)
		}
		<-x.upload.done
	}
	return x.upload.whole
}

// sendBody copies the body. It reports whether the client was the one at fault.
func (x *exchange) sendBody(conn *originConn) (fromClient bool, err error) {
	buf := copyBuffers.Get().(*[copyBufferSize]byte)
	defer copyBuffers.Put(buf)
	part := buf[chunkLineRoom : copyBufferSize-2] // with room for a chunk's frame
	left := x.r.ContentLength
	for {
		n, err := x.r.Body.Read(part)
		if n > 0 {
			if left -= int64(n); x.r.ContentLength >= 0 && left < 0 {
				return true, io.ErrShortWrite
			}
			out := part[:n]
			if x.r.ContentLength < 0 {
				out = frameChunk(buf[:], n)
			}
			_ = conn.SetWriteDeadline(time.Now().Add(x.cfg.StallTimeout))
			_ = conn.SetReadDeadline(time.Now().Add(x.cfg.OriginTimeout + x.cfg.StallTimeout))
			if _, err := conn.Write(out); err != nil {
				return false, err
			}
		}
		switch {
		case err == io.EOF && x.r.ContentLength >= 0 && left != 0:
			return true, io.ErrUnexpectedEOF
		case err == io.EOF:
			return false, x.endBody(conn)
		case err != nil:
			return true, err
		}
	}
}

// chunkLineRoom holds the size line of any chunk that a copy buffer can hold.
const chunkLineRoom = 10

// frameChunk puts the size line and the CRLF around the n bytes that begin at
// chunkLineRoom, and returns the whole chunk (RFC 9112 section 7.1).
func frameChunk(buf []byte, n int) []byte {
	var room [chunkLineRoom]byte
	line := append(strconv.AppendInt(room[:0], int64(n), 16), "\r\n"...)
	start := chunkLineRoom - len(line)
	copy(buf[start:], line)
	copy(buf[chunkLineRoom+n:], "\r\n")
	return buf[start : chunkLineRoom+n+2]
}

// endBody sends the last chunk and the trailer section of a chunked body.
func (x *exchange) endBody(conn *originConn) error {
	if x.r.ContentLength >= 0 {
		return nil
	}
	out := []byte("0\r\n")
	if x.r.Trailer != nil {
		for _, f := range x.r.Trailer() {
			if !isHopByHop(f.Name) && !isOurs(f.Name) {
				out = appendField(out, f.Name, f.Value)
			}
		}
	}
	_, err := conn.Write(append(out, "\r\n"...))
	return err
}
