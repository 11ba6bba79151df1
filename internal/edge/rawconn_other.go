//go:build !unix

package edge

import "syscall"

// rawConn cannot look at a connection on this system, and takes it for open.
type rawConn struct{}

func (*rawConn) init(syscall.Conn) {}
func (*rawConn) open() bool        { return true }
