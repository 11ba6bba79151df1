package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// runHTTP1 sends one request after the other on one connection.
func runHTTP1(ctx context.Context, t target, c loadCase, w *worker) error {
	conn, err := t.dial(ctx, "http/1.1")
	if err != nil {
		return err
	}
	defer shut(conn)
	x := newHTTP1(conn, t.domain, c.path)
	w.open()
	for !w.stopped.Load() {
		begun := w.begin()
		body, err := x.exchange()
		if err != nil {
			return err
		}
		if err := same(body, bodies[c.path]); err != nil {
			return err
		}
		w.end(begun)
	}
	return nil
}

// http1 is the least of an HTTP/1.1 client: one request, again and again, and
// answers with a Content-Length.
type http1 struct {
	conn    io.ReadWriter
	request []byte
	buf     []byte
}

func newHTTP1(conn io.ReadWriter, domain, path string) *http1 {
	req := []byte("GET " + path + " HTTP/1.1\r\nHost: " + domain + "\r\n")
	for _, f := range browserFields {
		req = append(req, f[0]+": "+f[1]+"\r\n"...)
	}
	return &http1{conn: conn, request: append(req, "\r\n"...), buf: make([]byte, 80<<10)}
}

// exchange sends the request and returns the answer's body, which is valid
// until the next call.
func (x *http1) exchange() ([]byte, error) {
	if _, err := x.conn.Write(x.request); err != nil {
		return nil, fmt.Errorf("send request: %w", err)
	}
	n, body, length := 0, 0, 0
	for body == 0 || n < body+length {
		if n == len(x.buf) {
			return nil, errors.New("the answer is too long")
		}
		more, err := x.conn.Read(x.buf[n:])
		if err != nil {
			return nil, fmt.Errorf("read answer after %d bytes: %w", n, err)
		}
		n += more
		if body != 0 {
			continue
		}
		if end := bytes.Index(x.buf[:n], []byte("\r\n\r\n")); end >= 0 {
			body = end + 4
			if length, err = contentLength(x.buf[:end+2]); err != nil {
				return nil, err
			}
		}
	}
	if n != body+length {
		return nil, fmt.Errorf("%d bytes follow the answer", n-body-length)
	}
	return x.buf[body:n], nil
}

// contentLength returns the body's length of a 200 answer whose head is given.
func contentLength(head []byte) (int, error) {
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
		return 0, fmt.Errorf("the answer begins with %q", line)
	}
	const name = "content-length:"
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		if len(line) > len(name) && line[len(name)-1] == ':' && bytes.EqualFold(line[:len(name)], []byte(name)) {
			return strconv.Atoi(string(bytes.TrimSpace(line[len(name):])))
		}
	}
	return 0, errors.New("the answer has no Content-Length")
}

func same(got, want []byte) error {
	if !bytes.Equal(got, want) {
		return fmt.Errorf("wrong body: %d bytes, %d expected", len(got), len(want))
	}
	return nil
}
