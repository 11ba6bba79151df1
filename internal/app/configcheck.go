package app

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/traffic"
)

// Bounds of a handshake's wait. Clients and balancers give up after a minute.
const (
	maxHandshakeWait  = time.Minute
	handshakeOverhead = 5 * time.Second // for all but that wait
)

// Bounds of how often an edge asks for changes, and how many of these questions
// there are to one for news of certificates.
const (
	minPoll  = 100 * time.Millisecond
	maxPoll  = 10 * time.Second
	newsPoll = 60
)

// maxShutdown bounds both parts of an edge's end.
const maxShutdown = time.Hour

const maxQuarantine = 10 * 365 * 24 * time.Hour

// validate sets what is left out, and refuses what cannot work, saying which flag is
// at fault.
func (c *Config) validate() error {
	c.fill()
	if c.Data == "" {
		return errors.New("--data: name a folder for the database")
	}
	for _, part := range []func() error{
		c.validateCAs, c.validateOrigins, c.validateTimes, c.validateSizes, c.validateAPI,
		c.ValidatePages, c.validateProof, c.validateDNS01, c.validateStore,
	} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

// fill puts the defaults where nothing is set.
func (c *Config) fill() {
	c.HandshakeWait = cmp.Or(c.HandshakeWait, 10*time.Second)
	c.GracePeriod = cmp.Or(c.GracePeriod, 10*time.Second)
	c.Poll = cmp.Or(c.Poll, 500*time.Millisecond)
	c.Report = cmp.Or(c.Report, time.Minute)
	c.Traffic = cmp.Or(c.Traffic, 15*time.Minute)
	c.CertMemory = cmp.Or(c.CertMemory, 64)
	c.SettingsMemory = cmp.Or(c.SettingsMemory, 256)
	c.Proof = cmp.Or(c.Proof, ProofTenant)
}

func (c *Config) validateCAs() error {
	if len(c.ACMECAs) == 0 {
		return errors.New("--acme-ca: name a CA, such as letsencrypt")
	}
	if !c.AgreeTerms {
		return errors.New("--agree-terms: a CA issues only to those who agree to its terms of service")
	}
	_, _, err := c.masterKey()
	return err
}

func (c *Config) validateOrigins() error {
	if _, err := shingle.ParseOrigin(c.Target); err != nil && (c.Role.edge() || c.Target != "") {
		return fmt.Errorf("--target: %s", shingle.MessageOf(err))
	}
	if _, err := shingle.ParseOriginPolicy(c.Origins); err != nil {
		return fmt.Errorf("--origins: %s", shingle.MessageOf(err))
	}
	return nil
}

func (c *Config) validateTimes() error {
	for _, t := range []struct {
		flag        string
		is          time.Duration
		least, most time.Duration
	}{
		{"--handshake-wait", c.HandshakeWait, time.Second, maxHandshakeWait},
		{"--shutdown-delay", c.ShutdownDelay, 0, maxShutdown},
		{"--grace-period", c.GracePeriod, time.Second, maxShutdown},
		{"--poll", c.Poll, minPoll, maxPoll},
		{"--report", c.Report, 10 * time.Second, time.Hour},
	} {
		if t.is < t.least || t.is > t.most {
			return fmt.Errorf("%s: it must be %s to %s, not %s", t.flag, t.least, t.most, t.is)
		}
	}
	if !traffic.Divides(c.Traffic) {
		return fmt.Errorf("--traffic: it must be 1m to 1h, and a part of an hour without a rest such as 15m, not %s", c.Traffic)
	}
	return nil
}

func (c *Config) validateSizes() error {
	for _, n := range []struct {
		flag      string
		is, least int
	}{
		{"--local-copy", c.LocalCopy, 0},
		{"--settings-memory", c.SettingsMemory, 1},
		{"--cert-memory", c.CertMemory, 1},
		{"--rate-limit", c.RateLimit, 0},
		{"--max-domains-per-tenant", c.MaxDomains, 0},
	} {
		if n.is < n.least {
			return fmt.Errorf("%s: it must be %d or more, not %d", n.flag, n.least, n.is)
		}
	}
	return nil
}

// maxDomainsOf reads MaxDomainsOf.
func (c *Config) maxDomainsOf() (map[string]int, error) {
	of := map[string]int{}
	for _, text := range c.MaxDomainsOf {
		tenant, number, _ := strings.Cut(text, "=")
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || !shingle.IsTenant(tenant) {
			return nil, fmt.Errorf("--max-domains: it must look like acme=5000, a tenant and how many domains it may have (0: any number), not %q", text)
		}
		of[tenant] = n
	}
	return of, nil
}

func (c *Config) validateAPI() error {
	if _, err := c.maxDomainsOf(); err != nil {
		return err
	}
	if c.AskURL != "" {
		if _, err := parseAskURL(c.AskURL); err != nil {
			return err
		}
	}
	for _, o := range c.PageOrigins {
		if u, err := url.Parse(o); err != nil || u.Host == "" || o != u.Scheme+"://"+u.Host {
			return fmt.Errorf("--cors-origin: it must look like https://panel.example.com, not %q", o)
		}
	}
	if c.CloudflareZone != "" && !api.IsCloudflareZone(c.CloudflareZone) {
		return fmt.Errorf("--cloudflare-zone: an ID has at most 64 letters, digits, - and _, not %q", c.CloudflareZone)
	}
	return nil
}

func (c *Config) validateProof() error {
	for _, target := range c.CNAMETargets {
		if _, err := shingle.NormalizeHost(target); err != nil {
			return fmt.Errorf("--cname-target: %s", shingle.MessageOf(err))
		}
	}
	if c.Proof != ProofTenant && c.Proof != ProofPointing {
		return fmt.Errorf("--proof: it must be %s or %s, not %q", ProofTenant, ProofPointing, c.Proof)
	}
	if c.Quarantine != 0 && (c.Quarantine < time.Hour || c.Quarantine > maxQuarantine) {
		return fmt.Errorf("--quarantine: it must be 1h to %s, not %s", maxQuarantine, c.Quarantine)
	}
	return nil
}
