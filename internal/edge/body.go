package edge

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
)

// body is the body of an origin's response. Read returns io.EOF only at its
// proper end: a message that was cut short ends in another error.
type body struct {
	buf     *buffer
	left    int64 // bytes left of the body, or of the chunk
	chunked bool
	toClose bool // ends with the connection (RFC 9112 section 6.3, rule 8)
	started bool // the first chunk-size line was read
	done    bool
	trailer Fields
}

// newBody returns the body that follows h on buf.
func newBody(buf *buffer, h *responseHead, method string) body {
	switch {
	case h.bodyless(method):
		return body{buf: buf, done: true}
	case h.coded:
		return body{buf: buf, chunked: true}
	case h.length >= 0:
		return body{buf: buf, left: h.length, done: h.length == 0}
	default:
		return body{buf: buf, left: math.MaxInt64, toClose: true}
	}
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.done {
		return 0, io.EOF
	}
	if b.chunked && b.left == 0 {
		if err := b.nextChunk(); err != nil {
			return 0, err
		}
	}
	n, err := b.buf.Read(p[:min(int64(len(p)), b.left)])
	if b.toClose {
		b.done = errors.Is(err, io.EOF)
		return n, err
	}
	b.left -= int64(n)
	if b.left == 0 {
		b.done = !b.chunked
		return n, nil
	}
	return n, unexpected(err)
}

// waiting reports whether the next Read may have to wait for the origin: behind
// a chunk, two lines must be here before there is data again.
func (b *body) waiting() bool {
	if b.chunked && b.left == 0 && b.started {
		return !b.done && bytes.Count(b.buf.unread(), []byte{'\n'}) < 2
	}
	return !b.done && b.buf.r == b.buf.w
}

// nextChunk reads up to the data of the next chunk (RFC 9112 section 7.1), or
// the trailer section behind the last, when it returns io.EOF.
func (b *body) nextChunk() error {
	if b.started {
		if line, err := b.buf.line(maxChunkLine); err != nil || len(line) > 0 {
			return badUnless(err)
		}
	}
	b.started = true
	line, err := b.buf.line(maxChunkLine)
	if err != nil {
		return err
	}
	size, ok := parseChunkSize(line)
	if !ok {
		return errBadFraming
	}
	if b.left = size; size > 0 {
		return nil
	}
	if err := b.readTrailer(); err != nil {
		return err
	}
	b.done = true
	return io.EOF
}

func (b *body) readTrailer() error {
	for size := 0; ; {
		line, err := b.buf.line(maxHeadSize)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return nil
		}
		f, ok := parseField(string(line))
		if size += len(line); !ok || size > maxHeadSize || len(b.trailer) == maxHeadFields {
			return errBadFraming
		}
		if !isHopByHop(f.Name) {
			b.trailer = append(b.trailer, f)
		}
	}
}

// parseChunkSize reads the hexadecimal size before any extension.
func parseChunkSize(line []byte) (int64, bool) {
	end := len(line)
	for i, c := range line {
		if c == ';' || c == ' ' || c == '\t' {
			end = i
			break
		}
	}
	if end == 0 || end > 15 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(line[:end]), 16, 63)
	return int64(n), err == nil && line[0] != '+' && line[0] != '-'
}

func badUnless(err error) error {
	if err == nil {
		return errBadFraming
	}
	return err
}
