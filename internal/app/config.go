// Package app composes the roles of the binary out of their parts. It is the
// only package that knows more than one of them.
package app

import (
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/dns01"
	"github.com/shingle-proxy/shingle/internal/ec2"
)

// Config is what a machine that serves needs to know.
type Config struct {
	Role Role // which parts to run

	Target     string   // the product behind the custom domains, as [shingle.ParseOrigin] takes it
	Origins    []string // what other origins domains may have, as [shingle.ParseOriginPolicy] takes it
	EdgeHTTPS  string   // address to listen on for visitors
	EdgeHTTP   string   // address to listen on for redirects, /health and HTTP-01
	Control    string   // address to listen on for the API
	HTTP3      bool     // listen on EdgeHTTPS by UDP too, for HTTP/3
	PublicPort int      // the port by which visitors reach EdgeHTTPS; 0: the one listened on
	Data       string   // folder of the database, the sealing key, the first API token and an edge's local copies

	// Table is a DynamoDB table that keeps everything instead of the database in
	// Data, TableRegion the region of it or of its replica that is read from, and
	// HomeRegion, the same for the whole fleet, that in which it is written;
	// empty: TableRegion. The endpoints are for tests: URLs in place of AWS's.
	Table                string
	TableRegion          string
	HomeRegion           string
	DynamoDBEndpoint     string
	HomeDynamoDBEndpoint string

	// Blobs is where all but the domains and the API tokens is kept, if not with
	// them: "s3://BUCKET/PREFIX", or "files:FOLDER" on one machine. BlobsRegion is
	// the bucket's; empty: HomeRegion, TableRegion, or that of the environment.
	// S3Endpoint is the URL of a server other than AWS's.
	Blobs       string
	BlobsRegion string
	S3Endpoint  string

	ACMECAs    []string // in the order in which they are tried, each as parseCA has it
	ACMERoot   string   // file of PEM certificates that verify the HTTPS of CAs without a root of their own; empty: the system's
	ACMEEmail  string   // where the CA may write to; may be empty
	RSAKeys    bool     // RSA keys for certificates, not ECDSA
	AgreeTerms bool     // the operator agrees to the CA's terms of service

	// MasterKey wraps the keys that seal private keys in the store: "file" or empty
	// for seal.key in Data, "file:PATH" for another, "kms:" and the ARN, ID or alias
	// of an AWS KMS key (ARN@REGION: by its replica in that region), or "parameter:" and
	// the name of an encrypted parameter of AWS Systems Manager. SSMEndpoint, for tests, is a URL in place of AWS's.
	MasterKey   string
	SSMEndpoint string

	CNAMETargets  []string // names that customers' CNAME records lead to, the first being what they are told
	EdgeAddresses []string // IP addresses of the edges, for domains that cannot have a CNAME record
	Resolvers     []string // DNS resolvers of the domain check, address or address:port; none: the system's

	Proof      string        // what proves control of a name that is new here: ProofTenant, the default, or ProofPointing
	Quarantine time.Duration // for which a deleted name is remembered; 0: 30 days

	DNS01Zone     string // zone of ours in which DNS-01 validations are answered, such as acme.example.com; empty: none
	DNS01Provider string // who hosts it: "route53", or "route53:ZONEID"

	HandshakeWait  time.Duration // for a certificate that is not there yet; 0: 10 s
	ShutdownDelay  time.Duration // from the wish to end, in which /health says 503, to the end of the listeners
	GracePeriod    time.Duration // for requests under way from then on; 0: 10 s
	Poll           time.Duration // how often an edge asks for changed domains; 0: 500 ms
	CertMemory     int           // MiB for certificates in memory; 0: 64
	SettingsMemory int           // MiB for the settings of domains; 0: 256
	LocalCopy      int           // MiB in Data for an edge's copy of certificates; 0: none

	// AskURL is a service that is asked about names that the store does not
	// have, by GET AskURL?domain=NAME: 2xx adds the domain, 4xx is a no, and all
	// else is no answer. It may hold a query and a user with a password. A domain
	// that is deleted here comes back if the service still allows it. Empty: the
	// store alone decides.
	AskURL string

	// Instance, with a Group, is the Auto Scaling group that an edge is an instance
	// of.
	Instance ec2.Config

	Stage    string    // of an installation on AWS, in its metrics
	Measures io.Writer // where a function tells them, a line of JSON each time; nil: nowhere

	OnLambda bool // the process is called, and stands still between calls

	PrivateWebhooks bool // webhooks may be on this machine or in a private network, and plain HTTP

	RateLimit int // requests a second that an API token may make; 0: any number
	// MaxDomains is how many domains a tenant may have, 0 being any number; MaxDomainsOf says
	// TENANT=N for those that may have another number.
	MaxDomains   int
	MaxDomainsOf []string
	PageOrigins  []string // of web pages that may call the API from a browser

	// CloudflareZone is the zone ID by which programs written for Cloudflare's API for
	// custom hostnames find the domains; empty: that API is off.
	CloudflareZone string
	OIDC           OIDCConfig

	// ControlURL is where customers, and the operator's pages, reach the API: for links
	// to set-up pages. Empty: where a request reached it.
	ControlURL string
	Service    string // what customers know the product as, for set-up pages; empty: it is not named
	// DomainConnect is the operator's domain by which DNS providers that speak Domain
	// Connect know its templates, and in which its key is published; empty: it is off.
	DomainConnect string
	Support       string // URL or e-mail address of the help that those name; empty: none

	AskToken  string        // what /ask demands; empty: nothing
	Report    time.Duration // how often the process reports itself; 0: 1 min
	Traffic   time.Duration // how often an edge writes what it counted by domain; 0: 15 min
	Metrics   string        // address to listen on for Prometheus; empty: none
	AccessLog bool          // one line a request
	Version   string
	Logger    *slog.Logger

	world      playedWorld
	unreadable *shingle.Unreadable // told of records that cannot be read; nil: nobody is
}

// playedWorld is what `shingle dev` puts in place of the Internet for the domain
// check; nothing elsewhere.
type playedWorld struct {
	rootServers []string
	private     []netip.Prefix
	roots       string         // PEM file
	dns01       dns01.Provider // of DNS01Zone
}

// originPolicy is what validate has checked.
func (c *Config) originPolicy() shingle.OriginPolicy {
	p, _ := shingle.ParseOriginPolicy(c.Origins)
	return p
}

// snapshot is the file from which an edge starts without a store.
func (c *Config) snapshot() string { return c.file("edge", "table") }

func (c *Config) file(elem ...string) string {
	return filepath.Join(append([]string{c.Data}, elem...)...)
}
