package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/sync/errgroup"
)

// runHTTP3 keeps c.streams requests in flight on one connection. Unlike those of the
// other protocols the client is a whole one, quic-go's: QUIC has no least one.
func runHTTP3(ctx context.Context, t target, c loadCase, w *worker) error {
	conn, shut, err := t.dialQUIC(ctx)
	if err != nil {
		return err
	}
	defer shut()
	client := (&http3.Transport{DisableCompression: true}).NewClientConn(conn)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+t.domain+c.path, nil)
	if err != nil {
		return err
	}
	for _, f := range browserFields {
		req.Header.Set(f[0], f[1])
	}
	w.open()
	var all errgroup.Group
	for range c.streams {
		all.Go(func() error {
			got := make([]byte, 0, len(bodies[c.path])+1)
			for !w.stopped.Load() {
				begun := w.begin()
				if err := askHTTP3(client, req, bodies[c.path], got); err != nil {
					return err
				}
				w.end(begun)
			}
			return nil
		})
	}
	return all.Wait()
}

// askHTTP3 wants a 200 with that body. room holds one byte more.
func askHTTP3(client *http3.ClientConn, req *http.Request, want, room []byte) error {
	resp, err := client.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.ReadFull(resp.Body, room[:cap(room)])
	switch {
	case err == nil || !errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("read body: %d bytes, %w", n, err)
	case resp.StatusCode != http.StatusOK || !bytes.Equal(room[:n], want):
		return fmt.Errorf("status %d with %d bytes, which are not the origin's", resp.StatusCode, n)
	}
	return nil
}

// dialQUIC opens a QUIC connection as dial opens one of TLS.
func (t target) dialQUIC(ctx context.Context) (conn *quic.Conn, shut func(), err error) {
	to, err := net.ResolveUDPAddr("udp", t.addr)
	if err != nil {
		return nil, nil, err
	}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: nextSource()})
	if err != nil {
		return nil, nil, err
	}
	config := clientConfig(t.domain, http3.NextProtoH3)
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(s tls.ConnectionState) error {
		if !bytes.Equal(s.PeerCertificates[0].Raw, t.leaf) {
			return errors.New("another certificate than at the start")
		}
		return nil
	}
	tr := &quic.Transport{Conn: socket}
	if conn, err = tr.Dial(ctx, to, config, nil); err != nil {
		return nil, nil, errors.Join(err, tr.Close(), socket.Close())
	}
	return conn, func() {
		_ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
		_ = tr.Close()
		_ = socket.Close()
	}, nil
}
