// Package check finds out what DNS and HTTPS say of a customer's domain, and puts
// it into words: what is wrong, who must act, and which record to set.
//
// It trusts nothing that it is told: customers control their DNS, and so where
// the probes go. They go to addresses of the Internet only, on the ports of DNS,
// HTTP and HTTPS, and every wait, chain and answer has a bound.
package check

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/shingle-proxy/shingle"
)

// Config is what a [Checker] is made of. A zero takes the default.
type Config struct {
	// Targets are the names that customers' CNAME records lead to. The first is
	// what they are told; a name below one counts as well. Without Targets and
	// Addresses DNS cannot be judged.
	Targets []string
	// Addresses are those of the edges, for names that cannot be aliases. Those
	// of the targets count without being named here.
	Addresses []netip.Addr

	CAs []CA // whose certificates are obtained, for CAA. Default: CAA is not judged
	// Delegated reports whether a host's customer lets us answer DNS-01. Default: none
	// does, except for wildcards.
	Delegated func(ctx context.Context, host string) bool

	// Resolvers are recursive servers, host:port, in the order in which they are
	// asked. Default: the system's.
	Resolvers []string
	// RootServers are where the way to a zone's own servers begins, address:port.
	// Default: those of the Internet.
	RootServers []string

	HTTPPort, HTTPSPort int            // of the edges. Default 80 and 443
	Roots               *x509.CertPool // that certificates are verified by. Default: the system's
	ProbeKey            shingle.ProbeKey

	// Private are networks that may be connected to though the Internet does not
	// route them: for development. Addresses, those of Targets excluded, may
	// always be.
	Private []netip.Prefix

	MaxQueries   int           // DNS queries under way. Default 1024
	MaxPerServer int           // of them, to one name server of a customer. Default 8
	QueryTimeout time.Duration // of the first try of a query; the second has twice that. Default 1 s
	Timeout      time.Duration // of a check. Default 8 s

	// dialTo changes where a connection goes: tests play the Internet.
	dialTo func(network string, to netip.AddrPort) netip.AddrPort
}

// CA is a certificate authority as CAA records know it (RFC 8659, RFC 8657).
type CA struct {
	Name       string
	Identities []string // such as letsencrypt.org; empty: not known
	// Account returns the URI of our account, or "" when it is not known. Nil: it is
	// not.
	Account func(ctx context.Context) string
}

func (c *Config) validate() (err error) {
	for i, target := range c.Targets {
		if c.Targets[i], err = shingle.NormalizeHost(target); err != nil {
			return fmt.Errorf("CNAME target %q: %s", target, shingle.MessageOf(err))
		}
	}
	for i, a := range c.Addresses {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
			return fmt.Errorf("%s cannot be an edge's address", a)
		}
		c.Addresses[i] = a.Unmap().WithZone("")
	}
	if len(c.Resolvers) == 0 {
		if c.Resolvers, err = systemResolvers(); err != nil {
			return err
		}
	}
	c.HTTPPort, c.HTTPSPort = cmp.Or(c.HTTPPort, 80), cmp.Or(c.HTTPSPort, 443)
	c.MaxQueries, c.MaxPerServer = cmp.Or(c.MaxQueries, 1024), cmp.Or(c.MaxPerServer, 8)
	c.QueryTimeout, c.Timeout = cmp.Or(c.QueryTimeout, time.Second), cmp.Or(c.Timeout, 8*time.Second)
	return nil
}

// systemResolvers are those of resolv.conf.
func systemResolvers() ([]string, error) {
	conf, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil || len(conf.Servers) == 0 {
		return nil, errors.New("this system names no DNS resolvers: name one with --resolver")
	}
	var list []string
	for _, server := range conf.Servers[:min(len(conf.Servers), maxResolvers)] {
		list = append(list, net.JoinHostPort(server, conf.Port))
	}
	return list, nil
}

const maxResolvers = 4

// parseServers reads address:port, where the port may be left out.
func parseServers(list []string) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for _, s := range list {
		server, err := netip.ParseAddrPort(s)
		if err != nil {
			addr, err := netip.ParseAddr(s)
			if err != nil {
				return nil, fmt.Errorf("%q is not the address of a DNS server, such as 192.0.2.53 or [2001:db8::53]:53", s)
			}
			server = netip.AddrPortFrom(addr, 53)
		}
		out = append(out, server)
	}
	return out, nil
}

// rootServers are those of the Internet, a to m (https://www.iana.org/domains/root/servers).
var rootServers = []string{
	"198.41.0.4", "170.247.170.2", "192.33.4.12", "199.7.91.13", "192.203.230.10", "192.5.5.241", "192.112.36.4",
	"198.97.190.53", "192.36.148.17", "192.58.128.30", "193.0.14.129", "199.7.83.42", "202.12.27.33",
}
