package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"sync"
)

// origin answers HTTP/1.1 requests without bodies, at the least cost: the
// answers are made beforehand, and of a request only the path is looked at. The
// path /head answers with the request's own head.
type origin struct {
	listener net.Listener
	answers  map[string][]byte

	mu     sync.Mutex
	conns  map[net.Conn]struct{} // nil once closed
	serves sync.WaitGroup
}

func startOrigin() (*origin, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start origin: %w", err)
	}
	o := &origin{listener: l, answers: map[string][]byte{}, conns: map[net.Conn]struct{}{}}
	for path, body := range bodies {
		o.answers[path] = answer(body)
	}
	o.serves.Go(o.accept)
	return o, nil
}

func (o *origin) addr() string { return o.listener.Addr().String() }

// close ends the origin and its connections.
func (o *origin) close() {
	o.listener.Close()
	o.mu.Lock()
	for c := range o.conns {
		c.Close()
	}
	o.conns = nil
	o.mu.Unlock()
	o.serves.Wait()
}

// answer puts the fields of a usual answer before body.
func answer(body []byte) []byte {
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\n"+
		"Date: Mon, 02 Mar 2026 10:00:00 GMT\r\n"+
		"Content-Type: text/html; charset=utf-8\r\n"+
		"Content-Length: %d\r\n"+
		"Cache-Control: private, max-age=0\r\n"+
		"ETag: \"5f2b-19a6c1d2e40\"\r\n"+
		"Vary: Accept-Encoding\r\n"+
		"X-Request-Id: 0f8c6b1e7d2a4c53\r\n\r\n", len(body))
	return append([]byte(head), body...)
}

func (o *origin) accept() {
	for {
		c, err := o.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			progress("origin: %v", err)
			return
		}
		if o.add(c) {
			o.serves.Go(func() {
				defer o.remove(c)
				o.serve(c)
			})
		}
	}
}

// serve answers until the proxy closes the connection or sends what is no
// request; the proxy's client then sees a failure and ends the run.
func (o *origin) serve(c net.Conn) {
	buf := make([]byte, 16<<10)
	n := 0
	for n < len(buf) {
		more, err := c.Read(buf[n:])
		if err != nil {
			return
		}
		n += more
		for {
			end := bytes.Index(buf[:n], []byte("\r\n\r\n"))
			if end < 0 {
				break
			}
			head := buf[:end+4]
			if _, err := c.Write(o.answerTo(head)); err != nil {
				return
			}
			n = copy(buf, buf[len(head):n])
		}
	}
}

func (o *origin) answerTo(head []byte) []byte {
	_, rest, _ := bytes.Cut(head, []byte(" "))
	path, _, _ := bytes.Cut(rest, []byte(" "))
	if a, ok := o.answers[string(path)]; ok {
		return a
	}
	if string(path) == "/head" {
		return answer(head)
	}
	return []byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
}

func (o *origin) add(c net.Conn) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conns == nil {
		c.Close()
		return false
	}
	o.conns[c] = struct{}{}
	return true
}

func (o *origin) remove(c net.Conn) {
	c.Close()
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.conns, c)
}
