package panel

import "github.com/shingle-proxy/shingle/internal/api"

// setupPage is what an operator sends a domain's customer.
type setupPage struct {
	Host  string
	Link  api.SetupLink
	Email api.SetupEmail
}

func makeSetupLink(v *visit) error {
	p := setupPage{Host: v.host()}
	var err error
	if p.Link, err = v.api.SetupLink(v.ctx(), p.Host, api.NewSetupLink{}); err != nil {
		return err
	}
	if p.Email, err = v.api.SetupEmail(v.ctx(), p.Host, api.NewSetupEmail{Language: v.r.PostFormValue("language")}); err != nil {
		return err
	}
	return v.show("setup", p)
}

// askRevokeLinks asks whether all links of a domain are to end.
func askRevokeLinks(v *visit) error {
	d, err := v.api.Domain(v.ctx(), v.host())
	if err != nil {
		return err
	}
	return v.show("revoke-links", d)
}

func revokeLinks(v *visit) error {
	if err := v.api.RevokeSetupLinks(v.ctx(), v.host()); err != nil {
		return err
	}
	return v.tell(Root+"domains/"+v.host(), "links-ended")
}
