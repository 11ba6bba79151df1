package panel

import (
	"encoding/json"
	"testing"

	"github.com/shingle-proxy/shingle/internal/api"
)

// A form that is sent back as it was shown changes nothing, whatever the settings.
func TestEditForm_KeepsEverything(t *testing.T) {
	for _, settings := range []string{
		``, `{}`, `{"tags":["a","b"]}`, `{"tls":{"min_version":"1.3","client_ca":"x"},"hsts":{"max_age":60,"preload":true},"http3":"off"}`,
		`{"maintenance":{"on":true,"page":"<p>"},"metadata":{"n":12345678901234567890,"x":[1,{"y":2}]}}`, `{"maintenance":{"page":"<p>"}}`,
	} {
		var form editForm
		if err := form.read(api.Settings(settings)); err != nil {
			t.Fatal(err)
		}
		p, err := form.patch(api.Domain{Settings: api.Settings(settings)})
		if err != nil || p.Settings != nil || p.Tenant != nil || p.Paused != nil {
			t.Errorf("%s: changes %s, %v", settings, text(p.Settings), err)
		}
	}
}

func TestEditForm_PatchHasWhatChanged(t *testing.T) {
	old := api.Domain{Tenant: "acme", Settings: `{"tags":["a"],"hsts":{"max_age":60,"preload":true},"maintenance":{"on":true,"page":"<p>"},"metadata":{"a":1,"b":2}}`}
	var form editForm
	if err := form.read(old.Settings); err != nil {
		t.Fatal(err)
	}
	form.Tenant, form.Tags, form.Maintenance, form.HSTS = "rival", "b , c", false, "70"
	form.Other = `{"hsts":{"preload":true},"maintenance":{"page":"<p>"},"metadata":{"a":1},"error_page":"x"}`
	p, err := form.patch(old)
	if err != nil || *p.Tenant != "rival" || p.Origin != nil {
		t.Fatalf("%+v, %v", p, err)
	}
	want := `{"error_page":"x","hsts":{"max_age":70},"maintenance":{"on":null},"metadata":{"b":null},"tags":["b","c"]}`
	if got := text(p.Settings); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, wrong := range []func(*editForm){func(f *editForm) { f.Other = "[" }, func(f *editForm) { f.Other = "1" }, func(f *editForm) { f.Other = "{} {}" }, func(f *editForm) { f.HSTS = "year" }} {
		bad := form
		wrong(&bad)
		if _, err := bad.patch(old); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

func text(p *api.SettingsPatch) string {
	data, _ := json.Marshal(p)
	return string(data)
}

func FuzzEditForm_KeepsEverything(f *testing.F) {
	f.Add(`{"tags":["a"],"hsts":{"max_age":1}}`)
	f.Fuzz(func(t *testing.T, settings string) {
		var form editForm
		if form.read(api.Settings(settings)) == nil {
			_, _ = form.patch(api.Domain{Settings: api.Settings(settings)})
		}
	})
}
