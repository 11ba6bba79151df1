// Baseline is the reverse proxy that a Go programmer writes first, with
// net/http and httputil.ReverseProxy: one of the peers of the benchmark.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"time"
)

func main() {
	listen := flag.String("listen", "", "address for HTTPS")
	target := flag.String("target", "", "host:port of the origin")
	cert := flag.String("cert", "", "certificate chain, PEM file")
	key := flag.String("key", "", "its key, PEM file")
	flag.Parse()
	if err := serve(*listen, *target, *cert, *key); err != nil {
		fmt.Fprintln(os.Stderr, "baseline:", err)
		os.Exit(1)
	}
}

func serve(listen, target, cert, key string) error {
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("read address: %w", err)
	}
	server := &http.Server{
		Addr:              listen,
		Handler:           newProxy(target, port),
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{
			MinVersion:       tls.VersionTLS13,
			CurvePreferences: []tls.CurveID{tls.X25519},
		},
	}
	return server.ListenAndServeTLS(cert, key)
}

func newProxy(target, port string) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme = "http"
			r.Out.URL.Host = target
			r.Out.Host = target
			r.SetXForwarded()
			r.Out.Header.Set("X-Forwarded-Port", port)
			r.Out.Header.Set("User-Custom-Domain", r.In.Host)
		},
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 256,
			DisableCompression:  true,
		},
	}
}
