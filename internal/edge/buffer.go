package edge

import (
	"bytes"
	"errors"
	"io"
)

const (
	readBufferSize = 4 << 10  // enough for nearly every response head
	maxHeadSize    = 64 << 10 // a larger response head is refused
	maxHeadFields  = 256
	maxChunkLine   = 4 << 10 // a chunk-size line with its extensions
)

// errBadFraming is an origin's message that breaks RFC 9112: its connection is
// closed, and nothing that follows on it is believed.
var errBadFraming = errors.New("origin sent a malformed message")

// buffer reads from a connection with a look-ahead that grows up to a bound.
type buffer struct {
	src  io.Reader
	data []byte // data[r:w] is unread
	r, w int
}

func (b *buffer) unread() []byte { return b.data[b.r:b.w] }

// Read takes from the look-ahead first. A large p is read into directly.
func (b *buffer) Read(p []byte) (int, error) {
	if b.r < b.w {
		n := copy(p, b.data[b.r:b.w])
		b.r += n
		return n, nil
	}
	return b.src.Read(p)
}

// fill reads once from the connection, behind what is unread, and fails with
// errBadFraming when limit bytes are unread already.
func (b *buffer) fill(limit int) error {
	if b.w-b.r >= limit {
		return errBadFraming
	}
	switch {
	case b.r == b.w:
		b.r, b.w = 0, 0
	case b.w == len(b.data) && b.r > 0:
		b.w = copy(b.data, b.data[b.r:b.w])
		b.r = 0
	}
	if b.w == len(b.data) {
		grown := make([]byte, max(readBufferSize, min(2*len(b.data), limit)))
		copy(grown, b.data[:b.w])
		b.data = grown
	}
	n, err := b.src.Read(b.data[b.w:])
	b.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// head returns the bytes up to and with the empty line that ends a message's
// head, as a string of its own, and consumes them.
func (b *buffer) head() (string, error) {
	scanned := 0
	for {
		data := b.unread()
		if i := bytes.Index(data[scanned:], crlfcrlf); i >= 0 {
			n := scanned + i + len(crlfcrlf)
			s := string(data[:n])
			b.r += n
			return s, nil
		}
		scanned = max(0, len(data)-len(crlfcrlf)+1)
		if err := b.fill(maxHeadSize); err != nil {
			return "", err
		}
	}
}

// line returns the next line without its CRLF and consumes it. It is valid
// until the next call. A bare CR or LF is refused: readers that disagree about
// where a line ends disagree about where a message ends.
func (b *buffer) line(limit int) ([]byte, error) {
	for {
		data := b.unread()
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			if i == 0 || data[i-1] != '\r' || bytes.IndexByte(data[:i-1], '\r') >= 0 {
				return nil, errBadFraming
			}
			b.r += i + 1
			return data[:i-1], nil
		}
		if err := b.fill(limit); err != nil {
			return nil, unexpected(err)
		}
	}
}

// shrink gives up a look-ahead that a large head made large.
func (b *buffer) shrink() {
	if b.r == b.w && len(b.data) > 2*readBufferSize {
		b.data, b.r, b.w = nil, 0, 0
	}
}

var crlfcrlf = []byte("\r\n\r\n")

// unexpected turns an end in the middle of a message into an error that cannot
// be mistaken for its proper end.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
