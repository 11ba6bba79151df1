package panel

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle/internal/api"
)

const tokensAPage = 100

// tokenForm is what was entered for a new token.
type tokenForm struct {
	Name, Role, Tenant string
	Days               string // until it expires; empty: never
	Fault              fault
}

type tokenList struct {
	Tokens      []api.Token
	Made        *api.Token // with its text, this once
	Form        tokenForm
	Next, First string
}

func listTokens(v *visit) error {
	return v.tokens(http.StatusOK, tokenList{Form: tokenForm{Role: "operator"}})
}

// tokens shows the list, with what else the page has.
func (v *visit) tokens(status int, page tokenList) error {
	q := v.r.URL.Query()
	found, err := v.api.TokenPage(v.ctx(), q.Get("after"), tokensAPage)
	if err != nil {
		return err
	}
	if page.Tokens = found.Tokens; found.Next != "" {
		page.Next = pageAddress(q, found.Next)
	}
	if q.Get("after") != "" {
		page.First = pageAddress(q, "")
	}
	v.panel.render(v.w, v, status, "tokens", page)
	return nil
}

// addToken shows the text of the token that it made, this once.
func addToken(v *visit) error {
	if err := v.r.ParseForm(); err != nil {
		return badForm
	}
	in := v.r.PostForm
	form := tokenForm{Name: strings.TrimSpace(in.Get("name")), Role: in.Get("role"), Tenant: strings.TrimSpace(in.Get("tenant")), Days: strings.TrimSpace(in.Get("days"))}
	is := api.NewToken{Name: form.Name, Role: form.Role, Tenant: form.Tenant}
	if form.Days != "" {
		days, err := strconv.Atoi(form.Days)
		if err != nil || days < 1 || days > 36500 {
			form.Fault = fault{"days", "Enter a number of days, or nothing."}
			return v.tokens(http.StatusUnprocessableEntity, tokenList{Form: form})
		}
		is.ExpiresAt = v.panel.Now().UTC().AddDate(0, 0, days).Truncate(time.Second)
	}
	made, err := v.api.CreateToken(v.ctx(), is)
	if err == nil {
		return v.tokens(http.StatusOK, tokenList{Made: &made, Form: tokenForm{Role: "operator"}})
	}
	if form.Fault, err = faultOf(err); err != nil {
		return err
	}
	if form.Fault.Field == "expires_at" {
		form.Fault.Field = "days"
	}
	form.Fault = form.Fault.at("name", "role", "tenant", "days")
	return v.tokens(http.StatusUnprocessableEntity, tokenList{Form: form})
}

func askRevoke(v *visit) error {
	t, err := v.api.Token(v.ctx(), v.r.PathValue("id"))
	if err != nil {
		return err
	}
	return v.show("revoke", revokePage{Token: t, Busy: v.panel.Now().Sub(t.LastUsed) < 7*24*time.Hour, Own: t.ID == v.me.ID})
}

type revokePage struct {
	Token api.Token
	Busy  bool // it was used in the last days
	Own   bool // whoever looks has signed in with it
}

func revokeToken(v *visit) error {
	if err := v.api.DeleteToken(v.ctx(), v.r.PathValue("id")); err != nil {
		return err
	}
	return v.tell(Root+"tokens", "revoked")
}
