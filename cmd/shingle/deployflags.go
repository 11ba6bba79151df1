package main

import (
	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/app"
	"github.com/shingle-proxy/shingle/internal/aws"

	"github.com/alecthomas/kong"
)

// deploymentFlags say what a stage on AWS is made of.
type deploymentFlags struct {
	Config       kong.ConfigFlag `placeholder:"FILE" help:"TOML file with these flags as keys." type:"existingfile"`
	Stage        string          `default:"prd" help:"Name of the stage: it is in the name of everything."`
	Region       []string        `default:"us-east-1" placeholder:"REGION" help:"Region with edges; REGION:2 has two of them. Several: the first is the home region, with the control plane."`
	Front        string          `default:"route53" enum:"route53,accelerator" help:"How visitors find the nearest edge: route53, by latency records, or accelerator, by AWS Global Accelerator, which costs 18 USD a month more."`
	InstanceType string          `default:"t4g.nano" placeholder:"TYPE" help:"Of the edges: t4g.nano, t4g.micro or t4g.small."`
	AWSMasterKey string          `name:"aws-master-key" default:"parameter" enum:"parameter,kms" help:"What protects the private keys: an encrypted parameter, which is free, or a KMS key, for 1 USD a region and month."`
	Zone         string          `placeholder:"NAME" help:"DNS zone in Route 53, such as example.com. With --front accelerator it may be left out: then you set the records of --edge-name yourself, wherever they are."`
	ZoneID       string          `placeholder:"ID" help:"ID of the zone, when it is there already."`
	EdgeName     string          `placeholder:"HOST" help:"What customers' CNAME records lead to. Default: edge.ZONE."`
	Product      string          `name:"target" placeholder:"HOST" help:"The product behind the domains: app.example.com, or a URL."`
	Email        string          `placeholder:"ADDRESS" help:"Where the CA and the alarms write to."`
	SSHFrom      string          `name:"ssh-from" placeholder:"CIDR" help:"Network that may reach SSH on the edges. Default: none; use Session Manager."`
	Set          []string        `name:"set" sep:"none" placeholder:"NAME=VALUE" help:"Flag of shingle control or shingle edge, for those processes of the stage that know it: quarantine=2160h, acme-ca=letsencrypt profile=shortlived. Templates show it: no secrets. Several: repeat it; in a file: set = [...]."`
	pagesFlags
}

// pagesFlags say what the control plane shows to people: those of shingle control, in the
// words of a stage.
type pagesFlags struct {
	ControlURL    string   `name:"control-url" placeholder:"URL" help:"Where people reach the API, set-up pages and the panel, such as https://shingle.example.com. Default: the function's own URL, which deploy prints."`
	ServiceName   string   `name:"service-name" placeholder:"NAME" help:"What customers know your product as: set-up pages and e-mails name it."`
	Support       string   `placeholder:"ADDRESS" help:"E-mail address or URL of your help, which set-up pages name."`
	DomainConnect string   `name:"domain-connect" placeholder:"DOMAIN" help:"Your domain, by which DNS providers that speak Domain Connect know your templates; shingle domains connect-setup says what to publish."`
	EdgeAddress   []string `name:"edge-address" placeholder:"IP" help:"Address that customers are told for domains which cannot have a CNAME record: those of the accelerator, or of your edges. Several: repeat it."`

	OIDCIssuer       string   `name:"oidc-issuer" placeholder:"URL" help:"OpenID Connect provider at which people may sign in to the panel, at --control-url."`
	OIDCClientID     string   `name:"oidc-client-id" placeholder:"ID" help:"What the provider calls this panel. Register there, as where it sends people back to, --control-url with /panel/sign-in/elsewhere/end behind it."`
	OIDCPublicClient bool     `name:"oidc-public-client" help:"The client has no secret."`
	OIDCRole         []string `name:"oidc-role" placeholder:"ROLE=WHO" help:"Who may sign in, as what: admin=you@example.com, read=*@example.com, operator=group:ops, tenant:acme=*@acme.example. Several: the first that fits."`
}

// pages returns what the flags say, or what is wrong with them.
func (f *pagesFlags) pages() (aws.Pages, error) {
	c := app.Config{
		ControlURL: f.ControlURL, Service: f.ServiceName, Support: f.Support, DomainConnect: f.DomainConnect,
		OIDC: app.OIDCConfig{Issuer: f.OIDCIssuer, ClientID: f.OIDCClientID, Roles: f.OIDCRole},
	}
	if f.ControlURL != "" || f.OIDCIssuer == "" { // otherwise the deployment has a better error
		if err := c.ValidatePages(); err != nil {
			return aws.Pages{}, err
		}
	}
	return aws.Pages{
		URL: c.ControlURL, Service: c.Service, Support: c.Support, DomainConnect: c.DomainConnect, EdgeAddresses: f.EdgeAddress,
		SignIn: aws.SignIn{Issuer: f.OIDCIssuer, ClientID: f.OIDCClientID, Public: f.OIDCPublicClient, Roles: f.OIDCRole},
	}, nil
}

func (f *deploymentFlags) deployment() (*aws.Deployment, error) {
	d := &aws.Deployment{
		Stage: f.Stage, InstanceType: f.InstanceType, Front: aws.Front(f.Front), MasterKey: aws.MasterKey(f.AWSMasterKey),
		Zone: f.Zone, ZoneID: f.ZoneID, Name: f.EdgeName, Target: f.Product, Email: f.Email, SSHFrom: f.SSHFrom,
	}
	if d.Name == "" && d.Zone != "" {
		d.Name = "edge." + d.Zone
	}
	for _, s := range f.Region {
		r, err := aws.ParseRegion(s)
		if err != nil {
			return nil, shingle.Errorf(shingle.CodeInvalid, "--region: %s", shingle.MessageOf(err))
		}
		d.Regions = append(d.Regions, r)
	}
	var err error
	if d.Settings, err = settings(f.Set); err != nil {
		return nil, err
	}
	d.Pages, err = f.pages()
	return d, err
}
