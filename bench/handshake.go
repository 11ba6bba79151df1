package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
)

// runHandshakes makes one connection after the other, each with a full
// handshake and no request.
func runHandshakes(ctx context.Context, t target, c loadCase, w *worker) error {
	for !w.stopped.Load() {
		begun := w.begin()
		conn, err := t.dial(ctx, c.proto)
		if err != nil {
			return err
		}
		err = goodbye(conn)
		shut(conn)
		if err != nil {
			return err
		}
		w.end(begun)
		w.open()
	}
	return nil
}

// goodbye ends the session in order and waits until the server has done so too:
// it has then finished its side of the handshake. Servers that close without
// saying so (RFC 8446 section 6.1) are common.
func goodbye(conn *tls.Conn) error {
	if err := conn.CloseWrite(); err != nil {
		return fmt.Errorf("send close_notify: %w", err)
	}
	var b [1]byte
	if _, err := conn.Read(b[:]); err == nil {
		return errors.New("data without a request")
	} else if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("wait for the end: %w", err)
	}
	return nil
}
