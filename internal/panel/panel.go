// Package panel is the operator's pages, below /panel/ at the control address.
//
// It is a client of the API in the same process, with the token that its visitor signed
// in with: what may be done, what is refused and why, and who is named in the events, is
// up to the API alone. Pages are made here, on the server. They work without scripts,
// which add what is live, and ask no other host for anything.
package panel

import (
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"
)

// Root is the path below which everything of the panel is.
const Root = "/panel/"

// maxForm bounds a form, in bytes; the largest has 32 KiB of settings, escaped.
const maxForm = 128 << 10

// Config is what the panel is made of. API is required.
type Config struct {
	API http.Handler
	// Key seals the cookies in which sessions are; the same in all processes that
	// answer for one address.
	Key    [32]byte
	SignIn SignIn // beside that by token; nil: none
	// VisitPort is that of the edge's HTTPS, for links to domains; 0: HTTPS' own.
	VisitPort int
	Version   string           // of the software, for the foot of pages
	Logger    *slog.Logger     // faults; nil: none
	Now       func() time.Time // nil: time.Now
}

// panel is the handler.
type panel struct {
	Config
	sessions sessions
	pages    pages
}

// New returns the handler of everything below [Root].
func New(cfg Config) (http.Handler, error) {
	if cfg.API == nil {
		return nil, errors.New("panel: API is required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p := &panel{Config: cfg}
	var err error
	if p.sessions, err = newSessions(cfg.Key, cfg.Now); err != nil {
		return nil, err
	}
	if p.pages, err = readPages(&cfg); err != nil {
		return nil, err
	}
	protect := http.NewCrossOriginProtection()
	protect.SetDenyHandler(http.HandlerFunc(p.refuseForeign))
	return p.withHeaders(protect.Handler(p.routes())), nil
}

func (p *panel) routes() *http.ServeMux {
	m := http.NewServeMux()
	m.HandleFunc("GET /panel/assets/{name}", p.asset)
	m.HandleFunc("GET /panel/sign-in", p.signInPage)
	m.HandleFunc("POST /panel/sign-in", p.signIn)
	m.HandleFunc("POST /panel/sign-out", p.signOut)
	p.addElsewhere(m)
	for route, do := range map[string]func(*visit) error{
		"GET /panel/{$}": overview,

		"GET /panel/domains":                listDomains,
		"POST /panel/domains":               addDomain,
		"GET /panel/domains/new":            newDomain,
		"GET /panel/domains/{host}":         showDomain,
		"GET /panel/domains/{host}/live":    liveDomain,
		"POST /panel/domains/{host}/check":  checkDomain,
		"GET /panel/domains/{host}/edit":    editDomain,
		"POST /panel/domains/{host}/edit":   updateDomain,
		"GET /panel/domains/{host}/delete":  askDelete,
		"POST /panel/domains/{host}/delete": deleteDomain,
		"POST /panel/domains/{host}/renew":  renewCertificate,

		"POST /panel/domains/{host}/setup":        makeSetupLink,
		"GET /panel/domains/{host}/setup/revoke":  askRevokeLinks,
		"POST /panel/domains/{host}/setup/revoke": revokeLinks,

		"GET /panel/certificates":       showCertificates,
		"GET /panel/certificates/{day}": showDay,
		"GET /panel/edges":              listEdges,

		"GET /panel/jobs":              listJobs,
		"POST /panel/jobs":             addJob,
		"GET /panel/jobs/new":          newJob,
		"GET /panel/jobs/live":         liveJobs,
		"GET /panel/jobs/{id}":         showJob,
		"GET /panel/jobs/{id}/live":    liveJob,
		"GET /panel/jobs/{id}/report":  downloadReport,
		"POST /panel/jobs/{id}/cancel": cancelJob,

		"GET /panel/webhooks":       listWebhooks,
		"POST /panel/webhooks":      addWebhook,
		"GET /panel/webhooks/{id}":  showWebhook,
		"POST /panel/webhooks/{id}": actOnWebhook,

		"GET /panel/webhooks/{id}/delete":  askDeleteWebhook,
		"POST /panel/webhooks/{id}/delete": deleteWebhook,

		"GET /panel/tokens":              listTokens,
		"POST /panel/tokens":             addToken,
		"GET /panel/tokens/{id}/revoke":  askRevoke,
		"POST /panel/tokens/{id}/revoke": revokeToken,

		"GET /panel/events":        listEvents,
		"GET /panel/events/stream": p.streamEvents,
	} {
		m.Handle(route, p.signedIn(do))
	}
	m.HandleFunc("/panel/", p.notFound)
	return m
}

// policy lets a page have what the panel serves, and nothing else. No script or style
// is in a page itself.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// withHeaders gives every answer what all have in common, and catches panics.
func (p *panel) withHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		if isHTTPS(r) {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		defer func() {
			v := recover()
			if err, _ := v.(error); v == nil || errors.Is(err, http.ErrAbortHandler) {
				if v != nil {
					panic(v)
				}
				return
			}
			p.Logger.Error("panel request panicked", "panic", v, "stack", string(debug.Stack()))
			http.Error(w, "internal error; the log has the details", http.StatusInternalServerError)
		}()
		most := int64(maxForm)
		if r.URL.Path == Root+"jobs" {
			most = maxJobForm
		}
		r.Body = http.MaxBytesReader(w, r.Body, most)
		next.ServeHTTP(w, r)
	})
}

func (p *panel) refuseForeign(w http.ResponseWriter, _ *http.Request) {
	p.fail(w, nil, http.StatusForbidden, "This request came from another site, and was not carried out.")
}

func (p *panel) notFound(w http.ResponseWriter, r *http.Request) {
	p.signedIn(func(v *visit) error {
		p.fail(v.w, v, http.StatusNotFound, "There is no page at this address.")
		return nil
	}).ServeHTTP(w, r)
}

// isHTTPS reports whether the visitor's own connection is HTTPS, as far as this process
// or a proxy in front of it says. What depends on it protects the visitor alone.
func isHTTPS(r *http.Request) bool {
	return r.TLS != nil || r.URL.Scheme == "https" || r.Header.Get("X-Forwarded-Proto") == "https"
}
