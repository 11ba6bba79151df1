package aws

import (
	"context"
	"time"

	"github.com/shingle-proxy/shingle"
)

// CheckClientSecret returns an error when people are to sign in at a provider, and the
// client's secret is neither given nor in its parameter.
func (x *Deployer) CheckClientSecret(ctx context.Context) error {
	_, err := x.clientSecret(ctx)
	return err
}

// clientSecret returns what is in the parameter; empty when it is not there, or nobody
// needs it.
func (x *Deployer) clientSecret(ctx context.Context) (string, error) {
	d := x.Deployment
	if !d.Pages.SignIn.hasSecret() {
		return "", nil
	}
	name := d.clientSecretParameter()
	text, err := x.parameter(ctx, d.Home(), name)
	if err == nil && text == "" && x.ClientSecret == "" {
		return "", shingle.Errorf(shingle.CodeInvalid, "--oidc-client-secret: the parameter %s is not there yet: put the secret into SHINGLE_OIDC_CLIENT_SECRET for this deployment, or say --oidc-public-client when the client has none", name)
	}
	return text, err
}

// ensureClientSecret puts the client's secret, when it is given, into its parameter,
// where the function reads it: it is in no template, and nowhere else.
func (x *Deployer) ensureClientSecret(ctx context.Context) error {
	is, err := x.clientSecret(ctx)
	if err != nil || !x.Deployment.Pages.SignIn.hasSecret() || x.ClientSecret == "" || is == x.ClientSecret {
		return err
	}
	name, home := x.Deployment.clientSecretParameter(), x.Deployment.Home()
	if is == "" {
		if is, err = x.createParameter(ctx, home, name, x.ClientSecret, "the secret of the panel's OpenID Connect client"); err != nil {
			return err
		}
	}
	if is != x.ClientSecret {
		if err := x.replaceParameter(ctx, home, name, x.ClientSecret); err != nil {
			return err
		}
	}
	x.report(Event{At: time.Now(), Stack: home, Status: "written", Resource: name, Type: parameterType})
	return nil
}
