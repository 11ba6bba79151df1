package shingle

import (
	"net/netip"
	"strings"
)

// OriginPolicy says which origins a domain may have besides the operator's target.
// Whoever sets up domains may be less trusted than the network that an edge is in.
// The zero policy allows the Internet, and no private address.
type OriginPolicy struct {
	none     bool // not the Internet
	networks []netip.Prefix
	hosts    []string // names, and suffixes with a dot in front
}

// ParseOriginPolicy reads rules, each of which allows something: "public", the
// Internet; an address or a network such as 10.1.0.0/16; a host, or *.HOST for all
// below it, whatever they resolve to. "none" alone allows nothing. No rules: public.
func ParseOriginPolicy(list []string) (OriginPolicy, error) {
	p := OriginPolicy{none: len(list) > 0}
	for _, text := range list {
		if text == "public" {
			p.none = false
			continue
		}
		if text == "none" {
			if len(list) > 1 {
				return p, Errorf(CodeInvalid, "none stands alone")
			}
			continue
		}
		if network, err := ParseNetwork(text); err == nil {
			p.networks = append(p.networks, network)
			continue
		}
		name, below := strings.CutPrefix(text, "*.")
		host, err := asciiHost(name)
		if err != nil {
			return p, Errorf(CodeInvalid, "%q is neither public, none, a network such as 10.1.0.0/16, nor a host", text)
		}
		if below {
			host = "." + host
		}
		p.hosts = append(p.hosts, host)
	}
	return p, nil
}

// Allows reports whether o may be an origin, as far as that can be told without its
// addresses.
func (p OriginPolicy) Allows(o Origin) bool {
	if a, err := netip.ParseAddr(o.Host); err == nil {
		return p.MayConnect(o, a)
	}
	return !p.none || len(p.networks) > 0 || p.names(o.Host)
}

// MayConnect reports whether a, to which o's host leads now, may be connected to.
func (p OriginPolicy) MayConnect(o Origin, a netip.Addr) bool {
	a = a.Unmap()
	if p.names(o.Host) || !p.none && IsPublic(a) {
		return true
	}
	for _, network := range p.networks {
		if network.Contains(a.WithZone("")) {
			return true
		}
	}
	return false
}

func (p OriginPolicy) names(host string) bool {
	for _, allowed := range p.hosts {
		if host == allowed || allowed[0] == '.' && strings.HasSuffix(host, allowed) {
			return true
		}
	}
	return false
}
