package edge

import "encoding/binary"

// goingAway is a Close frame with status 1001, from a server (RFC 6455 sections 5.5.1 and
// 7.4.1).
var goingAway = []byte{0x88, 2, 1001 >> 8, 1001 & 0xff}

// frames follows what one side of a WebSocket sends (RFC 6455 section 5.2), to know where
// a frame of the edge's own may stand.
type frames struct {
	head   [14]byte
	have   int    // bytes of a header that is not whole yet
	left   uint64 // bytes of a payload that are yet to come
	closed bool   // a Close frame has begun: nothing may follow it
}

// between reports whether no frame is under way.
func (f *frames) between() bool { return f.have == 0 && f.left == 0 }

// follow takes p in.
func (f *frames) follow(p []byte) {
	for len(p) > 0 {
		p = p[f.step(p):]
	}
}

// finish takes in as much of p as belongs to the frame under way, and returns how much
// that is.
func (f *frames) finish(p []byte) int {
	n := 0
	for n < len(p) && !f.between() {
		n += f.step(p[n:])
	}
	return n
}

// step takes in a part of p, which is not empty, and returns its length.
func (f *frames) step(p []byte) int {
	if f.left > 0 {
		n := min(f.left, uint64(len(p)))
		f.left -= n
		return int(n)
	}
	n := copy(f.head[f.have:f.headSize()], p)
	f.have += n
	if f.have < f.headSize() { // which grows with the first two bytes
		return n
	}
	f.have, f.left = 0, f.payload()
	f.closed = f.closed || f.head[0]&0xf == 8
	return n
}

// headSize is how long the header is, as far as is known.
func (f *frames) headSize() int {
	size := 2
	if f.have < size {
		return size
	}
	switch f.head[1] & 0x7f {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if f.head[1]&0x80 != 0 {
		size += 4 // of the mask
	}
	return size
}

// payload is the length that a whole header tells.
func (f *frames) payload() uint64 {
	switch n := f.head[1] & 0x7f; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		return binary.BigEndian.Uint64(f.head[2:])
	default:
		return uint64(n)
	}
}
