package panel

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/time/rate"

	"github.com/shingle-proxy/shingle"
)

// SignIn signs people in who have no token: at an OpenID Connect provider.
type SignIn interface {
	// Name says where, in a few words for a button.
	Name() string
	// Begin returns where to send the browser, and what has to come back with it. The
	// panel keeps that sealed in the browser.
	Begin(ctx context.Context) (to string, secret []byte, err error)
	// Finish returns an API token for whoever comes back.
	Finish(ctx context.Context, secret []byte, query url.Values) (token string, err error)
	// End revokes such a token.
	End(ctx context.Context, token string) error
}

// EndPath is where a [SignIn] has to send the browser back to.
const EndPath = Root + "sign-in/elsewhere/end"

const (
	flowCookie = "shingle-sign-in"
	flowLife   = 10 * time.Minute
	flowUse    = "shingle panel sign-in 1"

	// What strangers may have asked of the provider, in a second and at once.
	elsewhereRate, elsewhereBurst = 5, 20
)

// elsewhere has somebody sign in by a [SignIn].
type elsewhere struct {
	SignIn
	*panel
	turns *rate.Limiter
}

// flow is what its cookie holds. It is Lax, for the browser comes back from another
// site, and the session's own cookie would stay at home.
type flow struct {
	Secret []byte    `json:"secret"`
	Next   string    `json:"next,omitempty"`
	Ends   time.Time `json:"ends"`
}

func (p *panel) addElsewhere(m *http.ServeMux) {
	if p.SignIn == nil {
		return
	}
	e := &elsewhere{SignIn: p.SignIn, panel: p, turns: rate.NewLimiter(elsewhereRate, elsewhereBurst)}
	m.HandleFunc("GET /panel/sign-in/elsewhere", e.begin)
	m.HandleFunc("GET "+EndPath, e.end)
}

func (e *elsewhere) begin(w http.ResponseWriter, r *http.Request) {
	next := r.URL.Query().Get("next")
	to, secret, err := "", []byte(nil), e.turn()
	if err == nil {
		to, secret, err = e.Begin(r.Context())
	}
	if err == nil {
		var sealed string
		if sealed, err = e.sessions.seal(flow{Secret: secret, Next: next, Ends: e.Now().Add(flowLife)}, flowUse); err == nil {
			http.SetCookie(w, e.cookie(r, sealed, int(flowLife/time.Second)))
			http.Redirect(w, r, to, http.StatusSeeOther)
			return
		}
	}
	e.refuse(w, next, err)
}

func (e *elsewhere) end(w http.ResponseWriter, r *http.Request) {
	var f flow
	token, err := "", error(shingle.Errorf(shingle.CodeUnauthorized, "this sign-in was not begun here, or took too long: begin again"))
	if c, cookieErr := r.Cookie(flowCookie); cookieErr == nil && e.sessions.unseal(c.Value, flowUse, &f) == nil && e.Now().Before(f.Ends) {
		if err = e.turn(); err == nil {
			token, err = e.Finish(r.Context(), f.Secret, r.URL.Query())
		}
	}
	http.SetCookie(w, e.cookie(r, "", -1))
	if err == nil {
		err = e.sessions.begin(w, r, session{Token: token, Elsewhere: true})
	}
	if err != nil {
		e.refuse(w, f.Next, err)
		return
	}
	http.Redirect(w, r, after(f.Next), http.StatusSeeOther)
}

func (e *elsewhere) turn() error {
	if !e.turns.Allow() {
		return shingle.Errorf(shingle.CodeLimited, "too many people sign in right now: try again in a moment")
	}
	return nil
}

func (e *elsewhere) cookie(r *http.Request, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: flowCookie, Value: value, Path: Root + "sign-in/elsewhere", MaxAge: maxAge,
		HttpOnly: true, Secure: isHTTPS(r), SameSite: http.SameSiteLaxMode,
	}
}

// refuse shows the sign-in page again, with what did not work.
func (e *elsewhere) refuse(w http.ResponseWriter, next string, err error) {
	status, known := failures[shingle.CodeOf(err)]
	switch {
	case shingle.CodeOf(err) == shingle.CodeUnauthorized:
		status = http.StatusUnauthorized
	case !known:
		status = http.StatusInternalServerError
	}
	e.Logger.Warn("panel sign-in failed", "error", err)
	e.render(w, nil, status, "sign-in", e.form(signInForm{Next: next, ElsewhereError: sentence(shingle.MessageOf(err))}))
}

// form adds to the page of that name how else one may sign in.
func (p *panel) form(f signInForm) signInForm {
	if p.SignIn != nil {
		f.Elsewhere = p.SignIn.Name()
	}
	return f
}
