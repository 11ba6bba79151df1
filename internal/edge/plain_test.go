package edge

import (
	"strings"
	"testing"
)

func TestEdge_Port80(t *testing.T) {
	te := startEdge(t, "http://127.0.0.1:1")
	c := te.client(t, 1)
	for url, want := range map[string]string{
		"http://anything/health":                                             "200 Im healthy",
		"http://" + testHost + "/a?b":                                        "308 https://" + testHost + ":" + port(te.https) + "/a?b",
		"http://unknown.customer.test/":                                      "404",
		"http://" + testHost + "/.well-known/acme-challenge/known":           "200 known.thumbprint",
		"http://" + testHost + "/.well-known/acme-challenge/unknown":         "404",
		"http://unknown.customer.test/.well-known/acme-challenge/known":      "404",
		"http://paused.customer.test/.well-known/acme-challenge/known?and=x": "404",
	} {
		resp, body := get(t, c, url)
		got := resp.Status[:3] + " " + resp.Header.Get("Location") + body
		if !strings.HasPrefix(strings.Replace(got, "308 "+resp.Header.Get("Location")+body, "308 "+resp.Header.Get("Location"), 1), want) {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
	resp, _ := get(t, te.client(t, 2), "https://customer.test/x?y")
	if got := resp.Header.Get("Location"); resp.StatusCode != 308 || got != "https://www.customer.test:"+port(te.https)+"/x?y" {
		t.Errorf("redirect: %d %q", resp.StatusCode, got)
	}
}
