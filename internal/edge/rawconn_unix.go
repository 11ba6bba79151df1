//go:build unix

package edge

import (
	"errors"
	"syscall"
)

// rawConn looks at a connection without reading from it.
type rawConn struct {
	conn  syscall.RawConn
	check func(fd uintptr) bool // made once: a closure for each look would be garbage
	err   error
	n     int
	one   [1]byte
}

func (r *rawConn) init(s syscall.Conn) {
	conn, err := s.SyscallConn()
	if err != nil {
		return
	}
	r.conn = conn
	r.check = func(fd uintptr) bool {
		r.n, _, r.err = syscall.Recvfrom(int(fd), r.one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	}
}

// open reports whether an idle connection can carry a request: the peer has
// neither closed it nor sent anything that no request asked for.
func (r *rawConn) open() bool {
	if r.conn == nil {
		return true
	}
	if err := r.conn.Read(r.check); err != nil {
		return false
	}
	return r.n <= 0 && errors.Is(r.err, syscall.EAGAIN)
}
