package aws

import (
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Pages is what the control plane shows to people: set-up pages to customers, and the
// panel to those who sign in at an OpenID Connect provider.
type Pages struct {
	URL           string   `json:",omitempty"` // where people reach the control plane; empty: the function's own URL
	Service       string   `json:",omitempty"` // what customers know the product as
	Support       string   `json:",omitempty"` // where they find help: an e-mail address or a URL
	DomainConnect string   `json:",omitempty"` // the operator's domain, by which DNS providers know its templates; empty: off
	EdgeAddresses []string `json:",omitempty"` // for domains that cannot have a CNAME record
	SignIn        SignIn   `json:",omitzero"`
}

// SignIn has people sign in to the panel at an OpenID Connect provider. The client's
// secret is no part of it: that is in an encrypted parameter, see [Deployer].
type SignIn struct {
	Issuer   string   `json:",omitempty"` // empty: nobody does
	ClientID string   `json:",omitempty"`
	Public   bool     `json:",omitempty"` // the client has no secret
	Roles    []string `json:",omitempty"` // who may sign in, as what
}

// hasSecret reports whether there is a secret that the control plane is to read.
func (s *SignIn) hasSecret() bool { return s.Issuer != "" && !s.Public }

// Bounds that AWS sets, in bytes.
const (
	maxEnvironment = 4096 // of a function, names and values
	maxRecord      = 4096 // of a parameter, which has the deployment
)

func (d *Deployment) validatePages(f *faults) {
	p := &d.Pages
	if u, err := url.Parse(p.URL); p.URL != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		f.add("control-url", "%q is no URL that begins with https://, such as https://shingle.example.com", p.URL)
	}
	for _, a := range p.EdgeAddresses {
		if _, err := netip.ParseAddr(a); err != nil {
			f.add("edge-address", "%q is no IP address", a)
		}
	}
	switch s := &p.SignIn; {
	case s.Issuer == "" && (s.ClientID != "" || s.Public || len(s.Roles) > 0):
		f.add("oidc-issuer", "name the provider at which people sign in")
	case s.Issuer != "" && p.URL == "":
		f.add("control-url", "with --oidc-issuer, say at which address people reach the panel: deploy once without, and then again with the address of the API that is printed, or with one of yours that leads there")
	}
	if len(*f) > 0 {
		return // what is wrong has no size
	}
	size := 0
	for name, value := range d.functionEnvironment() {
		size += len(name) + len(value)
	}
	if size > maxEnvironment || len(d.recorded()) > maxRecord {
		f.add("oidc-role", "with all other settings, --set among them, these are more than a function and a parameter of AWS take, 4096 bytes: name groups instead of people")
	}
}

// functionEnvironment is that of the function.
func (d *Deployment) functionEnvironment() map[string]string {
	e := map[string]string{"SHINGLE_DATA": "/tmp/shingle"}
	maps.Copy(e, d.environment(d.Home()))
	p := &d.Pages
	for name, value := range map[string]string{
		"SHINGLE_CONTROL_URL": p.URL, "SHINGLE_SERVICE_NAME": p.Service, "SHINGLE_SUPPORT": p.Support,
		"SHINGLE_DOMAIN_CONNECT": p.DomainConnect, "SHINGLE_EDGE_ADDRESS": listed(p.EdgeAddresses),
		"SHINGLE_OIDC_ISSUER": p.SignIn.Issuer, "SHINGLE_OIDC_CLIENT_ID": p.SignIn.ClientID, "SHINGLE_OIDC_ROLE": listed(p.SignIn.Roles),
	} {
		if value != "" {
			e[name] = value
		}
	}
	if p.SignIn.hasSecret() {
		e["SHINGLE_OIDC_CLIENT_SECRET"] = "parameter:" + d.clientSecretParameter()
	}
	maps.Copy(e, d.Settings.Control)
	return e
}

// listed is a list as a flag takes it from the environment.
func listed(list []string) string {
	escaped := slices.Clone(list)
	for i, s := range escaped {
		escaped[i] = strings.ReplaceAll(s, ",", `\,`)
	}
	return strings.Join(escaped, ",")
}

// clientSecretParameter is the name of the parameter with the secret of the OpenID Connect
// client, in the home region.
func (d *Deployment) clientSecretParameter() string {
	return "/shingle/" + d.Stage + "/oidc-client-secret"
}

// clientSecretRights are those on that parameter.
func (d *Deployment) clientSecretRights() []props {
	if !d.Pages.SignIn.hasSecret() {
		return nil
	}
	return []props{statement([]string{"ssm:GetParameter"}, sub("arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter"+d.clientSecretParameter()))}
}
