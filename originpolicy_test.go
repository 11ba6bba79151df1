package shingle_test

import (
	"net/netip"
	"testing"

	"github.com/shingle-proxy/shingle"
)

func TestOriginPolicy(t *testing.T) {
	for _, x := range []struct {
		rules   []string
		origin  string
		allowed bool
		addr    string
		connect bool
	}{
		{nil, "app.example.com", true, "8.8.8.8", true},
		{nil, "app.example.com", true, "10.0.0.1", false},
		{nil, "app.example.com", true, "::ffff:169.254.169.254", false},
		{nil, "http://169.254.169.254", false, "169.254.169.254", false},
		{nil, "http://[::1]:80", false, "::1", false},
		{[]string{"none"}, "app.example.com", false, "8.8.8.8", false},
		{[]string{"10.1.0.0/16"}, "app.example.com", true, "10.1.2.3", true},
		{[]string{"10.1.0.0/16"}, "app.example.com", true, "8.8.8.8", false},
		{[]string{"10.1.0.0/16"}, "http://10.1.2.3", true, "::ffff:10.1.2.3", true},
		{[]string{"10.1.0.0/16", "public"}, "app.example.com", true, "8.8.8.8", true},
		{[]string{"*.Apps.internal"}, "a.apps.internal", true, "10.0.0.1", true},
		{[]string{"*.apps.internal"}, "apps.internal", false, "10.0.0.1", false},
		{[]string{"*.apps.internal"}, "evilapps.internal", false, "10.0.0.1", false},
		{[]string{"localhost"}, "http://localhost:80", true, "127.0.0.1", true},
	} {
		p, err := shingle.ParseOriginPolicy(x.rules)
		if err != nil {
			t.Fatal(err)
		}
		o, err := shingle.ParseOrigin(x.origin)
		if err != nil {
			t.Fatal(err)
		}
		if p.Allows(o) != x.allowed || p.MayConnect(o, netip.MustParseAddr(x.addr)) != x.connect {
			t.Errorf("%q: %s at %s: allowed %v, connect %v", x.rules, x.origin, x.addr, p.Allows(o), p.MayConnect(o, netip.MustParseAddr(x.addr)))
		}
	}
	for _, rules := range [][]string{{"none", "public"}, {"10.0.0.1/8"}, {"a b"}, {""}, {"*"}} {
		if _, err := shingle.ParseOriginPolicy(rules); err == nil {
			t.Errorf("%q was taken", rules)
		}
	}
}
