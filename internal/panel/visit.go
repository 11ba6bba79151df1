package panel

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

// visit is a request of somebody who is signed in.
type visit struct {
	panel *panel
	w     http.ResponseWriter
	r     *http.Request
	api   *api.Client
	token string
	me    api.Token
}

func (v *visit) ctx() context.Context { return v.r.Context() }

// host is the domain that the path names.
func (v *visit) host() string { return v.r.PathValue("host") }

// tell goes to a page of the panel, which then says something of [notices].
func (v *visit) tell(path, notice string) error {
	http.Redirect(v.w, v.r, path+"?"+url.Values{"note": {notice}}.Encode(), http.StatusSeeOther)
	return nil
}

// wantsPart reports whether a script of ours asks for a part of the page.
func (v *visit) wantsPart() bool { return v.r.Header.Get("Shingle-Part") != "" }

// signedIn has do answer those who are signed in, and others sign in first.
func (p *panel) signedIn(do func(*visit) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := p.visitOf(w, r)
		if err == nil {
			err = do(v)
		}
		switch {
		case err == nil:
		case errors.Is(err, shingle.ErrUnauthorized):
			p.sendToSignIn(w, r)
		default:
			p.failWith(w, v, err)
		}
	}
}

// visitOf finds out who makes a request. The API is asked each time: a token that was
// revoked has no session any more.
func (p *panel) visitOf(w http.ResponseWriter, r *http.Request) (*visit, error) {
	token := p.sessions.of(r).Token
	if token == "" {
		return nil, shingle.ErrUnauthorized
	}
	client, err := api.NewLocalClient(p.API, token, r)
	if err != nil {
		return nil, shingle.ErrUnauthorized
	}
	v := &visit{panel: p, w: w, r: r, api: client, token: token}
	v.me, err = client.OwnToken(r.Context())
	if err != nil {
		return nil, err
	}
	return v, nil
}

// sendToSignIn forgets the session. Browsers keep the cookie to themselves when a link
// on another site leads here; then the page asks for itself once more, from here.
func (p *panel) sendToSignIn(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") == "navigate" {
		p.render(w, nil, http.StatusOK, "again", r.URL.RequestURI())
		return
	}
	if r.Header.Get("Shingle-Part") != "" {
		w.WriteHeader(http.StatusUnauthorized) // the script then loads the page anew
		return
	}
	if len(r.CookiesNamed(cookieName)) > 0 {
		p.sessions.end(w, r)
	}
	to := Root + "sign-in"
	if r.Method == http.MethodGet && r.URL.Path != Root {
		to += "?" + url.Values{"next": {r.URL.RequestURI()}}.Encode()
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// signInForm is what the page of that name shows.
type signInForm struct {
	Next  string
	Error string // of the token

	Elsewhere, ElsewhereError string // of a [SignIn], if there is one
}

func (p *panel) signInPage(w http.ResponseWriter, r *http.Request) {
	p.render(w, nil, http.StatusOK, "sign-in", p.form(signInForm{Next: r.URL.Query().Get("next")}))
}

func (p *panel) signIn(w http.ResponseWriter, r *http.Request) {
	form := signInForm{Next: r.PostFormValue("next")}
	token := strings.TrimSpace(r.PostFormValue("token"))
	err := p.tryToken(r, token)
	if err == nil {
		err = p.sessions.begin(w, r, session{Token: token})
	}
	if err == nil {
		http.Redirect(w, r, after(form.Next), http.StatusSeeOther)
		return
	}
	status := http.StatusUnprocessableEntity
	switch form.Error = shingle.MessageOf(err); shingle.CodeOf(err) {
	case shingle.CodeUnauthorized:
		form.Error = "This token is not known here. It may have been revoked, or have expired."
	case shingle.CodeLimited:
		status, form.Error = http.StatusTooManyRequests, "There were too many wrong tokens. Try again in a minute."
	case shingle.CodeUnavailable, shingle.CodeThrottled, shingle.CodeInternal:
		status = http.StatusServiceUnavailable
		p.Logger.Warn("panel sign-in failed", "error", err)
	}
	p.render(w, nil, status, "sign-in", p.form(form))
}

func (p *panel) tryToken(r *http.Request, token string) error {
	if _, ok := shingle.TokenID(token); !ok {
		return shingle.Errorf(shingle.CodeInvalid, "This is not an API token: it looks like shingle_…_…")
	}
	client, err := api.NewLocalClient(p.API, token, r)
	if err != nil {
		return err
	}
	_, err = client.OwnToken(r.Context())
	return err
}

func (p *panel) signOut(w http.ResponseWriter, r *http.Request) {
	if is := p.sessions.of(r); is.Elsewhere && p.SignIn != nil {
		if err := p.SignIn.End(r.Context(), is.Token); err != nil {
			p.Logger.Warn("token of an ended session not revoked: it expires by itself", "error", err)
		}
	}
	p.sessions.end(w, r)
	http.Redirect(w, r, Root+"sign-in", http.StatusSeeOther)
}

// failures are the statuses of pages that say that something did not work.
var failures = map[shingle.Code]int{
	shingle.CodeInvalid: http.StatusUnprocessableEntity, shingle.CodeForbidden: http.StatusForbidden, shingle.CodeNotFound: http.StatusNotFound,
	shingle.CodeExists: http.StatusConflict, shingle.CodeConflict: http.StatusPreconditionFailed, shingle.CodeLimited: http.StatusTooManyRequests,
	shingle.CodeThrottled: http.StatusServiceUnavailable, shingle.CodeUnavailable: http.StatusServiceUnavailable,
}

// failWith shows an error of the API's.
func (p *panel) failWith(w http.ResponseWriter, v *visit, err error) {
	status, known := failures[shingle.CodeOf(err)]
	if !known {
		status = http.StatusInternalServerError
		p.Logger.Error("panel request failed", "error", err)
	}
	p.fail(w, v, status, sentence(shingle.MessageOf(err)))
}

// fail shows that something did not work. v may be nil.
func (p *panel) fail(w http.ResponseWriter, v *visit, status int, message string) {
	p.render(w, v, status, "failure", failure{Status: status, Title: http.StatusText(status), Message: message})
}

type failure struct {
	Status         int
	Title, Message string
}

// sentence turns a message of the API's into a sentence. One that begins with the name of
// a host stays small.
func sentence(message string) string {
	if message == "" {
		return ""
	}
	if first, _, _ := strings.Cut(message, " "); !strings.ContainsAny(first, "._*/") {
		message = strings.ToUpper(message[:1]) + message[1:]
	}
	if strings.ContainsAny(message[len(message)-1:], ".!?") {
		return message
	}
	return message + "."
}
