package shingle_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
)

// settled is what becomes of settings that a user wrote.
func settled(text string) (shingle.SettingsText, error) {
	d := shingle.Domain{Host: "a.example.com", Settings: shingle.SettingsText(text)}
	err := d.Validate()
	return d.Settings, err
}

func TestSettings_EqualOnesAreEqualTexts(t *testing.T) {
	for text, want := range map[string]string{
		`{"access":{"allow":[]},"maintenance":{"on":false},"error_page":""}`: ``,
		`{"redirect":{"to":"https://WWW.Example.com:8443/a b/"}}`:            `{"redirect":{"to":"https://www.example.com:8443/a%20b"}}`,
		`{"redirect":{"to":"Bücher.example.com","status":308}}`:              `{"redirect":{"to":"xn--bcher-kva.example.com","status":308}}`,
		`{"access":{"deny":["::ffff:10.0.0.1","10.0.0.1","2001:DB8::/32"]}}`: `{"access":{"deny":["10.0.0.1/32","2001:db8::/32"]}}`,
		``: ``, `{}`: ``, ` null `: ``, `{"tags":[]}`: ``, `{"tags":null,"metadata":{}}`: ``,
		`{"tags":["b","a","b"]}`:                                   `{"tags":["a","b"]}`,
		`{ "metadata" : { "b":1.0, "a" : 12345678901234567890 } }`: `{"metadata":{"b":1.0,"a":12345678901234567890}}`,
		`{"metadata":{"x":"<ü>"}}`:                                 `{"metadata":{"x":"\u003cü\u003e"}}`,
	} {
		got, err := settled(text)
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v", text, got, err)
		}
	}
}

func TestSettings_ErrorsNameTheirFields(t *testing.T) {
	for text, want := range map[string]string{
		`{"redirect":{"to":"a.example.com","status":303},"hsts":{"max_age":-1},"access":{"allow":["x","10.0.0.1/8"],"deny":["1.2.3.4"]},"maintenance":{"retry_after":-1}}`: "settings.redirect.status settings.redirect.to settings.hsts.max_age settings.access.allow[0] settings.access.allow[1] settings.maintenance.retry_after",
		`{"redirect":{}}`: "settings.redirect.to",
		`{"routes":[{"prefix":"/","origin":"a.example.com"},{"prefix":"blog","origin":"ftp://x"},{"prefix":"/a?b","origin":"a.example.com"},{"prefix":"/a","origin":"a.example.com"},{"prefix":"/a/","origin":"a.example.com"}]}`: "settings.routes[0].prefix settings.routes[1].prefix settings.routes[1].origin settings.routes[2].prefix settings.routes[4].prefix",
		`{"rate_limit":{"requests":0,"seconds":7200,"burst":-1}}`:                                "settings.rate_limit.requests settings.rate_limit.seconds settings.rate_limit.burst",
		`{"rate_limit":{"requests":5}}`:                                                          "settings.rate_limit.seconds",
		`{"routes":[{"prefx":"/a"}]}`:                                                            "settings.routes.prefx",
		`{"tls":{"min_version":"1.1","client_ca":"x"}}`:                                          "settings.tls.min_version settings.tls.client_ca",
		`{"tls":{"client_ca":"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}}`: "settings.tls.client_ca",
		`{"redirect":{"to":"https://u:p@x.example.com"}}`:                                        "settings.redirect.to",
		`{"redirect":{"to":"https://x.example.com/?q"}}`:                                         "settings.redirect.to",
		`{"redirect":{"to":"javascript://x.example.com"}}`:                                       "settings.redirect.to",
		`{"redirect":{"to":"https://x.example.com:99999"}}`:                                      "settings.redirect.to",
		`{"redirect":{"to":"https://192.0.2.1/"}}`:                                               "settings.redirect.to",
		`{"redirect":{"too":"x"},"hsts":{"max_age":"1"}}`:                                        "settings.hsts.max_age settings.redirect.too",
		`{"hsts":{"max_age":1,"preload":true}}`:                                                  "settings.hsts.preload",
		`{"access":{"deny":["::ffff:0:0/90"]}}`:                                                  "settings.access.deny[0]",
		`{"access":{"deny":["fe80::1%eth0"]}}`:                                                   "settings.access.deny[0]",
		`{"error_page":"` + strings.Repeat("x", shingle.MaxPage+1) + `"}`:                        "settings.error_page",
		`[]`:                                  "settings",
		`{"tags"`:                             "settings",
		`{"Tags":[]}`:                         "settings.Tags",
		`{"x":1,"y":2,"tags":3}`:              "settings.tags settings.x settings.y",
		`{"tags":["ok","_x"],"metadata":"x"}`: "settings.tags[1] settings.metadata",
		`{"tags":["` + strings.Repeat("t", shingle.MaxTag+1) + `"]}`:                "settings.tags[0]",
		`{"metadata":{"x":"` + strings.Repeat("ü", shingle.MaxMetadata/6+1) + `"}}`: "settings.metadata",
		strings.Repeat(" ", 2*shingle.MaxSettings+1):                                "settings",
	} {
		_, err := settled(text)
		var fields []string
		for _, e := range shingle.Faults(err) {
			fields = append(fields, e.Field)
		}
		if got := strings.Join(fields, " "); got != want || !errors.Is(err, shingle.ErrInvalid) {
			t.Errorf("%.40s: got %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestDomain_AllFieldsThatAreWrongAreNamed(t *testing.T) {
	d := shingle.Domain{Host: "192.0.2.1", Tenant: "_", Origin: "ftp://x", Redirect: "-", Settings: `{"x":1}`}
	var fields []string
	for _, e := range shingle.Faults(d.Validate()) {
		fields = append(fields, e.Field)
	}
	if !slices.Equal(fields, []string{"host", "tenant", "origin", "redirect", "settings.x"}) {
		t.Errorf("got %q", fields)
	}
}

// TestSettings_ValidOnesStay makes up settings at random: what was accepted is
// accepted again and stays the same, and what it holds comes back.
func TestSettings_ValidOnesStay(t *testing.T) {
	accepted := 0
	for range 5_000 {
		raw, err := json.Marshal(randomSettings())
		if err != nil {
			t.Fatal(err)
		}
		once, err := settled(string(raw))
		if err != nil {
			if !errors.Is(err, shingle.ErrInvalid) {
				t.Fatalf("%s: %v", raw, err)
			}
			continue
		}
		accepted++
		if twice, err := settled(string(once)); err != nil || twice != once {
			t.Fatalf("%s became %s, and then %s (%v)", raw, once, twice, err)
		}
		s, err := once.Parse()
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if again, err := s.Text(); err != nil || again != once {
			t.Fatalf("%s was read as %s (%v)", once, again, err)
		}
	}
	if accepted < 500 {
		t.Errorf("%d of 5000 were accepted", accepted)
	}
}

func randomSettings() map[string]any {
	all := map[string]any{}
	for name, values := range map[string][]any{
		"tags":            {[]string{}, []string{"b", "a"}, []string{"x", "x"}, []string{"ü"}, nil, "a"},
		"routes":          {[]any{map[string]any{"prefix": "/b/", "origin": "b.example.com"}, map[string]any{"prefix": "/b/c", "origin": "http://10.0.0.1", "strip": true}}, []any{map[string]any{"prefix": "/"}}},
		"tls":             {map[string]any{"min_version": "1.3"}, map[string]any{"client_ca": "x"}, map[string]any{}},
		"rate_limit":      {map[string]any{"requests": 100, "seconds": 60}, map[string]any{"requests": 1, "seconds": 1, "burst": 2}, map[string]any{}},
		"metadata_header": {true, false, nil},
		"redirect":        {map[string]any{"to": "B.example.com"}, map[string]any{"to": "https://x.example.com/a/", "status": 301, "drop_path": true}, map[string]any{"to": "x y"}, nil},
		"hsts":            {map[string]any{"max_age": 5}, map[string]any{"max_age": 5, "preload": true}, map[string]any{}},
		"access":          {map[string]any{"allow": []string{"10.0.0.1", "::1"}}, map[string]any{"deny": []string{"10.0.0.1/8"}}, map[string]any{"deny": nil}},
		"maintenance":     {map[string]any{"on": true, "page": "<p>", "retry_after": 1}, map[string]any{}},
		"error_page":      {"", "<p>\u2028", 5},
		"metadata":        {map[string]any{}, map[string]any{"<": "\u2028"}, map[string]any{"a": []any{nil, 1e300, fmt.Sprint(rand.Int())}}, 5, nil},
	} {
		if rand.IntN(3) == 0 {
			all[name] = values[rand.IntN(len(values))]
		}
	}
	return all
}

func FuzzSettings(f *testing.F) {
	f.Add(`{"tags":["a"],"metadata":{"a":"\ud800","b":"ü"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		once, err := settled(text)
		if err != nil {
			return
		}
		if twice, err := settled(string(once)); err != nil || twice != once {
			t.Fatalf("%q became %q, and then %q (%v)", text, once, twice, err)
		}
		s, err := once.Parse()
		if err != nil {
			t.Fatal(err)
		}
		if header := s.MetadataText(); strings.ContainsFunc(header, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("%q is no field value", header)
		}
	})
}
