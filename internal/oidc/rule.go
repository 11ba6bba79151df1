package oidc

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// Rule gives a role to some people.
type Rule struct {
	Role   shingle.TokenRole
	Tenant string // of the role tenant

	email string // in lower case; "*@example.com": everybody there
	group string
}

const ruleForm = "a role is given as ROLE=ADDRESS, ROLE=*@DOMAIN or ROLE=group:GROUP, with the role admin, operator, read or tenant:NAME"

// ParseRule reads a rule such as "admin=you@example.com", "read=*@example.com",
// "operator=group:ops" or "tenant:acme=*@acme.example". Addresses count only when
// the provider has verified them.
func ParseRule(text string) (r Rule, err error) {
	role, who, _ := strings.Cut(text, "=")
	role, r.Tenant, _ = strings.Cut(role, ":")
	r.Role = shingle.TokenRole(role)
	if group, ok := strings.CutPrefix(who, "group:"); ok {
		r.group = group
	} else {
		r.email = strings.ToLower(who)
	}
	local, domain, _ := strings.Cut(r.email, "@")
	switch {
	case !slices.Contains(shingle.TokenRoles, r.Role),
		(r.Role == shingle.RoleTenant) != (r.Tenant != ""),
		r.Tenant != "" && !shingle.IsTenant(r.Tenant),
		r.group == "" && (local == "" || domain == "" || strings.Contains(domain, "*")):
		return Rule{}, shingle.Errorf(shingle.CodeInvalid, "%.100q: %s", text, ruleForm)
	}
	return r, nil
}

func (r *Rule) fits(c claims) bool {
	if r.group != "" {
		return slices.Contains(c.Groups, r.group)
	}
	if !c.Verified {
		return false
	}
	email := strings.ToLower(c.Email)
	if domain, ok := strings.CutPrefix(r.email, "*"); ok {
		at := strings.LastIndexByte(email, '@')
		return at > 0 && email[at:] == domain
	}
	return email == r.email
}

// claims are what the provider says of a person.
type claims struct {
	Subject  string `json:"sub"`
	Email    string `json:"email"`
	Verified yes    `json:"email_verified"`
	Groups   texts  `json:"groups"`
}

// name is what events have the person as, so an address that may be another's says so.
func (c claims) name() string {
	switch {
	case c.Email == "":
		return c.Subject
	case !bool(c.Verified):
		return "unverified-" + c.Email
	}
	return c.Email
}

// yes is a truth that some providers write as a text.
type yes bool

// UnmarshalJSON implements [json.Unmarshaler].
func (y *yes) UnmarshalJSON(b []byte) error {
	*y = string(b) == "true" || string(b) == `"true"`
	return nil
}

// texts is a list that some providers write as one text when it has one entry.
type texts []string

// UnmarshalJSON implements [json.Unmarshaler].
func (s *texts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*s = texts{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(s))
}
