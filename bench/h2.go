package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Receive windows, in bytes, about as browsers set them. A stream's window is
// larger than any answer, so that only the connection's needs to be topped up.
const (
	streamWindow     = 1 << 20
	connectionWindow = 15 << 20
	defaultWindow    = 65535 // RFC 9113 section 6.9.2
	defaultTable     = 4096  // RFC 7541; RFC 9113 section 6.5.2
)

// runHTTP2 keeps c.streams requests in flight on one connection.
func runHTTP2(ctx context.Context, t target, c loadCase, w *worker) error {
	conn, err := t.dial(ctx, "h2")
	if err != nil {
		return err
	}
	defer shut(conn)
	x, err := openHTTP2(conn, t.domain, c, w)
	if err != nil {
		return err
	}
	w.open()
	for {
		for len(x.inFlight) < c.streams && !w.stopped.Load() {
			if err := x.send(w.begin()); err != nil {
				return err
			}
		}
		if len(x.inFlight) == 0 {
			return nil
		}
		if err := x.receive(); err != nil {
			return err
		}
	}
}

// http2Conn is the least of an HTTP/2 client (RFC 9113): one request, many
// times at once.
type http2Conn struct {
	framer *http2.Framer
	in     *bufio.Reader
	out    *bufio.Writer
	fields *hpack.Decoder
	worker *worker

	first, next []byte // the request's header block: the first fills the dynamic table that the next ones use
	want        []byte // the answer's body
	streams     int

	inFlight map[uint32]*stream
	idle     []*stream // to be used again
	lastID   uint32    // of the streams; odd
	unacked  uint32    // bytes received for which the connection's window was not topped up
	current  *stream   // whose header block is being read
	ready    bool      // the server's settings have come
}

type stream struct {
	begun  time.Time
	status string
	got    int // bytes of the body
}

func openHTTP2(conn *tls.Conn, domain string, c loadCase, w *worker) (*http2Conn, error) {
	x := &http2Conn{
		in:       bufio.NewReaderSize(conn, 64<<10),
		out:      bufio.NewWriterSize(conn, 16<<10),
		worker:   w,
		want:     bodies[c.path],
		streams:  c.streams,
		inFlight: map[uint32]*stream{},
	}
	x.framer = http2.NewFramer(x.out, x.in)
	x.framer.SetReuseFrames()
	x.fields = hpack.NewDecoder(defaultTable, x.field)
	var err error
	if x.first, x.next, err = headerBlocks(domain, c.path); err != nil {
		return nil, err
	}
	_, errPreface := x.out.WriteString(http2.ClientPreface)
	err = errors.Join(
		errPreface,
		x.framer.WriteSettings(
			http2.Setting{ID: http2.SettingEnablePush, Val: 0},
			http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow},
		),
		x.framer.WriteWindowUpdate(0, connectionWindow-defaultWindow),
	)
	for err == nil && !x.ready {
		err = x.receive()
	}
	if err != nil {
		return nil, fmt.Errorf("open HTTP/2: %w", err)
	}
	return x, nil
}

// headerBlocks encodes the request twice, as the first and as every later one
// on a connection. The path is sent in full each time, as with real visitors.
func headerBlocks(domain, path string) (first, next []byte, err error) {
	var buf bytes.Buffer
	enc := hpack.NewEncoder(&buf)
	encode := func() ([]byte, error) {
		buf.Reset()
		fields := []hpack.HeaderField{
			{Name: ":method", Value: "GET"},
			{Name: ":authority", Value: domain},
			{Name: ":scheme", Value: "https"},
			{Name: ":path", Value: path, Sensitive: true},
		}
		for _, f := range browserFields {
			fields = append(fields, hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		for _, f := range fields {
			if err := enc.WriteField(f); err != nil {
				return nil, fmt.Errorf("encode %s: %w", f.Name, err)
			}
		}
		return bytes.Clone(buf.Bytes()), nil
	}
	if first, err = encode(); err != nil {
		return nil, nil, err
	}
	next, err = encode()
	return first, next, err
}

// send queues one request; receive flushes it.
func (x *http2Conn) send(begun time.Time) error {
	block := x.next
	if x.lastID == 0 {
		block = x.first
		x.lastID = 1
	} else {
		x.lastID += 2
	}
	s := &stream{}
	if n := len(x.idle); n > 0 {
		s, x.idle = x.idle[n-1], x.idle[:n-1]
	}
	*s = stream{begun: begun}
	x.inFlight[x.lastID] = s
	err := x.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: x.lastID, BlockFragment: block, EndStream: true, EndHeaders: true,
	})
	if err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	return nil
}

// receive takes the frames that are there, and waits when there is none. What
// they led to is flushed only then, so that requests leave together.
func (x *http2Conn) receive() error {
	if x.in.Buffered() == 0 {
		if err := x.out.Flush(); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	frame, err := x.framer.ReadFrame()
	if err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	switch f := frame.(type) {
	case *http2.DataFrame:
		return x.data(f)
	case *http2.HeadersFrame:
		return x.headers(f)
	case *http2.SettingsFrame:
		return x.settings(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			return x.framer.WritePing(true, f.Data)
		}
	case *http2.RSTStreamFrame:
		return fmt.Errorf("stream reset: %s", f.ErrCode)
	case *http2.GoAwayFrame:
		return fmt.Errorf("connection given up: %s", f.ErrCode)
	case *http2.ContinuationFrame, *http2.PushPromiseFrame:
		return fmt.Errorf("unexpected frame %s", f.Header().Type)
	}
	return nil
}

func (x *http2Conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if n, ok := f.Value(http2.SettingHeaderTableSize); ok && n < defaultTable {
		return fmt.Errorf("a header table of %d bytes", n)
	}
	if n, ok := f.Value(http2.SettingMaxConcurrentStreams); ok && int(n) < x.streams {
		return fmt.Errorf("at most %d streams", n)
	}
	x.ready = true
	return x.framer.WriteSettingsAck()
}

func (x *http2Conn) headers(f *http2.HeadersFrame) error {
	s := x.inFlight[f.StreamID]
	if s == nil || !f.HeadersEnded() {
		return fmt.Errorf("unexpected header block on stream %d", f.StreamID)
	}
	x.current = s
	if _, err := x.fields.Write(f.HeaderBlockFragment()); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	if err := x.fields.Close(); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	if s.status != "200" {
		return fmt.Errorf("the answer's status is %q", s.status)
	}
	if f.StreamEnded() {
		return x.end(f.StreamID, s)
	}
	return nil
}

func (x *http2Conn) field(f hpack.HeaderField) {
	if f.Name == ":status" {
		x.current.status = f.Value
	}
}

func (x *http2Conn) data(f *http2.DataFrame) error {
	s := x.inFlight[f.StreamID]
	if s == nil {
		return fmt.Errorf("unexpected data on stream %d", f.StreamID)
	}
	piece := f.Data()
	if !bytes.HasPrefix(x.want[s.got:], piece) {
		return fmt.Errorf("wrong body after %d bytes", s.got)
	}
	s.got += len(piece)
	x.unacked += f.Length
	if x.unacked > connectionWindow/2 {
		if err := x.framer.WriteWindowUpdate(0, x.unacked); err != nil {
			return fmt.Errorf("open window: %w", err)
		}
		x.unacked = 0
	}
	if f.StreamEnded() {
		return x.end(f.StreamID, s)
	}
	return nil
}

func (x *http2Conn) end(id uint32, s *stream) error {
	if s.got != len(x.want) {
		return fmt.Errorf("short body: %d bytes, %d expected", s.got, len(x.want))
	}
	x.worker.end(s.begun)
	delete(x.inFlight, id)
	x.idle = append(x.idle, s)
	return nil
}
