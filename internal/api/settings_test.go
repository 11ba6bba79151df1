package api_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

func TestSettings_Merge(t *testing.T) {
	const all = `{"host":"a.example.com","settings":{"tags":["a","b"],"metadata":{"x":1,"y":{"z":12345678901234567890}}}}`
	for patch, want := range map[string]string{
		`{"settings":{}}`: `{"tags":["a","b"],"metadata":{"x":1,"y":{"z":12345678901234567890}}}`,
		`{"settings":{"metadata":{"x":null,"y":{"w":"ü"}}}}`: `{"tags":["a","b"],"metadata":{"y":{"w":"ü","z":12345678901234567890}}}`,
		`{"settings":{"tags":["c"],"metadata":null}}`:        `{"tags":["c"]}`,
		`{"settings":{"metadata":{"y":5}}}`:                  `{"tags":["a","b"],"metadata":{"x":1,"y":5}}`,
		`{"settings":null}`:                                  ``,
		`{"tenant":"acme"}`:                                  `{"tags":["a","b"],"metadata":{"x":1,"y":{"z":12345678901234567890}}}`,
	} {
		s := open(t, &memory.Store{})
		made := s.want(201, s.do("POST", "/v1/domains", all))
		r := s.want(200, s.do("PATCH", "/v1/domains/a.example.com", patch, "If-Match", made.Header.Get("ETag")))
		if got := s.domain(r); string(got.Settings) != want {
			t.Errorf("%s: got %s", patch, got.Settings)
		}
		if changed := r.Header.Get("ETag") != made.Header.Get("ETag"); changed != (patch != `{"settings":{}}`) {
			t.Errorf("%s: written: %v", patch, changed)
		}
	}
}

func TestSettings_AllErrorsAtOnce(t *testing.T) {
	s := open(t, &memory.Store{})
	s.want(201, s.do("POST", "/v1/domains", `{"host":"a.example.com"}`))
	r := s.want(422, s.do("PATCH", "/v1/domains/a.example.com", `{"tenant":"_","settings":{"coffee":1,"tags":5}}`))
	var p api.Problem
	check(t, json.Unmarshal([]byte(r.text), &p))
	var at []string
	for _, e := range p.Errors {
		at = append(at, e.Location)
	}
	same(t, strings.Join(at, " "), "body.tenant body.settings.coffee body.settings.tags")
	r = s.want(422, s.do("POST", "/v1/domains", `{"host":"b.example.com","settings":{"coffee":1,"tags":[5]}}`))
	if !strings.Contains(r.text, `"location":"body.settings.coffee"`) || !strings.Contains(r.text, `"location":"body.settings.tags[0]"`) {
		t.Errorf("got %s", r.text)
	}
	s.want(422, s.do("PATCH", "/v1/domains/a.example.com", `{"settings":5}`))
}

// TestSettings_MergeIsRFC7396 compares with the definition in section 2, over random
// values.
func TestSettings_MergeIsRFC7396(t *testing.T) {
	s := open(t, &memory.Store{})
	s.want(201, s.do("POST", "/v1/domains", `{"host":"a.example.com"}`))
	have := any(map[string]any{})
	for range 300 {
		patch := map[string]any{"metadata": randomJSON(3)}
		if _, ok := patch["metadata"].(map[string]any); !ok {
			continue
		}
		body, err := json.Marshal(map[string]any{"settings": patch})
		check(t, err)
		got := s.domain(s.want(200, s.do("PATCH", "/v1/domains/a.example.com", string(body))))
		have = definition(have, patch)
		var is any = map[string]any{}
		if got.Settings != "" {
			check(t, json.Unmarshal([]byte(got.Settings), &is))
		}
		if m := have.(map[string]any); len(m["metadata"].(map[string]any)) == 0 {
			delete(m, "metadata") // nothing to keep
		}
		if !reflect.DeepEqual(is, have) {
			t.Fatalf("after %s\ngot  %v\nwant %v", body, is, have)
		}
	}
}

func definition(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	members, ok := target.(map[string]any)
	if !ok {
		members = map[string]any{}
	}
	for name, value := range changes {
		if value == nil {
			delete(members, name)
		} else {
			members[name] = definition(members[name], value)
		}
	}
	return members
}

func randomJSON(depth int) any {
	switch n := rand.IntN(6); {
	case n < 3 && depth > 0:
		m := map[string]any{}
		for range rand.IntN(4) {
			m[string(rune('a'+rand.IntN(4)))] = randomJSON(depth - 1)
		}
		return m
	case n == 3:
		return nil
	case n == 4:
		return float64(rand.IntN(100))
	}
	return "text"
}

func TestDomains_ByTag(t *testing.T) {
	store := &memory.Store{}
	s := open(t, store)
	for i := range 7 {
		d := shingle.Domain{Host: fmt.Sprintf("h%d.example.com", i)}
		if i%3 == 0 {
			d.Settings = `{"tags":["eu"]}`
		}
		_, err := store.CreateDomain(t.Context(), d, clock)
		check(t, err)
	}
	var page api.DomainList
	check(t, json.Unmarshal([]byte(s.want(200, s.do("GET", "/v1/domains?limit=2&tag=eu", "")).text), &page))
	if len(page.Domains) != 2 || page.Next == "" {
		t.Errorf("got %+v", page)
	}
	var got []string
	for d, err := range s.client().FindDomains(t.Context(), api.FilterInput{Tag: "eu"}, "") {
		check(t, err)
		got = append(got, d.Host)
	}
	same(t, strings.Join(got, " "), "h0.example.com h3.example.com h6.example.com")
}

// TestDomains_PagesOfLargeSettings has more in its rows than a page may hold.
func TestDomains_PagesOfLargeSettings(t *testing.T) {
	store := &memory.Store{}
	s := open(t, store)
	large := shingle.SettingsText(`{"metadata":{"x":"` + strings.Repeat("x", 30_000) + `"}}`)
	for i := range 200 {
		_, err := store.CreateDomain(t.Context(), shingle.Domain{Host: fmt.Sprintf("h%03d.example.com", i), Settings: large}, clock)
		check(t, err)
	}
	if r := s.want(200, s.do("GET", "/v1/domains?limit=1000", "")); len(r.text) > 3<<20 {
		t.Errorf("a page of %d bytes", len(r.text))
	}
	n := 0
	for d, err := range s.client().Domains(t.Context()) {
		check(t, err)
		if d.Settings != api.Settings(large) {
			t.Fatal("settings were lost")
		}
		n++
	}
	same(t, n, 200)
}
