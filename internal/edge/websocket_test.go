package edge

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http"
	"testing"
	"time"
)

// frame is one of a WebSocket, with a payload of zeros.
func frame(opcode byte, size int, masked bool) []byte {
	b := []byte{0x80 | opcode, 0}
	switch {
	case size < 126:
		b[1] = byte(size)
	case size < 1<<16:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(size))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(size))
	}
	if masked {
		b[1] |= 0x80
		b = append(b, 1, 2, 3, 4)
	}
	return append(b, make([]byte, size)...)
}

// TestFrames_KnowTheirEnds cuts what is sent into pieces of every size.
func TestFrames_KnowTheirEnds(t *testing.T) {
	var sent []byte
	ends := map[int]bool{}
	for _, size := range []int{0, 1, 125, 126, 1000, 1 << 16} {
		for _, masked := range []bool{false, true} {
			sent = append(sent, frame(2, size, masked)...)
			ends[len(sent)] = true
		}
	}
	for piece := 1; piece < 300; piece++ {
		var f frames
		for n := 0; n < len(sent); {
			p := sent[n:min(n+piece, len(sent))]
			f.follow(p)
			if n += len(p); f.between() != ends[n] {
				t.Fatalf("in pieces of %d: %v after %d bytes", piece, f.between(), n)
			}
		}
		if f.closed {
			t.Fatal("a Close frame was seen")
		}
	}
	for end := range ends {
		var f frames
		f.follow(sent[:end-1])
		if n := f.finish(sent[end-1:]); n != 1 && end > 2 || !f.between() {
			t.Errorf("the frame that ends at %d took %d bytes more", end, n)
		}
	}
	var f frames
	if f.follow(frame(8, 2, false)); !f.closed || !f.between() {
		t.Error("a Close frame was not seen")
	}
}

// TestTunnels_SayGoodbyeBetweenFrames ends an edge while a frame is under way: it is
// passed on to its end, 1001 follows, and nothing after that.
func TestTunnels_SayGoodbyeBetweenFrames(t *testing.T) {
	whole := frame(2, 70_000, false)
	began, goOn := make(chan struct{}), make(chan struct{})
	answer := make(chan []byte, 1)
	te := startEdge(t, origin(t, func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n")
		_, _ = c.Write(whole[:40_000])
		close(began)
		<-goOn
		_, _ = c.Write(append(whole[40_000:], frame(1, 5, false)...))
		got := make([]byte, 8)
		_, _ = io.ReadFull(rw, got)
		answer <- got
	}))
	c, err := tls.Dial("tcp", te.https, &tls.Config{ServerName: testHost, RootCAs: te.certs.roots, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+testHost+"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
	in := bufio.NewReader(c)
	if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v, %v", resp, err)
	}
	got := make([]byte, len(whole))
	if _, err := io.ReadFull(in, got[:30_000]); err != nil {
		t.Fatal(err)
	}
	<-began
	stopped := make(chan struct{})
	go func() { te.stop(); close(stopped) }()
	for te.Healthy() == nil {
		time.Sleep(time.Millisecond)
	}
	close(goOn)
	if _, err := io.ReadFull(in, got[30_000:]); err != nil || !bytes.Equal(got, whole) {
		t.Fatalf("the frame under way: %v", err)
	}
	bye := make([]byte, len(goingAway))
	if _, err := io.ReadFull(in, bye); err != nil || !bytes.Equal(bye, goingAway) {
		t.Fatalf("behind the frame: %x, %v", bye, err)
	}
	reply := append([]byte{0x88, 0x82}, 0, 0, 0, 0, 3, 0xe9)
	_, _ = c.Write(reply)
	if got := <-answer; !bytes.Equal(got, reply) {
		t.Errorf("the origin got %x, want %x", got, reply)
	}
	if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil {
		t.Errorf("behind the goodbye: %x, %v", rest, err)
	}
	<-stopped
}
