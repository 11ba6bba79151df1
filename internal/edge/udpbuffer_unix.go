//go:build unix

package edge

import (
	"net"
	"syscall"
)

// receiveBuffer returns the size of a socket's receive buffer in bytes, 0 when it is not
// known.
func receiveBuffer(c net.PacketConn) int {
	u, ok := c.(*net.UDPConn)
	if !ok {
		return 0
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0
	}
	size := 0
	if raw.Control(func(fd uintptr) {
		size, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF)
	}) != nil {
		return 0
	}
	return size
}
