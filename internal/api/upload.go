package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shingle-proxy/shingle"
)

// NewCertificate is a certificate of the operator's own.
type NewCertificate struct {
	Chain  string `json:"chain" maxLength:"32768" example:"-----BEGIN CERTIFICATE-----\n..." doc:"PEM: the certificate and its intermediates, in any order; a root is left out"`
	Key    string `json:"key" maxLength:"16384" example:"-----BEGIN PRIVATE KEY-----\n..." doc:"PEM: the private key, ECDSA P-256, P-384 or RSA with 2048 to 4096 bits, not encrypted. It is sealed in the store, and never shown again"`
	Keep   bool   `json:"keep,omitempty" doc:"Do not replace it by ACME while it is valid; otherwise it is renewed as any other"`
	Issuer string `json:"issuer,omitempty" maxLength:"2048" doc:"Directory URL of the CA that issued it, if it is one that is set up here: it is asked when to renew (ARI)"`
}

type uploadInput struct {
	HostInput

	IfNewer bool `query:"if_newer" doc:"Leave a valid certificate alone that was issued later, or is to be kept: 409"`
	DryRun  bool `query:"dry_run" doc:"Check everything and store nothing; the answer is as it would be"`
	Body    NewCertificate
}

func (s *server) uploadRoute(a huma.API, path string) {
	o := operation("put-certificate", http.MethodPut, path, "Upload a certificate of your own",
		http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	o.Description = "It takes the place of whatever is there, on every edge within half a minute. The domain must exist, and may be paused."
	register(s, a, o, s.putCertificate)
}

func (s *server) putCertificate(ctx context.Context, in *uploadInput) (*certificateAnswer, error) {
	host, err := hostInPath(in.Host)
	if err != nil {
		return nil, err
	}
	if err := s.ownHost(ctx, host); err != nil {
		return nil, err
	}
	c, err := s.Certificates.Upload(ctx, host, shingle.Upload{
		Chain: in.Body.Chain, Key: in.Body.Key, Keep: in.Body.Keep, Issuer: in.Body.Issuer,
		By: caller(ctx), IfNewer: in.IfNewer, DryRun: in.DryRun,
	})
	if err != nil {
		return nil, err
	}
	if !in.DryRun {
		s.checkSoon(ctx, host)
	}
	return &certificateAnswer{showCertificate(c)}, nil
}
