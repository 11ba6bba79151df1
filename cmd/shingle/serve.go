package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/alecthomas/kong"
	"github.com/shingle-proxy/shingle/internal/app"
)

type serveCmd struct {
	Config     kong.ConfigFlag `help:"TOML file with these flags as keys." type:"existingfile"`
	Target     string          `required:"" env:"SHINGLE_TARGET,TARGET_DOMAIN" help:"The product behind the domains: app.example.com, or a URL."`
	ACMECA     string          `name:"acme-ca" default:"letsencrypt" env:"SHINGLE_ACME_CA" help:"letsencrypt, letsencrypt-staging or a directory URL."`
	ACMERoot   string          `name:"acme-root" env:"SHINGLE_ACME_ROOT" help:"PEM file that verifies the CA's own HTTPS." type:"path"`
	Email      string          `env:"SHINGLE_EMAIL,LETSENCRYPT_EMAIL_ADDRESS" help:"Where the CA may write to."`
	AgreeTerms bool            `env:"SHINGLE_AGREE_TERMS" help:"You agree to the CA's terms of service."`
	EdgeHTTPS  string          `name:"edge-https" default:":443" env:"SHINGLE_EDGE_HTTPS" help:"Address for visitors over HTTPS."`
	EdgeHTTP   string          `name:"edge-http" default:":80" env:"SHINGLE_EDGE_HTTP" help:"Address for visitors over HTTP."`
	Control    string          `default:"127.0.0.1:8090" env:"SHINGLE_CONTROL" help:"Address of the API. Plain HTTP: keep it private."`
	PublicPort int             `env:"SHINGLE_PUBLIC_PORT" help:"The port by which visitors reach HTTPS, when another program maps it."`
	Data       string          `default:"/var/lib/shingle" env:"SHINGLE_DATA" help:"Folder for everything that is kept." type:"path"`
	AskToken   string          `env:"SHINGLE_ASK_TOKEN" help:"What /ask demands as its token; without it anybody who reaches the API may ask."`
	LogLevel   string          `enum:"debug,info,warn,error" default:"info" env:"SHINGLE_LOG_LEVEL" help:"What to log: debug, info, warn or error."`
	AccessLog  bool            `env:"SHINGLE_ACCESS_LOG" help:"Log each request."`
}

// Run serves until ctx ends.
func (c *serveCmd) Run(ctx context.Context, s streams) error {
	cfg := app.Config{
		Target: c.Target, EdgeHTTPS: c.EdgeHTTPS, EdgeHTTP: c.EdgeHTTP, Control: c.Control, PublicPort: c.PublicPort, Data: c.Data,
		ACMEDirectory: c.ACMECA, ACMERoot: c.ACMERoot, ACMEEmail: c.Email, AgreeTerms: c.AgreeTerms,
		AskToken: c.AskToken, AccessLog: c.AccessLog, Version: version(), Logger: newLogger(s.Err, c.LogLevel),
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
