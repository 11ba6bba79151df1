package main

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/tokens"
)

// terminal runs `shingle domains` against an API of its own.
type terminal struct {
	t      *testing.T
	url    string
	secret string
}

func newTerminal(t *testing.T, edit ...func(*api.Config)) *terminal {
	t.Helper()
	store := &memory.Store{}
	keeper, err := tokens.New(tokens.Config{Blobs: store})
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := keeper.CreateToken(t.Context(), shingle.Token{Name: "test", Role: shingle.RoleAdmin})
	if err != nil {
		t.Fatal(err)
	}
	cfg := api.Config{Store: store, Tokens: keeper}
	for _, f := range edit {
		f(&cfg)
	}
	h, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	for _, name := range []string{"SHINGLE_API", "SHINGLE_TOKEN", "SHINGLE_DATA"} {
		t.Setenv(name, "") // and so given back at the end
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	return &terminal{t: t, url: srv.URL, secret: text}
}

// run returns what was printed. A failure must exit with 1 and say so in one
// line, and nothing ever shows the token.
func (x *terminal) run(ok bool, args ...string) string {
	x.t.Helper()
	var out, errs bytes.Buffer
	code := run(x.t.Context(), append([]string{"domains"}, args...), streams{Out: &out, Err: &errs})
	if strings.Contains(out.String()+errs.String(), x.secret) {
		x.t.Error("the token was printed")
	}
	if ok {
		if code != 0 || errs.Len() > 0 {
			x.t.Fatalf("%q: exit code %d, %s", args, code, errs.String())
		}
		return out.String()
	}
	if code != 1 || strings.Count(errs.String(), "\n") != 1 {
		x.t.Fatalf("%q: exit code %d, %s", args, code, errs.String())
	}
	return out.String() + errs.String()
}

func (x *terminal) login() {
	x.t.Setenv("SHINGLE_API", x.url)
	x.t.Setenv("SHINGLE_TOKEN", x.secret)
}

func TestDomains_ForPeople(t *testing.T) {
	x := newTerminal(t)
	x.login()
	contains := func(text string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%q is missing in\n%s", w, text)
			}
		}
	}
	contains(x.run(true, "list"), "No domains yet", "shingle domains add")
	contains(x.run(true, "add", "Bücher.example.com", "--tenant", "acme", "--origin", "o.example.com"),
		"xn--bcher-kva.example.com", "bücher.example.com", "acme", "https://o.example.com", "allowed")
	x.run(true, "add", "b.example.com", "--redirect", "www.example.com")
	x.run(true, "update", "b.example.com", "--pause")
	lines := strings.Split(x.run(true, "list"), "\n")
	if len(lines) != 4 {
		t.Fatalf("%q", lines)
	}
	contains(lines[0], "HOST", "STATE", "TENANT", "GOES TO", "ADDED")
	contains(lines[1], "b.example.com ", "paused", " - ", "redirect to www.example.com")
	contains(lines[2], "xn--bcher-kva.example.com (bücher.example.com) ", "allowed", "acme", "https://o.example.com")
	contains(x.run(true, "update", "b.example.com", "--resume", "--redirect", ""), "allowed", "the target")
	contains(x.run(true, "show", "BÜCHER.example.com"), "acme")
	contains(x.run(false, "rm", "b.example.com", "c.example.com", "bücher.example.com"),
		"removed b.example.com\nremoved bücher.example.com\n", "shingle: c.example.com is not set up here\n")
	contains(x.run(true, "list"), "No domains yet")
}

func TestDomains_ForPrograms(t *testing.T) {
	x := newTerminal(t)
	x.login()
	if out := x.run(true, "list", "--json"); out != "[]\n" {
		t.Errorf("an empty list is %q", out)
	}
	read := func(text string, into any) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	var made, shown, changed api.Domain
	read(x.run(true, "add", "a.example.com", "--tenant", "acme", "--json"), &made)
	read(x.run(true, "show", "a.example.com", "--json"), &shown)
	if made != shown || made.Tenant != "acme" {
		t.Errorf("made %+v, shown %+v", made, shown)
	}
	read(x.run(true, "update", "a.example.com", "--tenant", "", "--json"), &changed)
	if changed.Tenant != "" || changed.Version != 2 {
		t.Errorf("changed to %+v", changed)
	}
	var list []api.Domain
	read(x.run(true, "list", "--json"), &list)
	if len(list) != 1 || list[0] != changed {
		t.Errorf("listed %+v", list)
	}
}

func TestDomains_FailuresSayWhatToDo(t *testing.T) {
	x := newTerminal(t)
	empty, broken := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "endpoints.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	there := []string{"--api", x.url, "--token", x.secret}
	for _, c := range []struct {
		args []string
		want string
	}{
		{append(there, "show", "a.example.com"), "a.example.com is not set up here"},
		{append(there, "add", "192.0.2.1"), "host: an IP address cannot be a custom domain"},
		{append(there, "add", "a.example.com", "--origin", "ftp://x"), "origin: "},
		{append(there, "update", "a.example.com"), "nothing to change: name a flag"},
		{[]string{"list", "--api", x.url, "--token", "shingle_a_b"}, "this API token is not known here"},
		{[]string{"list", "--api", "http://127.0.0.1:1", "--token", x.secret}, "is shingle running at http://127.0.0.1:1?"},
		{[]string{"list", "--api", x.url}, "--token: name the API token"},
		{[]string{"list", "--token", x.secret}, "--api: name the API"},
		{[]string{"list", "--data", empty}, "no shingle dev has run in " + empty},
		{[]string{"list", "--data", broken}, "endpoints.json cannot be read: start shingle dev again"},
	} {
		if text := x.run(false, c.args...); !strings.HasPrefix(text, "shingle: ") || !strings.Contains(text, c.want) {
			t.Errorf("%q: %s", c.args, text)
		}
	}
}

func TestDomains_FindShingleDev(t *testing.T) {
	x := newTerminal(t)
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", cache)
	base, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	usual, other := filepath.Join(base, "shingle", "dev"), t.TempDir()
	for _, dir := range []string{usual, other} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{
			"endpoints.json": `{"https":"127.0.0.1:1","control":"` + strings.TrimPrefix(x.url, "http://") + `"}`,
			"token":          x.secret + "\n",
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	x.run(true, "add", "a.example.com")
	x.run(true, "--data", other, "add", "b.example.com")
	t.Setenv("SHINGLE_DATA", other)
	if out := x.run(true, "list"); strings.Count(out, "example.com") != 2 {
		t.Error(out)
	}
	if err := os.Remove(filepath.Join(other, "token")); err != nil {
		t.Fatal(err)
	}
	if out := x.run(false, "list"); !strings.Contains(out, "read the token of shingle dev") {
		t.Error(out)
	}
}

func TestDomains_HelpHidesTheToken(t *testing.T) {
	x := newTerminal(t)
	x.login()
	if out := x.run(true, "add", "--help"); !strings.Contains(out, "--token") {
		t.Error(out)
	}
}
