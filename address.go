package shingle

import (
	"net/netip"
	"slices"
)

// unrouted are the networks that do not belong to the Internet at large, or that
// lead to others (IANA's special-purpose registries, RFC 6890).
var unrouted = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
	"224.0.0.0/4", "240.0.0.0/4",
	"::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16",
	"3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// IsPublic reports whether the Internet routes a. What a stranger's DNS or URL
// names must not have us knock at the doors of our own network.
func IsPublic(a netip.Addr) bool {
	return a.IsValid() && a.Zone() == "" && !slices.ContainsFunc(unrouted, func(p netip.Prefix) bool { return p.Contains(a) })
}
