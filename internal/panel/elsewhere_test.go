package panel_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/panel"
)

// door is a [panel.SignIn] that lets in who brings code=good.
type door struct {
	token string
	ended atomic.Int64
}

func (d *door) Name() string { return "id.example.com" }

func (d *door) Begin(context.Context) (string, []byte, error) {
	return "https://id.example.com/authorize?state=1", []byte("remember"), nil
}

func (d *door) Finish(_ context.Context, secret []byte, query url.Values) (string, error) {
	if string(secret) != "remember" || query.Get("code") != "good" {
		return "", shingle.Errorf(shingle.CodeForbidden, "eve@example.com may not use this panel")
	}
	return d.token, nil
}

func (d *door) End(_ context.Context, token string) error {
	if token == d.token {
		d.ended.Add(1)
	}
	return nil
}

func withDoor(t *testing.T) (*site, *door) {
	d := &door{}
	s := open(t, func(c *panel.Config) { c.SignIn = d })
	var err error
	d.token, _, err = s.keeper.CreateToken(t.Context(), shingle.Token{Name: "ann", Role: shingle.RoleRead})
	check(t, err)
	return s, d
}

func TestSignIn_Elsewhere(t *testing.T) {
	s, d := withDoor(t)
	v := s.visitor()
	v.says(v.want(200, v.get("sign-in?next=/panel/domains")), "Sign in at id.example.com", `/panel/sign-in/elsewhere?next=%2fpanel%2fdomains"`)
	a := v.want(303, v.get("sign-in/elsewhere?next=/panel/domains"))
	if to := a.Header.Get("Location"); to != "https://id.example.com/authorize?state=1" {
		t.Errorf("sent to %s", to)
	}
	if set := a.Header.Get("Set-Cookie"); strings.Contains(set, "remember") || !strings.Contains(set, "SameSite=Lax") || !strings.Contains(set, "HttpOnly") {
		t.Errorf("cookie %s", set)
	}
	back := "sign-in/elsewhere/end?code=good&state=1"
	if a := v.want(303, v.get(back)); a.Header.Get("Location") != "/panel/domains" {
		t.Errorf("goes on at %s", a.Header.Get("Location"))
	}
	v.want(200, v.get("domains"))
	v.says(v.want(401, v.get(back)), "begin again") // once alone
	v.want(303, v.post("sign-out"))
	v.want(303, v.get("domains"))
	if d.ended.Load() != 1 {
		t.Error("the token of the session was not revoked")
	}
}

func TestSignIn_ElsewhereWithoutItsOtherHalf(t *testing.T) {
	s, _ := withDoor(t)
	back := "sign-in/elsewhere/end?code=good&state=1"
	stranger := s.visitor()
	stranger.says(stranger.want(401, stranger.get(back)), "not begun here")

	refused := s.visitor()
	refused.want(303, refused.get("sign-in/elsewhere"))
	refused.says(refused.want(403, refused.get("sign-in/elsewhere/end?code=bad")), "eve@example.com may not use this panel")
	refused.want(303, refused.get("domains"))

	late := s.visitor()
	late.want(303, late.get("sign-in/elsewhere"))
	s.forward.Store(int64(11 * time.Minute))
	late.want(401, late.get(back))
	s.forward.Store(0)

	// A session's cookie is none of a sign-in's, and the other way round.
	v := s.as(shingle.RoleRead, "")
	at, err := url.Parse(s.url + "/panel/")
	check(t, err)
	session := v.http.Jar.Cookies(at)[0].Value
	stranger.want(401, stranger.do("GET", back, "", "Cookie", "shingle-sign-in="+session))
}

func TestSignIn_ElsewhereIsBounded(t *testing.T) {
	s, _ := withDoor(t)
	v := s.visitor()
	for range 100 {
		if a := v.get("sign-in/elsewhere"); a.StatusCode == http.StatusTooManyRequests {
			v.says(a, "try again in a moment")
			return
		}
	}
	t.Error("a hundred at once went to the provider")
}

func TestSignIn_NoneElsewhereUnlessSet(t *testing.T) {
	v := open(t).visitor()
	if a := v.want(200, v.get("sign-in")); strings.Contains(a.text, "elsewhere") {
		t.Error(a.text)
	}
	v.want(303, v.get("sign-in/elsewhere/end"))
}
