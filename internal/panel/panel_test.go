package panel_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/panel"
)

func TestPanel_StrangersSignInFirst(t *testing.T) {
	s := open(t)
	v := s.visitor()
	for path, next := range map[string]string{
		"": "/panel/sign-in", "domains?text=a": "/panel/sign-in?next=%2Fpanel%2Fdomains%3Ftext%3Da", "domains/a.example.com": "/panel/sign-in?next=%2Fpanel%2Fdomains%2Fa.example.com",
		"nowhere": "/panel/sign-in?next=%2Fpanel%2Fnowhere", "events/stream": "/panel/sign-in?next=%2Fpanel%2Fevents%2Fstream",
	} {
		if a := v.want(303, v.get(path)); a.Header.Get("Location") != next {
			t.Errorf("%s leads to %s", path, a.Header.Get("Location"))
		}
	}
	v.want(303, v.post("domains", "host", "a.example.com"))
	if _, err := s.store.Domain(t.Context(), "a.example.com"); err == nil {
		t.Error("a stranger added a domain")
	}
	for _, wrong := range []string{"", "hello", "shingle_abcdefghij_wrong"} {
		a := v.want(422, v.post("sign-in", "token", wrong))
		if len(a.Cookies()) != 0 {
			t.Errorf("%q begins a session", wrong)
		}
	}
	// Whoever comes from elsewhere than this machine may not guess for long.
	for range 60 {
		r := httptest.NewRequest("POST", "/panel/sign-in", strings.NewReader("token=shingle_abcdefghij_wrong"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr = "192.0.2.7:1234"
		w := httptest.NewRecorder()
		if s.pages.ServeHTTP(w, r); w.Code == http.StatusTooManyRequests {
			return
		}
	}
	t.Error("tokens may be guessed without an end")
}

func TestPanel_EveryAnswerIsGuarded(t *testing.T) {
	s := open(t)
	v := s.as(shingle.RoleAdmin, "")
	for _, a := range []answer{v.get(""), v.get("sign-in"), v.get("domains"), v.get("nowhere"), v.get("assets/panel.js"), v.get("assets/none"), v.post("sign-out")} {
		for name, want := range map[string]string{"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", a.Request.URL, name, got)
			}
		}
		if p := a.Header.Get("Content-Security-Policy"); strings.Contains(p, "unsafe") || !strings.Contains(p, "default-src 'none'") || !strings.Contains(p, "frame-ancestors 'none'") {
			t.Errorf("%s: policy %q", a.Request.URL, p)
		}
	}
	if a := v.get("sign-in"); strings.Contains(a.text, "<style") || strings.Contains(a.text, " style=") || strings.Contains(a.text, " onclick=") {
		t.Error("a page has what the policy forbids")
	}
}

func TestSession_IsSealedAndEnds(t *testing.T) {
	s := open(t)
	v := s.as(shingle.RoleOperator, "")
	at, err := url.Parse(s.url + "/panel/")
	check(t, err)
	held := v.http.Jar.Cookies(at)
	if len(held) != 1 || strings.Contains(held[0].Value, v.text) {
		t.Fatalf("cookies %v", held)
	}
	set := s.visitor().want(303, s.visitor().post("sign-in", "token", v.text)).Header.Get("Set-Cookie")
	for _, flag := range []string{"HttpOnly", "SameSite=Strict", "Path=/panel/", "Max-Age=43200"} {
		if !strings.Contains(set, flag) {
			t.Errorf("%s is missing in %s", flag, set)
		}
	}
	secure := s.visitor().do("POST", "sign-in", "token="+v.text, "X-Forwarded-Proto", "https")
	if !strings.Contains(secure.Header.Get("Set-Cookie"), "Secure") {
		t.Error("over HTTPS the cookie is not secure")
	}

	// Changed, and sealed by others.
	changed := strings.ToUpper(held[0].Value)
	for _, other := range []*site{s, open(t, func(c *panel.Config) { c.Key = [32]byte{2} })} {
		value := changed
		if other != s {
			value = held[0].Value
		}
		stranger := other.visitor()
		stranger.want(303, stranger.do("GET", "domains", "", "Cookie", "shingle-panel="+value))
	}
	v.want(200, v.get("domains"))

	late := s.as(shingle.RoleRead, "")
	s.forward.Store(int64(13 * time.Hour))
	late.want(303, late.get("domains"))
	s.forward.Store(0)
	check(t, s.keeper.DeleteToken(t.Context(), v.token.ID))
	if a := v.want(303, v.get("domains")); !strings.Contains(a.Header.Get("Set-Cookie"), "Max-Age=0") {
		t.Error("the cookie of a token that was revoked stays")
	}
	v.want(401, v.do("GET", "domains/a.example.com/live", "", "Shingle-Part", "1"))
}

func TestSession_GoesOnWhereItWasAsked(t *testing.T) {
	s := open(t)
	v := s.as(shingle.RoleRead, "")
	for next, want := range map[string]string{
		"/panel/events?host=a.example.com": "/panel/events?host=a.example.com", "": "/panel/", "https://evil.example/": "/panel/",
		"//evil.example/panel/": "/panel/", "/panel/../v1": "/panel/", "/\\evil.example": "/panel/", "/panel/\\evil": "/panel/%5Cevil",
	} {
		if a := v.want(303, v.post("sign-in", "token", v.text, "next", next)); a.Header.Get("Location") != want {
			t.Errorf("%q leads to %q", next, a.Header.Get("Location"))
		}
	}
	// A link on another site: the browser keeps the cookie to itself until we ask.
	stranger := s.visitor()
	a := stranger.want(200, stranger.do("GET", "events", "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"))
	stranger.says(a, `http-equiv="refresh"`, "/panel/events")
}

func TestPanel_OtherSitesDoNothing(t *testing.T) {
	s := open(t)
	v := s.as(shingle.RoleAdmin, "")
	for _, from := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}} {
		v.want(403, v.do("POST", "domains", "host=a.example.com", from...))
	}
	if _, err := s.store.Domain(t.Context(), "a.example.com"); err == nil {
		t.Error("another site added a domain")
	}
	v.want(303, v.do("POST", "domains", "host=a.example.com", "Sec-Fetch-Site", "same-origin"))
	v.want(422, v.do("POST", "domains", "host="+strings.Repeat("a", 200<<10), "Sec-Fetch-Site", "same-origin"))
}

func TestPanel_WhatMayBeDoneIsUpToTheAPI(t *testing.T) {
	s := open(t)
	admin := s.as(shingle.RoleAdmin, "")
	admin.want(303, admin.post("domains", "host", "a.example.com", "tenant", "acme"))
	admin.want(303, admin.post("domains", "host", "b.example.com", "tenant", "rival"))
	if d, err := s.store.Domain(t.Context(), "a.example.com"); err != nil || d.UpdatedBy != "admin" {
		t.Errorf("added %+v, %v", d, err)
	}
	a := admin.want(422, admin.post("domains", "host", "a.example.com"))
	admin.says(a, "a.example.com exists already")

	read := s.as(shingle.RoleRead, "")
	read.says(read.want(200, read.get("domains")), "a.example.com", "b.example.com")
	read.want(403, read.post("domains/a.example.com/delete", "confirm", "a.example.com"))
	read.want(422, read.post("domains/a.example.com/edit", "tenant", "rival")) // 403 of the API's, shown above the form
	if a := read.get("domains/a.example.com"); strings.Contains(a.text, "/delete") {
		t.Error("a reader is offered to delete")
	}

	acme := s.as(shingle.RoleTenant, "acme")
	if a := acme.want(200, acme.get("domains")); strings.Contains(a.text, "b.example.com") {
		t.Error("a tenant sees another's domain")
	}
	acme.want(404, acme.get("domains/b.example.com"))
	acme.want(200, acme.get(""))
	acme.want(200, acme.get("domains/a.example.com"))
	d, err := s.store.Domain(t.Context(), "a.example.com")
	check(t, err)
	acme.want(303, acme.post("domains/a.example.com/edit", "tenant", "acme", "redirect", "www.example.com"))
	acme.want(422, acme.post("domains/a.example.com/edit", "tenant", "rival"))
	if now, err := s.store.Domain(t.Context(), "a.example.com"); err != nil || now.Redirect != "www.example.com" || now.Tenant != "acme" || now.Version != d.Version+1 {
		t.Errorf("changed to %+v, %v", now, err)
	}
}

func TestEdit_KeepsWhatOthersDid(t *testing.T) {
	s := open(t)
	v := s.as(shingle.RoleAdmin, "")
	v.want(303, v.post("domains", "host", "a.example.com"))
	form := v.want(200, v.get("domains/a.example.com/edit")).text
	_, etag, _ := strings.Cut(form, `name="etag" value="`)
	etag, _, _ = strings.Cut(etag, `">`)
	etag = strings.ReplaceAll(etag, "&#34;", `"`)
	v.want(303, v.post("domains/a.example.com/edit", "etag", etag, "tags", "gold"))
	v.says(v.want(422, v.post("domains/a.example.com/edit", "etag", etag, "tags", "silver")), "was changed in the meantime")
}

func TestDomains_FaultsAreBesideTheirFields(t *testing.T) {
	s := open(t)
	v := s.as(shingle.RoleOperator, "")
	v.refuses("domains", "host", "single label", "host", "localhost", "tenant", "acme")
	v.refuses("domains", "tenant", "", "host", "a.example.com", "tenant", "two words")
	v.refuses("domains", "origin", "", "host", "a.example.com", "origin", "ftp://x")
	v.refuses("domains", "redirect", "", "host", "a.example.com", "redirect", "not a host")
	v.sends("domains", "host", "a.example.com")
	edit := "domains/a.example.com/edit"
	v.refuses(edit, "tenant", "", "tenant", "two words")
	v.refuses(edit, "origin", "", "origin", "ftp://x")
	v.refuses(edit, "redirect", "", "redirect", "not a host")
	v.refuses(edit, "tags", "", "tags", "two words")
	v.refuses(edit, "min_tls", "", "min_tls", "1.1")
	v.refuses(edit, "http3", "", "http3", "maybe")
	v.refuses(edit, "hsts", "not a number", "hsts", "a year")
	v.refuses(edit, "hsts", "", "hsts", "-5")
	v.refuses(edit, "other", "not a JSON object", "other", "[1]")
	v.refuses(edit, "other", "rate_limit", "other", `{"rate_limit": {"requests": 0, "seconds": 1}}`)
	v.refuses("domains/a.example.com/delete", "confirm", "Enter the name", "confirm", "a.example")
}

func TestEdit_HTTP3(t *testing.T) {
	s := open(t)
	v := s.as(shingle.RoleOperator, "")
	v.sends("domains", "host", "a.example.com")
	set := func() string {
		d, err := s.store.Domain(t.Context(), "a.example.com")
		check(t, err)
		return string(d.Settings)
	}
	v.see("domains/a.example.com/edit", "on, the default")
	v.says(v.sends("domains/a.example.com/edit", "http3", "off"), "The changes were saved", "Http3", "off")
	if set() != `{"http3":"off"}` {
		t.Error(set())
	}
	v.see("domains/a.example.com/edit", "<option selected>off</option>")
	v.says(v.sends("domains/a.example.com/edit", "http3", ""), "The changes were saved")
	if strings.Contains(set(), "http3") {
		t.Error(set())
	}
}

func TestDelete_SaysWhatItMeans(t *testing.T) {
	s := open(t)
	s.domain("a.example.com", "acme")
	v := s.as(shingle.RoleTenant, "acme")
	v.see("domains/a.example.com/delete", "no edge serves it any more", "the key of its certificate is destroyed", "pause it", "Enter the name to confirm")
	v.foreign("domains/a.example.com/delete", "confirm", "a.example.com")
	v.says(v.sends("domains/a.example.com/delete", "confirm", " a.example.com "), "The domain was deleted.")
	if _, err := s.store.Domain(t.Context(), "a.example.com"); err == nil {
		t.Error("the domain is there")
	}
}
