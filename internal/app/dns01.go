package app

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/certs"
	"github.com/shingle-proxy/shingle/internal/check"
	"github.com/shingle-proxy/shingle/internal/dns01"
	"github.com/shingle-proxy/shingle/internal/route53"
)

// validateDNS01 refuses half of a setting, and a provider that there is not.
func (c *Config) validateDNS01() error {
	if c.world.dns01 != nil {
		return nil
	}
	switch name, _, _ := strings.Cut(c.DNS01Provider, ":"); {
	case c.DNS01Zone == "" && c.DNS01Provider == "":
		return nil
	case c.DNS01Zone == "":
		return errors.New("--dns01-zone: name the zone of yours that --dns01-provider hosts, such as acme.example.com")
	case c.DNS01Provider == "":
		return errors.New("--dns01-provider: name who hosts --dns01-zone: route53, or route53:ZONEID")
	case name != "route53":
		return fmt.Errorf("--dns01-provider: %q is none; there is route53, or route53:ZONEID", name)
	}
	if _, err := shingle.NormalizeHost(c.DNS01Zone); err != nil {
		return fmt.Errorf("--dns01-zone: %s", shingle.MessageOf(err))
	}
	return nil
}

// challengeZone returns the zone that DNS-01 validations are answered in, or nil
// when none is set up.
func (c *Config) challengeZone(ctx context.Context) (certs.ChallengeZone, error) {
	if c.DNS01Zone == "" {
		return nil, nil
	}
	lookup, err := check.New(check.Config{Resolvers: c.Resolvers, RootServers: c.world.rootServers, Private: c.world.private})
	if err != nil {
		return nil, err
	}
	provider := c.world.dns01
	if provider == nil {
		_, id, _ := strings.Cut(c.DNS01Provider, ":")
		if provider, err = route53.Open(ctx, route53.Config{ZoneID: id}); err != nil {
			return nil, fmt.Errorf("--dns01-provider: %w", err)
		}
	}
	return dns01.New(dns01.Config{Name: c.DNS01Zone, Provider: provider, Lookup: lookup})
}
