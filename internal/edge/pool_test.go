package edge

import (
	"io"
	"net"
	"strings"
	"testing"
)

func TestEdge_RedialsWhenTheOriginClosedAnIdleConnection(t *testing.T) {
	closed := make(chan struct{}, 16)
	url, heads := rawOrigin(t, func(c net.Conn, _ string) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		_ = c.Close()
		closed <- struct{}{}
	})
	te := startEdge(t, url)
	c := te.client(t, 2)
	for range 5 {
		resp, err := c.Post("https://"+testHost+"/", "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("status %d", resp.StatusCode)
		}
		<-closed
	}
	if n := heads.Load(); n != 5 {
		t.Errorf("the origin saw %d requests, want 5", n)
	}
}
