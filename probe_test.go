package shingle_test

import (
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
)

func TestProbeKey(t *testing.T) {
	key, other := shingle.ProbeKey{1}, shingle.ProbeKey{2}
	nonce := shingle.NewProbeNonce()
	answer := key.Answer("https", "blog.customer.com", nonce)
	if got := key.Check(answer, "blog.customer.com", nonce); got != "https" {
		t.Errorf("an answer of ours checks as %q", got)
	}
	if got := key.Check(key.Answer("http", "blog.customer.com", nonce), "blog.customer.com", nonce); got != "http" {
		t.Errorf("an answer over plain HTTP checks as %q", got)
	}
	for name, scheme := range map[string]string{
		"another installation": other.Check(answer, "blog.customer.com", nonce),
		"another host":         key.Check(answer, "shop.customer.com", nonce),
		"an older answer":      key.Check(answer, "blog.customer.com", shingle.NewProbeNonce()),
		"another scheme":       key.Check(strings.Replace(answer, "https", "http", 1), "blog.customer.com", nonce),
		"no answer":            key.Check("", "blog.customer.com", nonce),
		"no nonce":             key.Check("", "blog.customer.com", ""),
	} {
		if scheme != "" {
			t.Errorf("%s checks as %q", name, scheme)
		}
	}
	for _, bad := range []string{"", "a/b", "a?b", strings.Repeat("a", 65)} {
		if got := key.Answer("https", "blog.customer.com", bad); got != "" {
			t.Errorf("%q is answered", bad)
		}
	}
}
