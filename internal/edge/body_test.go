package edge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
)

func TestEdge_StreamsBothWays(t *testing.T) {
	allProtocols(t, func(t *testing.T, major int) {
		url := origin(t, func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			_ = rc.EnableFullDuplex()
			w.Header().Set("Trailer", "X-Sum")
			buf := make([]byte, 1024)
			for {
				n, err := r.Body.Read(buf)
				if n > 0 {
					_, _ = w.Write(buf[:n])
					_ = rc.Flush()
				}
				if err != nil {
					break
				}
			}
			w.Header().Set("X-Sum", r.Trailer.Get("X-Client-Sum"))
		})
		te := startEdge(t, url)
		pr, pw := io.Pipe()
		req, _ := http.NewRequest("POST", "https://"+testHost+"/", pr)
		req.Trailer = http.Header{"X-Client-Sum": nil}
		written := make(chan struct{})
		go func() { _, _ = pw.Write([]byte("first")); close(written) }()
		resp, err := te.client(t, major).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		buf := make([]byte, 16)
		n, err := io.ReadAtLeast(resp.Body, buf, 5)
		if err != nil || string(buf[:n]) != "first" {
			t.Fatalf("got %q, %v before the request ended", buf[:n], err)
		}
		<-written
		_, _ = pw.Write([]byte("second"))
		req.Trailer.Set("X-Client-Sum", "42")
		_ = pw.Close()
		rest, err := io.ReadAll(resp.Body)
		if err != nil || string(rest) != "second" || resp.Trailer.Get("X-Sum") != "42" {
			t.Errorf("got %q, %v, trailer %v", rest, err, resp.Trailer)
		}
	})
}

func TestEdge_ClientGoneCancelsTheOrigin(t *testing.T) {
	allProtocols(t, func(t *testing.T, major int) {
		began, gone := make(chan struct{}), make(chan struct{})
		url := origin(t, func(_ http.ResponseWriter, r *http.Request) {
			close(began)
			<-r.Context().Done()
			close(gone)
		})
		te := startEdge(t, url)
		ctx, cancel := context.WithCancel(context.Background())
		req, _ := http.NewRequestWithContext(ctx, "GET", "https://"+testHost+"/", nil)
		go func() { <-began; cancel() }()
		if resp, err := te.client(t, major).Do(req); !errors.Is(err, context.Canceled) {
			t.Fatal(resp, err)
		}
		<-gone
	})
}

func TestEdge_LargeBodies(t *testing.T) {
	const size = 32 << 20
	allProtocols(t, func(t *testing.T, major int) {
		url := origin(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
		te := startEdge(t, url)
		data := bytes.Repeat([]byte("0123456789abcdef"), size/16)
		resp, err := te.client(t, major).Post("https://"+testHost+"/", "application/octet-stream", bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes came back, %v", len(got), err)
		}
	})
}
