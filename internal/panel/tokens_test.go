package panel_test

import (
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
)

func TestTokens_MadeShownOnceRevoked(t *testing.T) {
	s := open(t)
	v := s.as(shingle.RoleAdmin, "")
	a := v.want(200, v.post("tokens", "name", "ci", "role", "tenant", "tenant", "acme", "days", "7"))
	v.says(a, "The token ci was made", "it is not shown again", "tenant of acme", "in 7 days")
	_, text, _ := strings.Cut(a.text, "<code>shingle_")
	text, _, _ = strings.Cut(text, "<")
	text = "shingle_" + text
	v.saysNot(v.see("tokens", "ci"), text)
	id, _ := shingle.TokenID(text)
	ci := s.visitor()
	ci.want(303, ci.post("sign-in", "token", text))
	ci.see("domains")

	// Revoking asks first, and says what it means.
	path := "tokens/" + id + "/revoke"
	v.see("tokens", `href="/panel/`+path)
	v.see(path, "Revoke ci?", "within five seconds", "cannot be undone", "It was used", "just now", "tenant of acme")
	v.foreign(path)
	v.foreign("tokens", "name", "evil", "role", "admin")
	ci.see("domains")
	v.says(v.sends(path), "The token was revoked.")
	ci.want(303, ci.get("domains"))
	v.want(404, v.get(path))
	v.want(404, v.post(path))
	v.saysNot(v.see("tokens"), ">ci<", "evil")

	// One's own.
	own := "tokens/" + v.token.ID + "/revoke"
	v.see("tokens", ">yours<")
	v.see(own, "it ends your session")
}

func TestTokens_FaultsAreBesideTheirFields(t *testing.T) {
	s := open(t)
	v := s.as(shingle.RoleAdmin, "")
	v.refuses("tokens", "name", "", "name", "two words", "role", "read")
	v.refuses("tokens", "name", "exists already", "name", "admin", "role", "read")
	v.refuses("tokens", "role", "", "name", "ci", "role", "emperor")
	v.refuses("tokens", "tenant", "", "name", "ci", "role", "tenant")
	v.refuses("tokens", "tenant", "", "name", "ci", "role", "read", "tenant", "acme")
	for _, days := range []string{"soon", "0", "-1", "99999999999"} {
		v.refuses("tokens", "days", "Enter a number of days, or nothing.", "name", "ci", "role", "read", "days", days)
	}
	if made := strings.Count(v.see("tokens").text, `/revoke"`); made != 0 {
		t.Errorf("%d tokens were made", made)
	}
}

func TestTokens_AreTheAdminsAlone(t *testing.T) {
	s := open(t)
	admin := s.as(shingle.RoleAdmin, "")
	for role, status := range map[shingle.TokenRole]int{shingle.RoleOperator: 403, shingle.RoleRead: 403, shingle.RoleTenant: 404} {
		tenant := ""
		if role == shingle.RoleTenant {
			tenant = "acme"
		}
		v := s.as(role, tenant)
		v.saysNot(v.see(""), `href="/panel/tokens"`)
		v.want(status, v.get("tokens"))
		v.want(status, v.get("tokens/"+admin.token.ID+"/revoke"))
		v.want(status, v.post("tokens/"+admin.token.ID+"/revoke"))
		v.want(status, v.post("tokens", "name", "mine", "role", "admin"))
	}
	admin.saysNot(admin.see("tokens"), "mine")
}
