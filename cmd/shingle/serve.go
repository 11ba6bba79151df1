package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/alecthomas/kong"
	"github.com/shingle-proxy/shingle/internal/app"
)

type serveCmd struct {
	Config        kong.ConfigFlag `placeholder:"FILE" help:"TOML file with these flags as keys." type:"existingfile"`
	Target        string          `required:"" placeholder:"HOST" env:"SHINGLE_TARGET,TARGET_DOMAIN" help:"The product behind the domains: app.example.com, or a URL."`
	ACMECA        []string        `name:"acme-ca" sep:";" placeholder:"CA" default:"letsencrypt" env:"SHINGLE_ACME_CA" help:"letsencrypt, letsencrypt-staging, google, zerossl or a directory URL, with settings behind it: 'zerossl eab-key-id=ID eab-key-file=FILE', 'letsencrypt profile=shortlived', chain=NAME, root=FILE. Several, in the order in which they are tried: repeat it, or put ; between them."`
	ACMERoot      string          `name:"acme-root" placeholder:"FILE" env:"SHINGLE_ACME_ROOT" help:"PEM file that verifies the HTTPS of CAs without root=FILE." type:"path"`
	Email         string          `placeholder:"ADDRESS" env:"SHINGLE_EMAIL,LETSENCRYPT_EMAIL_ADDRESS" help:"Where the CA may write to."`
	RSAKeys       bool            `name:"rsa-keys" env:"SHINGLE_RSA_KEYS" help:"Make RSA keys for certificates, for visitors who know no ECDSA."`
	AgreeTerms    bool            `env:"SHINGLE_AGREE_TERMS" help:"You agree to the CA's terms of service."`
	HandshakeWait time.Duration   `name:"handshake-wait" default:"10s" placeholder:"TIME" env:"SHINGLE_HANDSHAKE_WAIT" help:"How long a visitor's TLS handshake waits for a certificate that is not there yet, 1s to 1m. The issuance goes on after that."`
	EdgeHTTPS     string          `name:"edge-https" default:":443" env:"SHINGLE_EDGE_HTTPS" help:"Address for visitors over HTTPS."`
	EdgeHTTP      string          `name:"edge-http" default:":80" env:"SHINGLE_EDGE_HTTP" help:"Address for visitors over HTTP."`
	Control       string          `default:"127.0.0.1:8090" env:"SHINGLE_CONTROL" help:"Address of the API. Plain HTTP: keep it private."`
	PublicPort    int             `placeholder:"PORT" env:"SHINGLE_PUBLIC_PORT" help:"The port by which visitors reach HTTPS, when another program maps it."`
	Data          string          `default:"/var/lib/shingle" env:"SHINGLE_DATA" help:"Folder for everything that is kept." type:"path"`
	AskToken      string          `placeholder:"SECRET" env:"SHINGLE_ASK_TOKEN" help:"What /ask demands as its token; without it anybody who reaches the API may ask."`
	AskURL        string          `name:"ask-url" placeholder:"URL" env:"SHINGLE_ASK_URL,DOMAIN_SERVICE_ENDPOINT" help:"Service that answers GET URL?domain=NAME: 2xx adds a domain that is not there yet, 4xx does not. A domain deleted here comes back while the service allows it."`
	LogLevel      string          `enum:"debug,info,warn,error" default:"info" env:"SHINGLE_LOG_LEVEL" help:"What to log: debug, info, warn or error."`
	AccessLog     bool            `env:"SHINGLE_ACCESS_LOG" help:"Log each request."`

	Table       string `env:"SHINGLE_TABLE,TABLE_NAME" hidden:"" help:"DynamoDB table; not in this version."`
	TableRegion string `env:"SHINGLE_TABLE_REGION,TABLE_REGION" hidden:"" help:"Its region; not in this version."`
}

// Run serves until ctx ends.
func (c *serveCmd) Run(ctx context.Context, s streams) error {
	cfg := app.Config{
		Target: c.Target, EdgeHTTPS: c.EdgeHTTPS, EdgeHTTP: c.EdgeHTTP, Control: c.Control, PublicPort: c.PublicPort, Data: c.Data,
		ACMECAs: c.ACMECA, RSAKeys: c.RSAKeys, ACMERoot: c.ACMERoot, ACMEEmail: c.Email, AgreeTerms: c.AgreeTerms, HandshakeWait: c.HandshakeWait,
		AskURL: c.AskURL, AskToken: c.AskToken, AccessLog: c.AccessLog, Version: version(), Logger: newLogger(s.Err, c.LogLevel),
	}
	if c.Table != "" || c.TableRegion != "" {
		cfg.Logger.Warn("this version keeps its data in --data; --table and --table-region do nothing yet", "data", c.Data)
	}
	return app.Serve(ctx, cfg, func(l *app.Listeners, token string) {
		fmt.Fprintf(s.Out, "shingle serves HTTPS on %s, HTTP on %s and the API on %s; the first API token is in %s\n",
			l.HTTPS.Addr(), l.HTTP.Addr(), l.Control.Addr(), token)
	})
}

func newLogger(w io.Writer, name string) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(name)) // kong has checked it
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}
