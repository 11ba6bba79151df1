package app

import (
	"strings"
	"testing"
	"time"
)

func TestConfig_NamesTheFlagAtFault(t *testing.T) {
	t.Parallel()
	good := func() Config {
		return Config{Role: RoleAll, Data: "/data", ACMECAs: []string{"letsencrypt"}, AgreeTerms: true, Target: "app.example.com"}
	}
	c := good()
	if err := c.validate(); err != nil || c.Poll != 500*time.Millisecond || c.Proof != ProofTenant {
		t.Fatalf("%v: %+v", err, c)
	}
	for flag, wrong := range map[string]func(*Config){
		"--data":             func(c *Config) { c.Data = "" },
		"--acme-ca":          func(c *Config) { c.ACMECAs = nil },
		"--agree-terms":      func(c *Config) { c.AgreeTerms = false },
		"--target":           func(c *Config) { c.Target = "" },
		"--origins":          func(c *Config) { c.Origins = []string{"not a host"} },
		"--handshake-wait":   func(c *Config) { c.HandshakeWait = 2 * time.Minute },
		"--shutdown-delay":   func(c *Config) { c.ShutdownDelay = -1 },
		"--grace-period":     func(c *Config) { c.GracePeriod = 2 * time.Hour },
		"--poll":             func(c *Config) { c.Poll = time.Millisecond },
		"--report":           func(c *Config) { c.Report = time.Second },
		"--traffic":          func(c *Config) { c.Traffic = 7 * time.Minute },
		"--local-copy":       func(c *Config) { c.LocalCopy = -1 },
		"--cert-memory":      func(c *Config) { c.CertMemory = -1 },
		"--settings-memory":  func(c *Config) { c.SettingsMemory = -1 },
		"--rate-limit":       func(c *Config) { c.RateLimit = -1 },
		"--max-domains-per":  func(c *Config) { c.MaxDomains = -1 },
		"--max-domains: ":    func(c *Config) { c.MaxDomainsOf = []string{"acme"} },
		"--master-key":       func(c *Config) { c.MasterKey = "vault:x" },
		"--ask-url":          func(c *Config) { c.AskURL = "ftp://x" },
		"--cors-origin":      func(c *Config) { c.PageOrigins = []string{"https://a.example/path"} },
		"--cloudflare-zone":  func(c *Config) { c.CloudflareZone = "a/b" },
		"--control-url":      func(c *Config) { c.ControlURL = "nothing" },
		"--cname-target":     func(c *Config) { c.CNAMETargets = []string{"_"} },
		"--proof":            func(c *Config) { c.Proof = "none" },
		"--quarantine":       func(c *Config) { c.Quarantine = time.Minute },
		"--dns01-provider":   func(c *Config) { c.DNS01Zone = "acme.example.com" },
		"--table-region":     func(c *Config) { c.Table = "shingle" },
		"--table: a process": func(c *Config) { c.Role = RoleEdge },
	} {
		c := good()
		wrong(&c)
		if err := c.validate(); err == nil || !strings.HasPrefix(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}
