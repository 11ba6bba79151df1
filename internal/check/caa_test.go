package check

import (
	"fmt"
	"testing"
)

func TestMethods_AreThoseThatCAALeaves(t *testing.T) {
	for records, want := range map[string]string{
		"":                                  "[]",
		"@ CAA 0 issue \"letsencrypt.org\"": "[]",
		"@ CAA 0 issue \"letsencrypt.org; validationmethods=tls-alpn-01\"":                                                                           "[tls-alpn-01]",
		"@ CAA 0 issue \"letsencrypt.org; ValidationMethods = dns-01 , http-01\"":                                                                    "[dns-01 http-01]",
		"@ CAA 0 issue \"letsencrypt.org; validationmethods=dns-01\"\n@ CAA 0 issue \"letsencrypt.org\"":                                             "[]",
		"@ CAA 0 issue \"letsencrypt.org; validationmethods=dns-01\"\nblog CAA 0 issue \"letsencrypt.org; validationmethods=http-01\"":               "[http-01]",
		"@ CAA 0 issue \"digicert.com; validationmethods=dns-01\"\n@ CAA 0 issue \"letsencrypt.org; validationmethods=http-01\"":                     "[http-01]",
		"@ CAA 0 issue \"letsencrypt.org; accounturi=https://ca.test/acct/2\"\n@ CAA 0 issue \"letsencrypt.org; validationmethods=http-01\"":         "[http-01]",
		"@ CAA 0 issue \"letsencrypt.org; accounturi=https://ca.test/acct/1; validationmethods=tls-alpn-01\"\n@ CAA 0 issuewild \"letsencrypt.org\"": "[tls-alpn-01]",
	} {
		w := newWorld(t, zoneRecords("blog A 11.1.0.1\n"+records))
		cfg := w.config()
		checker, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(checker.Methods(t.Context(), "blog.customer.com", cfg.CAs[0].Name)); got != want {
			t.Errorf("%s: %s, want %s", records, got, want)
		}
		if got := checker.Methods(t.Context(), "blog.customer.com", "another CA"); got != nil {
			t.Errorf("of another CA: %s", got)
		}
	}
}
