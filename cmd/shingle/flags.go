package main

import (
	"io"
	"log/slog"
	"time"

	"github.com/alecthomas/kong"
	"github.com/shingle-proxy/shingle/internal/app"
)

// processFlags are those of every process of Shingle.
type processFlags struct {
	Config   kong.ConfigFlag `placeholder:"FILE" help:"TOML file with these flags as keys." type:"existingfile"`
	LogLevel string          `enum:"debug,info,warn,error" default:"info" env:"SHINGLE_LOG_LEVEL" help:"What to log: debug, info, warn or error."`
	Report   time.Duration   `default:"1m" placeholder:"TIME" env:"SHINGLE_REPORT" help:"How often this process reports itself to the fleet, 10s to 1h: shingle edges is as old, and calls it silent after two and a half times as long. Each report is a write."`
	Metrics  string          `placeholder:"ADDRESS" env:"SHINGLE_METRICS" help:"Address for Prometheus, which scrapes /metrics there, such as 127.0.0.1:9090. Plain HTTP without a token; it tells numbers and no names, but keep it private. Default: none."`
}

// config begins the configuration.
func (f *processFlags) config(s streams, role app.Role) app.Config {
	return app.Config{Role: role, Metrics: f.Metrics, Report: f.Report, Version: version(), Logger: newLogger(s.Err, f.LogLevel)}
}

func newLogger(w io.Writer, name string) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(name)) // kong has checked it
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// edgeFlags are those of a process that serves visitors.
type edgeFlags struct {
	Target         string        `required:"" placeholder:"HOST" env:"SHINGLE_TARGET,TARGET_DOMAIN" help:"The product behind the domains: app.example.com, or a URL."`
	EdgeHTTPS      string        `name:"edge-https" default:":443" env:"SHINGLE_EDGE_HTTPS" help:"Address for visitors over HTTPS."`
	EdgeHTTP       string        `name:"edge-http" default:":80" env:"SHINGLE_EDGE_HTTP" help:"Address for visitors over HTTP."`
	HTTP3          bool          `name:"http3" negatable:"" default:"true" env:"SHINGLE_HTTP3" help:"Speak HTTP/3, by UDP on the address for HTTPS, and tell browsers so. --no-http3: do not."`
	PublicPort     int           `placeholder:"PORT" env:"SHINGLE_PUBLIC_PORT" help:"The port by which visitors reach HTTPS, when another program maps it."`
	HandshakeWait  time.Duration `name:"handshake-wait" default:"10s" placeholder:"TIME" env:"SHINGLE_HANDSHAKE_WAIT" help:"How long a visitor's TLS handshake waits for a certificate that is not there yet, 1s to 1m. The issuance goes on after that."`
	ShutdownDelay  time.Duration `name:"shutdown-delay" default:"0s" placeholder:"TIME" env:"SHINGLE_SHUTDOWN_DELAY" help:"How long this edge serves on after it was told to end, up to 1h, while /health answers 503: as long as your balancers take to lead visitors elsewhere."`
	GracePeriod    time.Duration `name:"grace-period" default:"10s" placeholder:"TIME" env:"SHINGLE_GRACE_PERIOD" help:"How long requests under way may take to finish after that, 1s to 1h, when nobody is let in any more. A second signal ends them at once."`
	CertMemory     int           `name:"cert-memory" default:"64" placeholder:"MIB" env:"SHINGLE_CERT_MEMORY" help:"MiB of memory for certificates, 450 of them in each; those that are visited stay."`
	SettingsMemory int           `name:"settings-memory" default:"256" placeholder:"MIB" env:"SHINGLE_SETTINGS_MEMORY" help:"MiB of memory for the settings of domains, equal ones once. Domains for whose settings there is no room are not served."`
	LocalCopy      int           `name:"local-copy" default:"512" placeholder:"MIB" env:"SHINGLE_LOCAL_COPY" help:"MiB in --data for a sealed copy of the certificates that this edge has to do with, 128 of them in each, from which it serves when the store does not answer. 0: none."`
	Poll           time.Duration `default:"500ms" placeholder:"TIME" env:"SHINGLE_POLL" help:"How often this edge asks the store for changed domains, 100ms to 10s; for news of certificates it asks a sixtieth as often. Each question costs half a read unit in DynamoDB."`
	Traffic        time.Duration `default:"15m" placeholder:"TIME" env:"SHINGLE_TRAFFIC" help:"How often this edge writes what visitors asked of each domain, for domains traffic: 1m to 1h, a part of an hour without a rest. Of many domains at once it is written less often, each hour at least."`
	AskURL         string        `name:"ask-url" placeholder:"URL" env:"SHINGLE_ASK_URL,DOMAIN_SERVICE_ENDPOINT" help:"Service that answers GET URL?domain=NAME: 2xx adds a domain that is not there yet, 4xx does not. A domain deleted here comes back while the service allows it."`
	AccessLog      bool          `env:"SHINGLE_ACCESS_LOG" help:"Log each request."`
}

func (f *edgeFlags) apply(c *app.Config) {
	c.Target, c.EdgeHTTPS, c.EdgeHTTP, c.PublicPort = f.Target, f.EdgeHTTPS, f.EdgeHTTP, f.PublicPort
	c.HandshakeWait, c.Poll, c.AskURL, c.AccessLog = f.HandshakeWait, f.Poll, f.AskURL, f.AccessLog
	c.HTTP3, c.Traffic, c.ShutdownDelay, c.GracePeriod = f.HTTP3, f.Traffic, f.ShutdownDelay, f.GracePeriod
	c.CertMemory, c.SettingsMemory, c.LocalCopy = f.CertMemory, f.SettingsMemory, f.LocalCopy
}

// originFlags are those of each process that has to do with origins.
type originFlags struct {
	Origins []string `placeholder:"RULE" env:"SHINGLE_ORIGINS" help:"What origins domains may have besides the target: public (the Internet; the default), none, an address or a network such as 10.1.0.0/16, a host, or *.HOST for all below it. Several: repeat it, or put , between them. Hosts named here may have private addresses."`
}

func (f *originFlags) apply(c *app.Config) { c.Origins = f.Origins }

// instanceFlags are those of an edge that shingle deploy has made.
type instanceFlags struct {
	Group          string   `name:"aws-group" placeholder:"NAME" env:"SHINGLE_AWS_GROUP" help:"Auto Scaling group of which this machine is an instance: it puts itself before visitors when it can serve, and leaves before it is terminated. shingle deploy sets this and the next ones."`
	Stack          string   `name:"aws-stack" placeholder:"ARN" env:"SHINGLE_AWS_STACK" help:"CloudFormation stack of the group."`
	EndpointGroups []string `name:"aws-endpoint-groups" placeholder:"ARN" env:"SHINGLE_AWS_ENDPOINT_GROUPS" help:"Endpoint groups of Global Accelerator to enter."`
	Addresses      string   `name:"aws-addresses" placeholder:"STAGE" env:"SHINGLE_AWS_ADDRESSES" help:"Stage of whose elastic addresses one is taken."`
	Log            string   `name:"aws-log" placeholder:"GROUP" env:"SHINGLE_AWS_LOG" help:"CloudWatch log group that hears once a minute how this edge is, as metrics."`
	stageFlag
	Endpoint string `name:"instance-endpoint" placeholder:"URL" env:"SHINGLE_INSTANCE_ENDPOINT" hidden:"" help:"For tests: in place of AWS's."`
	Metadata string `name:"instance-metadata" placeholder:"URL" env:"SHINGLE_INSTANCE_METADATA" hidden:"" help:"For tests: in place of the instance's metadata."`
}

// stageFlag names a stage in its metrics.
type stageFlag struct {
	MetricsStage string `name:"aws-stage" placeholder:"STAGE" env:"SHINGLE_AWS_STAGE" help:"Stage that metrics for CloudWatch are of."`
}

func (f *instanceFlags) apply(c *app.Config) {
	c.Instance.Log, c.Stage = f.Log, f.MetricsStage
	c.Instance.Group, c.Instance.Stack, c.Instance.EndpointGroups, c.Instance.Stage = f.Group, f.Stack, f.EndpointGroups, f.Addresses
	c.Instance.Endpoint, c.Instance.MetadataEndpoint = f.Endpoint, f.Metadata
}

// acmeFlags are those of a process that obtains certificates: each does, for a
// handshake may wait for one.
type acmeFlags struct {
	ACMECA     []string `name:"acme-ca" sep:";" placeholder:"CA" default:"letsencrypt" env:"SHINGLE_ACME_CA" help:"letsencrypt, letsencrypt-staging, google, zerossl or a directory URL, with settings behind it: 'zerossl eab-key-id=ID eab-key-file=FILE', 'letsencrypt profile=shortlived', chain=NAME, root=FILE. Several, in the order in which they are tried: repeat it, or put ; between them."`
	ACMERoot   string   `name:"acme-root" placeholder:"FILE" env:"SHINGLE_ACME_ROOT" help:"PEM file that verifies the HTTPS of CAs without root=FILE." type:"path"`
	Email      string   `placeholder:"ADDRESS" env:"SHINGLE_EMAIL,LETSENCRYPT_EMAIL_ADDRESS" help:"Where the CA may write to."`
	RSAKeys    bool     `name:"rsa-keys" env:"SHINGLE_RSA_KEYS" help:"Make RSA keys for certificates, for visitors who know no ECDSA."`
	AgreeTerms bool     `env:"SHINGLE_AGREE_TERMS" help:"You agree to the CA's terms of service."`

	DNS01Zone     string   `name:"dns01-zone" placeholder:"NAME" env:"SHINGLE_DNS01_ZONE" help:"Zone of yours, such as acme.example.com, to which customers delegate DNS-01 by a CNAME record: for wildcards, and for names whose ports the CA cannot reach."`
	DNS01Provider string   `name:"dns01-provider" placeholder:"NAME" env:"SHINGLE_DNS01_PROVIDER" help:"Who hosts --dns01-zone: route53, or route53:ZONEID."`
	Resolver      []string `placeholder:"IP" env:"SHINGLE_RESOLVER" help:"DNS resolver that domains are checked by, instead of the system's. Several: in the order in which they are asked."`
}

func (f *acmeFlags) apply(c *app.Config) {
	c.ACMECAs, c.ACMERoot, c.ACMEEmail, c.RSAKeys, c.AgreeTerms = f.ACMECA, f.ACMERoot, f.Email, f.RSAKeys, f.AgreeTerms
	c.DNS01Zone, c.DNS01Provider, c.Resolvers = f.DNS01Zone, f.DNS01Provider, f.Resolver
}

// controlFlags are those of a process with the API.
type controlFlags struct {
	Control  string `default:"127.0.0.1:8090" env:"SHINGLE_CONTROL" help:"Address of the panel and the API. Plain HTTP: keep it private."`
	AskToken string `placeholder:"SECRET" env:"SHINGLE_ASK_TOKEN" help:"What /ask demands as its token; without it anybody who reaches the API may ask."`

	RateLimit           int      `default:"500" placeholder:"N" env:"SHINGLE_RATE_LIMIT" help:"Requests a second that an API token may make, those of ten seconds at once; a tenant's a tenth. 0: any number."`
	MaxDomainsPerTenant int      `placeholder:"N" env:"SHINGLE_MAX_DOMAINS_PER_TENANT" help:"Domains that a tenant may have, whoever adds them: what a stolen token or a script of a customer's can make is bounded by it. 0, the default: any number."`
	MaxDomains          []string `placeholder:"TENANT=N" env:"SHINGLE_MAX_DOMAINS" help:"The same for one tenant, such as acme=5000; 0: any number. Several: repeat it, or put , between them."`

	CORSOrigin []string `name:"cors-origin" placeholder:"URL" env:"SHINGLE_CORS_ORIGIN" help:"Origin of web pages that may call the API from a browser, such as https://panel.example.com. Several: repeat it."`

	CloudflareZone string `name:"cloudflare-zone" placeholder:"ID" env:"SHINGLE_CLOUDFLARE_ZONE" help:"Answer programs that are written for Cloudflare's API for custom hostnames, below /client/v4, when they name this zone."`

	ControlURL    string `name:"control-url" placeholder:"URL" env:"SHINGLE_CONTROL_URL" help:"Where customers reach --control, such as https://setup.example.com: for the links of domains setup-link, and for --oidc-issuer. Default: where the request for a link reached it."`
	ServiceName   string `name:"service-name" placeholder:"NAME" env:"SHINGLE_SERVICE_NAME" help:"What customers know your product as: set-up pages and e-mails name it."`
	Support       string `placeholder:"ADDRESS" env:"SHINGLE_SUPPORT" help:"E-mail address or URL of your help, which set-up pages name."`
	DomainConnect string `name:"domain-connect" placeholder:"DOMAIN" env:"SHINGLE_DOMAIN_CONNECT" help:"Your domain, by which DNS providers that speak Domain Connect know your templates: they then enter customers' records for them. shingle domains connect-setup says what to publish."`

	OIDCIssuer       string   `name:"oidc-issuer" placeholder:"URL" env:"SHINGLE_OIDC_ISSUER" help:"OpenID Connect provider at which people may sign in to the panel, instead of with a token; --control-url says where that is."`
	OIDCClientID     string   `name:"oidc-client-id" placeholder:"ID" env:"SHINGLE_OIDC_CLIENT_ID" help:"What the provider calls this panel. Register there, as where it sends people back to, --control-url with /panel/sign-in/elsewhere/end behind it."`
	OIDCClientSecret string   `name:"oidc-client-secret" placeholder:"SECRET" env:"SHINGLE_OIDC_CLIENT_SECRET" help:"The secret that goes with it, better in the environment, where others on the machine do not see it; or parameter:NAME, an encrypted parameter of AWS Systems Manager that has it."`
	OIDCRole         []string `name:"oidc-role" placeholder:"ROLE=WHO" env:"SHINGLE_OIDC_ROLE" help:"Who may sign in, as what: admin=you@example.com, read=*@example.com, operator=group:ops, tenant:acme=*@acme.example. Several: the first that fits."`

	PrivateWebhooks bool `name:"private-webhooks" env:"SHINGLE_PRIVATE_WEBHOOKS" help:"Let webhooks be in a private network, and plain HTTP. Whoever may set up a webhook can then reach what this machine can."`

	CNAMETarget []string      `name:"cname-target" placeholder:"HOST" env:"SHINGLE_CNAME_TARGET" help:"The name of yours that customers' CNAME records lead to, such as edge.example.com. Several: the first is what customers are told."`
	Proof       string        `enum:"tenant,pointing" default:"tenant" env:"SHINGLE_PROOF" help:"What proves that a name that is new here is its tenant's: tenant, a CNAME record to the tenant's own name below --cname-target, a TXT record or a file; pointing, that it leads here in any way, as a record that somebody left behind does. Domains without a tenant need no proof."`
	Quarantine  time.Duration `default:"720h" placeholder:"TIME" env:"SHINGLE_QUARANTINE" help:"How long a deleted name is remembered: until then another tenant has to prove control of it in any case."`
	EdgeAddress []string      `name:"edge-address" placeholder:"IP" env:"SHINGLE_EDGE_ADDRESS" help:"Address of your edges, for domains that cannot have a CNAME record. Several: repeat it, or put , between them."`
}

func (f *controlFlags) apply(c *app.Config) {
	c.Control, c.AskToken, c.PrivateWebhooks = f.Control, f.AskToken, f.PrivateWebhooks
	c.OIDC = app.OIDCConfig{Issuer: f.OIDCIssuer, ClientID: f.OIDCClientID, ClientSecret: f.OIDCClientSecret, Roles: f.OIDCRole}
	c.MaxDomains, c.MaxDomainsOf = f.MaxDomainsPerTenant, f.MaxDomains
	c.RateLimit, c.PageOrigins, c.CloudflareZone = f.RateLimit, f.CORSOrigin, f.CloudflareZone
	c.ControlURL, c.Service, c.Support, c.DomainConnect = f.ControlURL, f.ServiceName, f.Support, f.DomainConnect
	c.CNAMETargets, c.EdgeAddresses, c.Proof, c.Quarantine = f.CNAMETarget, f.EdgeAddress, f.Proof, f.Quarantine
}

// storeFlags say where everything is kept.
type storeFlags struct {
	Data         string `default:"/var/lib/shingle" env:"SHINGLE_DATA" help:"Folder for everything that is kept on this machine." type:"path"`
	MasterKey    string `placeholder:"KEY" default:"file" env:"SHINGLE_MASTER_KEY" help:"What protects the private keys in the store, the same for the whole fleet: file (seal.key in --data), file:PATH, kms:KEY with the ARN or alias of an AWS KMS key (ARN@REGION: by its replica there), or parameter:NAME with an encrypted parameter of AWS Systems Manager."`
	SSMEndpoint  string `name:"ssm-endpoint" placeholder:"URL" env:"SHINGLE_SSM_ENDPOINT" hidden:"" help:"For tests: in place of AWS's."`
	Table        string `placeholder:"NAME" env:"SHINGLE_TABLE,TABLE_NAME" help:"DynamoDB table that keeps domains and certificates for a fleet, instead of a database in --data."`
	TableRegion  string `placeholder:"REGION" env:"SHINGLE_TABLE_REGION,TABLE_REGION" help:"Region of the table, or of its replica near this machine."`
	HomeRegion   string `placeholder:"REGION" env:"SHINGLE_HOME_REGION" help:"Region in which a global table is written: the same for the whole fleet. Default: --table-region."`
	Endpoint     string `name:"dynamodb-endpoint" placeholder:"URL" env:"SHINGLE_DYNAMODB_ENDPOINT" hidden:"" help:"For tests: in place of AWS's endpoint in --table-region."`
	Blobs        string `placeholder:"PLACE" env:"SHINGLE_BLOBS" help:"Where certificates and all else but the domains are kept, if not with the domains: s3://BUCKET/PREFIX, or files:FOLDER for one machine."`
	BlobsRegion  string `placeholder:"REGION" env:"SHINGLE_BLOBS_REGION" help:"Region of the bucket. Default: that of the table, or of the AWS environment."`
	S3Endpoint   string `name:"s3-endpoint" placeholder:"URL" env:"SHINGLE_S3_ENDPOINT" help:"URL of an S3 server other than AWS's, which must know conditional writes and deletes."`
	HomeEndpoint string `name:"home-dynamodb-endpoint" placeholder:"URL" env:"SHINGLE_HOME_DYNAMODB_ENDPOINT" hidden:"" help:"For tests: in place of AWS's endpoint in --home-region."`
}

func (f *storeFlags) apply(c *app.Config) {
	c.Data, c.MasterKey, c.Table, c.TableRegion, c.HomeRegion = f.Data, f.MasterKey, f.Table, f.TableRegion, f.HomeRegion
	c.DynamoDBEndpoint, c.HomeDynamoDBEndpoint, c.SSMEndpoint = f.Endpoint, f.HomeEndpoint, f.SSMEndpoint
	c.Blobs, c.BlobsRegion, c.S3Endpoint = f.Blobs, f.BlobsRegion, f.S3Endpoint
}
