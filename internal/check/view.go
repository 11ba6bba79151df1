package check

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/publicsuffix"

	"github.com/shingle-proxy/shingle"
)

// view is what one source says of a host's addresses.
type view struct {
	host    string
	a, aaaa answer
}

// fault is why not all is known; empty: all is.
func (v *view) fault() (reason shingle.Reason, detail string) {
	if v.a.fault != "" {
		return v.a.fault, v.a.detail
	}
	return v.aaaa.fault, v.aaaa.detail
}

func (v *view) chain() []shingle.Alias {
	if len(v.aaaa.chain) > len(v.a.chain) {
		return v.aaaa.chain
	}
	return v.a.chain
}

func (v *view) addresses() []netip.Addr { return append(v.a.addresses(), v.aaaa.addresses()...) }

// targets are the names that the chain leads to.
func (v *view) targets() (names []string) {
	for _, alias := range v.chain() {
		names = append(names, alias.Target)
	}
	return names
}

func (v *view) ttl() time.Duration {
	if len(v.a.records) == 0 && len(v.aaaa.records) > 0 {
		return v.aaaa.ttl
	}
	return v.a.ttl
}

// edges is what customers are to point at.
type edges struct {
	names  []string
	addrs  map[netip.Addr]bool
	routed func(netip.Addr) bool // whether visitors can reach an address
	unsure bool                  // addrs are not all: a target could not be resolved
}

// isTarget reports whether name is one of the operator's, or below one: each
// tenant may have a target of its own.
func (e *edges) isTarget(name string) bool {
	return slices.ContainsFunc(e.names, func(target string) bool {
		return name == target || strings.HasSuffix(name, "."+target)
	})
}

// leads reports whether an answer's aliases lead to one of the targets.
func (e *edges) leads(a *answer) bool {
	return slices.ContainsFunc(a.chain, func(alias shingle.Alias) bool { return e.isTarget(alias.Target) })
}

// judge says where a view points.
func (v *view) judge(e *edges) shingle.Reason {
	addrs := v.addresses()
	fault, _ := v.fault()
	switch {
	case fault != "":
		return fault
	case len(addrs) == 0 && (e.leads(&v.a) || e.leads(&v.aaaa)):
		return shingle.ReasonTargetBroken
	case len(addrs) == 0 && len(v.chain()) > 0:
		return shingle.ReasonCNAMEBroken
	case len(addrs) == 0 && v.a.missing && isSuffixOf(v.a.zone, v.host):
		return shingle.ReasonNotRegistered
	case len(addrs) == 0:
		return shingle.ReasonNoRecord
	case len(e.names) == 0 && len(e.addrs) == 0:
		return shingle.ReasonUnconfigured
	}
	return v.judgeAddresses(addrs, e)
}

func (v *view) judgeAddresses(addrs []netip.Addr, e *edges) shingle.Reason {
	var ours, others, ours4, others4 int
	leads4, leads6 := e.leads(&v.a), e.leads(&v.aaaa)
	private := false
	for _, a := range addrs {
		four := 0
		if a.Is4() {
			four = 1
		}
		if e.addrs[a] || a.Is4() && leads4 || a.Is6() && leads6 {
			ours, ours4 = ours+1, ours4+four
			continue
		}
		others, others4 = others+1, others4+four
		private = private || !e.routed(a)
	}
	s := serviceOf(v.targets(), addrs)
	switch {
	case others == 0:
		return shingle.ReasonPointsHere
	case e.unsure:
		return shingle.ReasonResolverFailure // the others may be ours
	case ours4 > 0 && others4 == 0:
		return shingle.ReasonIPv6Elsewhere
	case ours > 0:
		return shingle.ReasonPartlyElsewhere
	case private:
		return shingle.ReasonPrivateAddress
	case s != nil && s.kind == cdn:
		return shingle.ReasonCDNInFront
	case s != nil && s.kind == parking:
		return shingle.ReasonParked
	}
	return shingle.ReasonPointsElsewhere
}

// isSuffixOf reports whether a zone is the public suffix of host or above it:
// what does not exist there is a whole registrable domain.
func isSuffixOf(zone, host string) bool {
	suffix, _ := publicsuffix.PublicSuffix(host)
	return zone != "" && dns.IsSubDomain(zone, suffix+".")
}

// registrable is the part of a host that can be bought, and the host itself where
// that is not known.
func registrable(host string) string {
	name, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil {
		return host
	}
	return name
}
