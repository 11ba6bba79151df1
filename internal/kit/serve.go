package kit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Prefix begins the paths that a [Kit] serves.
const Prefix = "/setup/"

const (
	pathPrefix = Prefix
	maxWait    = 20 * time.Second // of a request: a check has less
	maxBody    = 1 << 10          // nothing of a body is of use
)

// policy is the content security policy of the page: nothing from elsewhere, no style
// or script in the page itself, no frame around it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

func (k *Kit) routes() error {
	k.mux.HandleFunc("GET /setup/kit.js", asset("text/javascript; charset=utf-8", script()))
	k.mux.HandleFunc("GET /setup/kit.css", asset("text/css; charset=utf-8", append(file("setup.css"), file("page.css")...)))
	for _, t := range k.cfg.Connect.published() {
		data, err := t.encode()
		if err != nil {
			return err
		}
		k.mux.HandleFunc("GET /setup/domain-connect/"+t.file(), asset("application/json", data))
	}
	k.mux.HandleFunc("GET /setup/{host}/{token}", k.page)
	k.mux.HandleFunc("POST /setup/{host}/{token}", k.page)
	k.mux.HandleFunc("GET /setup/{host}/{token}/view", k.part)
	k.mux.HandleFunc("POST /setup/{host}/{token}/check", k.part)
	return nil
}

// ServeHTTP serves what is below [Prefix].
func (k *Kit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), maxWait)
	defer cancel()
	r = r.WithContext(ctx)
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Robots-Tag", "noindex")
	h.Set("Content-Security-Policy", policy)
	k.mux.ServeHTTP(w, r)
}

// page answers with the whole page; a POST, which is what browsers without scripts
// send, has the domain checked before.
func (k *Kit) page(w http.ResponseWriter, r *http.Request) { k.answer(w, r, true) }

// part answers with what scripts put into a page, be it another's: the link is all
// that it takes.
func (k *Kit) part(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Cross-Origin-Resource-Policy", "cross-origin")
	k.answer(w, r, false)
}

func (k *Kit) answer(w http.ResponseWriter, r *http.Request, whole bool) {
	language := negotiate(r.URL.Query().Get("lang"), r.Header.Get("Accept-Language"))
	host, token := r.PathValue("host"), r.PathValue("token")
	v, err := k.look(r, host, token, language)
	status, name := http.StatusOK, "setup"
	if err != nil {
		v, status = k.gone(err, language)
		name = "gone"
	}
	v.Token, v.Page = token, whole
	if whole {
		name = "page"
	}
	body, err := render(name, v)
	if err != nil {
		k.cfg.Logger.Error("set-up page not made", "host", host, "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", language)
	h.Set("Vary", "Accept-Language")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone will not miss it
}

// look returns what is to be shown, after a check if that is asked for and may be.
func (k *Kit) look(r *http.Request, host, token, language string) (*view, error) {
	d, err := k.open(r.Context(), host, token)
	if err != nil {
		return nil, err
	}
	link := k.base(r) + pathPrefix + d.Host + "/" + token
	if r.Method == http.MethodPost {
		from, _ := netip.ParseAddrPort(r.RemoteAddr) // invalid: a listener without addresses
		if err := k.check(r.Context(), &d, from.Addr(), link); err != nil && !errors.Is(err, shingle.ErrLimited) {
			k.cfg.Logger.Warn("domain not checked for its customer", "host", d.Host, "error", err)
		}
	}
	v, err := k.view(r.Context(), &d, language, link)
	if err != nil {
		return nil, err
	}
	if r.URL.Query().Get("error") != "" { // a DNS provider leads back, without having entered anything
		v.Note = "note.declined"
	}
	v.Email = k.mailto(&d, language, link)
	return v, nil
}

// base is the URL of the control plane as it was reached.
func (k *Kit) base(r *http.Request) string {
	if k.cfg.URL != "" {
		return k.cfg.URL
	}
	return shingle.ReachedAt(r.TLS != nil || r.URL.Scheme == "https", r.Header.Get("X-Forwarded-Proto"), r.Host)
}

// gone is the view of a link that is not good, and the status that goes with it.
func (k *Kit) gone(err error, language string) (v *view, status int) {
	v = &view{words: words{Lang: language}, Stage: stageGone, Service: k.cfg.Service}
	bad, ok := errors.AsType[*badLink](err)
	if !ok {
		k.cfg.Logger.Error("set-up page not shown", "error", err)
		bad = &badLink{"gone.failed", http.StatusServiceUnavailable}
	}
	v.Head, v.Reason = bad.key, bad.key+".text"
	return v, bad.status
}

// asset serves a file that is the same for all until the next version of Shingle.
func asset(contentType string, body []byte) http.HandlerFunc {
	sum := sha256.Sum256(body)
	tag := strconv.Quote(hex.EncodeToString(sum[:8]))
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("Cache-Control", "public, max-age=300")
		h.Set("ETag", tag)
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		h.Set("Access-Control-Allow-Origin", "*")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}
}

func file(name string) []byte {
	data, err := assets.ReadFile(name)
	if err != nil {
		panic(err) // is in the binary
	}
	return data
}

// script is the script, with the style sheet of the widget in it, which thus needs no
// request and no leave to be styled.
func script() []byte {
	failed := map[string]string{}
	for _, language := range Languages {
		failed[language] = texts[language]["check.failed"]
	}
	var b bytes.Buffer
	b.WriteString("(() => {\n\"use strict\";\nconst css = ")
	for i, x := range []any{string(file("setup.css")), failed} {
		if i == 1 {
			b.WriteString(";\nconst failed = ")
		}
		text, err := json.Marshal(x)
		if err != nil {
			panic(err) // strings
		}
		b.Write(text)
	}
	b.WriteString(";\n")
	b.Write(file("setup.js"))
	b.WriteString("})();\n")
	return b.Bytes()
}
