package shingle_test

import (
	"net/netip"
	"testing"

	"github.com/shingle-proxy/shingle"
)

func TestIsPublic(t *testing.T) {
	for addr, public := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "127.0.0.1": false,
		"169.254.169.254": false, "100.64.0.1": false, "0.0.0.0": false, "224.0.0.1": false, "255.255.255.255": false, "::1": false,
		"fe80::1": false, "fc00::1": false, "fd00:ec2::254": false, "::ffff:169.254.169.254": false, "64:ff9b::a9fe:a9fe": false, "2002:7f00:1::": false,
	} {
		if shingle.IsPublic(netip.MustParseAddr(addr)) != public {
			t.Errorf("%s: public is not %v", addr, public)
		}
	}
}
