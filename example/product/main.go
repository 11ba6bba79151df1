// Product is a SaaS product with custom domains, as small as can be: docs/integration.md
// explains it.
//
//	SHINGLE_URL=http://127.0.0.1:8090 SHINGLE_TOKEN=shingle_... go run ./example/product 127.0.0.1:3000
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/client"
)

func main() {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(logger); err != nil {
		logger.Error("product ended", "error", err)
		os.Exit(1)
	}
}

func run(logger *slog.Logger) error {
	if len(os.Args) != 2 {
		return errors.New("say which address to listen on, such as 127.0.0.1:3000")
	}
	c, err := client.New(os.Getenv("SHINGLE_URL"), os.Getenv("SHINGLE_TOKEN"))
	if err != nil {
		return err
	}
	p := product{shingle: c, log: logger}
	http.HandleFunc("POST /settings/domain", p.add)
	http.HandleFunc("GET /settings/domain", p.show)
	http.HandleFunc("POST /hooks", p.hook)
	http.HandleFunc("GET /", p.page)
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		return err
	}
	logger.Info("product listens", "address", l.Addr())
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second}
	return server.Serve(l)
}

type product struct {
	shingle *client.Client
	log     *slog.Logger
}

// add is the form in which a customer enters a domain.
func (p *product) add(w http.ResponseWriter, r *http.Request) {
	d, err := p.shingle.CreateDomain(r.Context(), client.NewDomain{Host: r.FormValue("host"), Tenant: customer(r)})
	switch {
	case errors.Is(err, shingle.ErrInvalid): // the message is made for people
		http.Error(w, shingle.MessageOf(err), http.StatusBadRequest)
	case errors.Is(err, shingle.ErrExists):
		http.Error(w, "This domain is in use.", http.StatusConflict)
	case err != nil:
		http.Error(w, "Please try again in a moment.", http.StatusServiceUnavailable)
	default:
		say(w, "Set a CNAME record for %s to %s\n", d.Host, d.DNS.CNAME)
	}
}

// show is the page that says how a domain is.
func (p *product) show(w http.ResponseWriter, r *http.Request) {
	d, err := p.shingle.Domain(r.Context(), r.FormValue("host"))
	switch {
	case errors.Is(err, shingle.ErrNotFound), err == nil && d.Tenant != customer(r):
		http.NotFound(w, r)
	case err != nil:
		http.Error(w, "Please try again in a moment.", http.StatusServiceUnavailable)
	case d.Status == nil:
		say(w, "pending: It is being checked.\n")
	default:
		say(w, "%s: %s\n", d.Status.State, d.Status.Message)
	}
}

// hook takes events. It answers quickly, and does the work afterwards.
func (p *product) hook(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	check, secretErr := standardwebhooks.NewWebhook(os.Getenv("SHINGLE_WEBHOOK_SECRET"))
	if err != nil || secretErr != nil || check.Verify(body, r.Header) != nil {
		http.Error(w, "not signed by Shingle", http.StatusUnauthorized)
		return
	}
	var event struct {
		Type string
		Data struct{ Host, Tenant string }
	}
	if json.Unmarshal(body, &event) == nil {
		p.log.Info("heard", "type", event.Type, "host", event.Data.Host, "tenant", event.Data.Tenant)
	}
}

// page is what visitors see, of the customer whose domain they asked for.
func (p *product) page(w http.ResponseWriter, r *http.Request) {
	host := r.Header.Get("User-Custom-Domain")
	if host == "" {
		host = "app.example.com, the product's own name"
	}
	say(w, "You are at %s\n", host)
}

// customer is who is signed in; yours comes from a session.
func customer(*http.Request) string { return "acme" }

func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
