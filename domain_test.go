package shingle_test

import (
	"errors"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

var testTime = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestDomain_ValidateNamesTheField(t *testing.T) {
	for field, d := range map[string]shingle.Domain{
		"host":     {Host: "localhost"},
		"tenant":   {Host: "a.example.com", Tenant: "no spaces"},
		"origin":   {Host: "a.example.com", Origin: "ftp://x"},
		"redirect": {Host: "a.example.com", Redirect: "A.example.com"},
	} {
		err := d.Validate()
		e, ok := errors.AsType[*shingle.Error](err)
		if !ok || e.Code != shingle.CodeInvalid || e.Field != field {
			t.Errorf("%+v: got %v, want an error about %s", d, err, field)
		}
	}
	d := shingle.Domain{Host: "A.Example.com.", Origin: "App.example.com:443", Redirect: "WWW.example.com"}
	if err := d.Validate(); err != nil || d.Host != "a.example.com" || d.Origin != "https://app.example.com" || d.Redirect != "www.example.com" {
		t.Errorf("got %+v, %v", d, err)
	}
}
