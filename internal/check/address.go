package check

import (
	"net/netip"
	"slices"

	"github.com/shingle-proxy/shingle"
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func within(a netip.Addr, nets []netip.Prefix) bool {
	return slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(a) })
}

// mayConnect reports whether a probe may go to an address that DNS named.
func (c *Config) mayConnect(a netip.Addr) bool {
	return shingle.IsPublic(a) || slices.Contains(c.Addresses, a) || within(a, c.Private)
}
