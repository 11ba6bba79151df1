package panel_test

import (
	"testing"

	"github.com/shingle-proxy/shingle"
)

func TestSetup_LinkWidgetAndEmail(t *testing.T) {
	s := open(t)
	s.domain("shop.acme.example", "acme")
	s.domain("shop.rival.example", "rival")
	acme, read := s.as(shingle.RoleTenant, "acme"), s.as(shingle.RoleRead, "")
	a := acme.want(200, acme.post("domains/shop.acme.example/setup"))
	acme.says(a, s.url+"/setup/shop.acme.example/signed", "<script", "en: shop.acme.example", "in 7 days")
	acme.says(acme.want(200, acme.post("domains/shop.acme.example/setup", "language", "de")), "de: shop.acme.example")
	acme.says(acme.want(422, acme.post("domains/shop.acme.example/setup", "language", "tlh")), "Expected value to be one of")
	acme.want(404, acme.post("domains/shop.rival.example/setup"))
	acme.want(404, acme.post("domains/none.example.com/setup"))
	read.want(403, read.post("domains/shop.acme.example/setup"))
	acme.foreign("domains/shop.acme.example/setup")
}
