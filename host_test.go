package shingle_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
)

func TestNormalizeHost(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	for _, tt := range []struct{ in, want, reason string }{
		{in: "blog.customer.com", want: "blog.customer.com"},
		{in: "Blog.Customer.COM.", want: "blog.customer.com"},
		{in: "bücher.example.com", want: "xn--bcher-kva.example.com"},
		{in: "XN--BCHER-KVA.example.com", want: "xn--bcher-kva.example.com"},
		{in: "faß.de", want: "xn--fa-hia.de"},
		{in: "例え。テスト。com", want: "xn--r8jz45g.xn--zckzah.com"},
		{in: "shop.customer.localhost", want: "shop.customer.localhost"},
		{in: label63 + ".example.com", want: label63 + ".example.com"},
		{in: "", reason: "needed"},
		{in: "localhost", reason: "single label"},
		{in: "com", reason: "single label"},
		{in: "co.uk", reason: "public suffix"},
		{in: "192.0.2.1", reason: "IP address"},
		{in: "[2001:db8::1]", reason: "IP address"},
		{in: "2001:db8::1", reason: "IP address"},
		{in: "1.2.3", reason: "last label"},
		{in: "blog.customer.com:443", reason: "port"},
		{in: "https://blog.customer.com", reason: "scheme"},
		{in: "blog.customer.com/path", reason: "path"},
		{in: "blog..customer.com", reason: "empty label"},
		{in: ".customer.com", reason: "empty label"},
		{in: "blog.customer.com..", reason: "empty label"},
		{in: "-blog.customer.com", reason: ""},
		{in: "my_blog.customer.com", reason: "certified"},
		{in: "*.customer.com", reason: "certified"},
		{in: "ab--cd.customer.com", reason: "reserved"},
		{in: "a" + label63 + ".example.com", reason: "63"},
		{in: strings.Repeat(label63+".", 4) + "com", reason: "253"},
		{in: strings.Repeat("ü", 2000), reason: "253"},
		{in: "xn--a.example.com", reason: ""},
	} {
		got, err := shingle.NormalizeHost(tt.in)
		if tt.want != "" {
			if err != nil || got != tt.want {
				t.Errorf("NormalizeHost(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
			}
			continue
		}
		if !errors.Is(err, shingle.ErrInvalid) || !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("NormalizeHost(%q) = %q, %v; want an error about %q", tt.in, got, err, tt.reason)
		}
	}
}

func TestNormalizeDomain(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	long := strings.Join([]string{label63, label63, label63, strings.Repeat("b", 57)}, ".") // 249 bytes
	for _, tt := range []struct{ in, want, reason string }{
		{in: "Blog.customer.com.", want: "blog.customer.com"},
		{in: "*.customer.com", want: "*.customer.com"},
		{in: "*.Customer.COM.", want: "*.customer.com"},
		{in: "*.bücher.example", want: "*.xn--bcher-kva.example"},
		{in: "*.shop.customer.co.uk", want: "*.shop.customer.co.uk"},
		{in: "*." + long + ".c", want: "*." + long + ".c"},
		{in: "*." + long + ".com", reason: "253"},
		{in: "*", reason: "whole first label"},
		{in: "*.", reason: "needed"},
		{in: "*.com", reason: "single label"},
		{in: "*.co.uk", reason: "public suffix"},
		{in: "*.github.io", reason: "public suffix"},
		{in: "*.kawasaki.jp", reason: "public suffixes"}, // no suffix itself, but all below it are
		{in: "*.*.customer.com", reason: "whole first label"},
		{in: "a.*.customer.com", reason: "whole first label"},
		{in: "a*.customer.com", reason: "whole first label"},
		{in: "**.customer.com", reason: "whole first label"},
		{in: "*.customer.com:443", reason: "port"},
		{in: "*.192.0.2.1", reason: "IP address"},
		{in: "＊.customer.com", reason: ""},
		{in: "*。customer.com", reason: "whole first label"},
		{in: "*..customer.com", reason: "empty label"},
	} {
		got, err := shingle.NormalizeDomain(tt.in)
		if tt.want != "" {
			if err != nil || got != tt.want {
				t.Errorf("NormalizeDomain(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
			}
			continue
		}
		if !errors.Is(err, shingle.ErrInvalid) || !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("NormalizeDomain(%q) = %q, %v; want an error about %q", tt.in, got, err, tt.reason)
		}
	}
}

func TestCovering(t *testing.T) {
	for host, want := range map[string]string{
		"a.customer.com":   "*.customer.com",
		"a.b.customer.com": "*.b.customer.com",
		"customer.com":     "",
		"customer.co.uk":   "",
		"a.b.kawasaki.jp":  "",
	} {
		if got := shingle.Covering(host); got != want {
			t.Errorf("Covering(%q) = %q, want %q", host, got, want)
		}
	}
}

func TestNormalizeAuthority(t *testing.T) {
	for in, want := range map[string]string{
		"blog.customer.com:8443": "blog.customer.com",
		"blog.customer.com:":     "blog.customer.com",
		"Blog.customer.com":      "blog.customer.com",
		"blog.customer.com:x":    "",
		"[::1]:443":              "",
		"192.0.2.1:443":          "",
	} {
		got, err := shingle.NormalizeAuthority(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("NormalizeAuthority(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func FuzzNormalizeHost(f *testing.F) {
	for _, s := range []string{"blog.customer.com", "BÜCHER.example.com.", "a.b:1", "xn--a.b", "1.1.1.1", "…。com"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, err := shingle.NormalizeHost(s)
		if err != nil {
			if !errors.Is(err, shingle.ErrInvalid) {
				t.Fatalf("%q: %v is not ErrInvalid", s, err)
			}
			return
		}
		if len(host) > shingle.MaxHost || strings.ToLower(host) != host || strings.HasSuffix(host, ".") {
			t.Fatalf("%q gave %q, which is not normal", s, host)
		}
		if again, err := shingle.NormalizeHost(host); err != nil || again != host {
			t.Fatalf("%q gave %q, and that gave %q, %v", s, host, again, err)
		}
	})
}

func FuzzNormalizeDomain(f *testing.F) {
	for _, s := range []string{
		"blog.customer.com", "*.customer.com", "*.BÜCHER.example.com.", "*.co.uk", "*.kawasaki.jp", "*.*.a.b", "*。a.b", "＊.a.b", "*.xn--a.b", "*.1.1.1.1", "*.…。com",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := shingle.NormalizeDomain(s)
		if err != nil {
			if !errors.Is(err, shingle.ErrInvalid) {
				t.Fatalf("%q: %v is not ErrInvalid", s, err)
			}
			return
		}
		if again, err := shingle.NormalizeDomain(name); err != nil || again != name || len(name) > shingle.MaxHost {
			t.Fatalf("%q gave %q, and that gave %q, %v", s, name, again, err)
		}
		host, wild := strings.CutPrefix(name, "*.")
		if got, err := shingle.NormalizeHost(host); err != nil || got != host {
			t.Fatalf("%q gave %q, whose host gives %q, %v", s, name, got, err)
		}
		if wild != shingle.IsWildcard(name) || wild != strings.HasPrefix(s, "*.") {
			t.Fatalf("%q gave %q", s, name)
		}
		if _, err := shingle.NormalizeHost(name); (err != nil) != wild {
			t.Fatalf("as a host %q gives %v", name, err)
		}
		if wild && len(name) < shingle.MaxHost-1 && shingle.Covering("a."+host) != name {
			t.Fatalf("%q does not cover a.%s", name, host)
		}
	})
}

func TestParseOrigin(t *testing.T) {
	for in, want := range map[string]string{
		"app.example.com":               "https://app.example.com",
		"app.example.com:8443":          "https://app.example.com:8443",
		"http://127.0.0.1:9000":         "http://127.0.0.1:9000",
		"http://localhost":              "http://localhost",
		"https://[2001:db8::1]":         "https://[2001:db8::1]",
		"https://APP.example.com/":      "https://app.example.com",
		"ftp://app.example.com":         "",
		"app.example.com/path":          "",
		"https://user@app.example.com":  "",
		"app.example.com:0":             "",
		"http://a\r\nX-Injected: 1.com": "",
		"":                              "",
	} {
		o, err := shingle.ParseOrigin(in)
		if (err == nil) != (want != "") || err == nil && o.String() != want {
			t.Errorf("ParseOrigin(%q) = %q, %v; want %q", in, o, err, want)
		}
	}
}

func TestToken_MatchesOnlyItself(t *testing.T) {
	text, tok := shingle.NewToken(shingle.Token{Name: "test"}, testTime)
	if id, ok := shingle.TokenID(text); !ok || id != tok.ID || !tok.Matches(text) {
		t.Fatalf("the token does not match its own text")
	}
	if tok.Matches(text+"x") || tok.Matches("") {
		t.Error("the token matches another text")
	}
	for _, bad := range []string{"", "shingle", "shingle_", "shingle_id", "shingle__s", "other_id_secret", strings.Repeat("x", 1000)} {
		if _, ok := shingle.TokenID(bad); ok {
			t.Errorf("TokenID(%q) took it", bad)
		}
	}
}
