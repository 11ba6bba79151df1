package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/shingle-proxy/shingle/internal/app"
)

type devCmd struct {
	EdgeHTTPS string `name:"edge-https" default:"127.0.0.1:8443" env:"SHINGLE_EDGE_HTTPS" help:"Address for visitors over HTTPS; port 0 takes a free one."`
	EdgeHTTP  string `name:"edge-http" default:"127.0.0.1:8080" env:"SHINGLE_EDGE_HTTP" help:"Address for visitors over HTTP."`
	HTTP3     bool   `name:"http3" negatable:"" default:"true" env:"SHINGLE_HTTP3" help:"Speak HTTP/3, by UDP on the address for HTTPS."`
	Control   string `default:"127.0.0.1:8090" env:"SHINGLE_CONTROL" help:"Address of the panel and the API."`
	Data      string `env:"SHINGLE_DATA" help:"Folder for everything that is kept. Default: shingle/dev in the user's cache folder." type:"path"`
	Target    string `help:"Proxy to this product instead of the sample one, such as http://127.0.0.1:3000."`
	LogLevel  string `enum:"debug,info,warn,error" default:"warn" env:"SHINGLE_LOG_LEVEL" help:"What to log: debug, info, warn or error."`
	AccessLog bool   `env:"SHINGLE_ACCESS_LOG" help:"Log each request, at level info."`
	Metrics   string `placeholder:"ADDRESS" env:"SHINGLE_METRICS" help:"Address for Prometheus, which scrapes /metrics there. Default: none."`

	DomainConnect  string `name:"domain-connect" placeholder:"DOMAIN" env:"SHINGLE_DOMAIN_CONNECT" help:"Your domain, by which DNS providers that speak Domain Connect know your templates. One on this machine may play such a provider."`
	CloudflareZone string `name:"cloudflare-zone" placeholder:"ID" default:"dev" env:"SHINGLE_CLOUDFLARE_ZONE" help:"The zone by which programs that are written for Cloudflare's API for custom hostnames find the domains, below /client/v4."`
}

// Run runs everything until ctx ends.
func (c *devCmd) Run(ctx context.Context, s streams) error {
	data, err := devData(c.Data)
	if err != nil {
		return err
	}
	return app.Dev(ctx, app.Config{
		Target: c.Target, EdgeHTTPS: c.EdgeHTTPS, EdgeHTTP: c.EdgeHTTP, HTTP3: c.HTTP3, Control: c.Control, Data: data,
		DomainConnect: c.DomainConnect, CloudflareZone: c.CloudflareZone, AccessLog: c.AccessLog, Metrics: c.Metrics, Version: version(), Logger: newLogger(s.Err, c.LogLevel),
	}, func(e app.Endpoints) { greet(s, data, e) })
}

// devData is the folder of `shingle dev`.
func devData(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("--data: name a folder (%w)", err)
	}
	return filepath.Join(cache, "shingle", "dev"), nil
}

// greet prints what to try first.
func greet(s streams, data string, e app.Endpoints) {
	fmt.Fprintf(s.Out, `
Shingle is ready. Ctrl-C ends it; what it learned stays in %s

  visit      https://%s%s
  redirects  http://%s
  panel      http://%s/panel/   (sign in with the token below)
  API        http://%s   (token in %s)
  CA root    %s
`, data, app.ExampleHost, portOf(e.HTTPS), e.HTTP, e.Control, e.Control, e.TokenPath, e.RootPath)
	if e.Origin != "" {
		fmt.Fprintf(s.Out, "  product    http://%s   (a sample; --target takes yours)\n", e.Origin)
	}
	fmt.Fprintf(s.Out, `
Try it:

  curl --cacert '%s' 'https://%s%s/?format=json'
  shingle domains add shop.customer.localhost

`, e.RootPath, app.ExampleHost, portOf(e.HTTPS))
}

// portOf returns ":port", or nothing for HTTPS' own.
func portOf(addr string) string {
	for i := len(addr) - 1; i >= 0; i-- {
		if addr[i] == ':' {
			if addr[i:] == ":443" {
				return ""
			}
			return addr[i:]
		}
	}
	return ""
}
