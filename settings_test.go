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
		"tags":     {[]string{}, []string{"b", "a"}, []string{"x", "x"}, []string{"ü"}, nil, "a"},
		"metadata": {map[string]any{}, map[string]any{"<": "\u2028"}, map[string]any{"a": []any{nil, 1e300, fmt.Sprint(rand.Int())}}, 5, nil},
	} {
		if rand.IntN(2) == 0 {
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
