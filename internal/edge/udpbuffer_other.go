//go:build !unix

package edge

import "net"

// receiveBuffer returns 0: the size is not known here.
func receiveBuffer(net.PacketConn) int { return 0 }
