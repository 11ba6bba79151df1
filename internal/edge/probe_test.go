package edge

import (
	"net/http"
	"testing"

	"github.com/shingle-proxy/shingle"
)

// TestEdge_AnswersProbes: the domain check is answered on served hosts, by HTTP
// and HTTPS, with the scheme in what is signed, and no origin hears of it.
func TestEdge_AnswersProbes(t *testing.T) {
	key := shingle.ProbeKey{7}
	e := startEdge(t, "http://127.0.0.1:1", func(c *Config) { c.ProbeKey = &key })
	nonce := shingle.NewProbeNonce()
	for _, x := range []struct {
		scheme, host, nonce string
		status              int
	}{
		{"https", testHost, nonce, 200}, {"http", testHost, nonce, 200}, {"https", "customer.test", nonce, 200},
		{"http", "paused.customer.test", nonce, 404}, {"http", "nobody.test", nonce, 404},
		{"http", testHost, "", 404}, {"http", testHost, "a/b", 404}, {"http", testHost, "a?b", 404},
	} {
		resp, _ := get(t, e.client(t, 1), x.scheme+"://"+x.host+shingle.ProbePath+x.nonce)
		if resp.StatusCode != x.status {
			t.Errorf("%+v: %d", x, resp.StatusCode)
		}
		want := ""
		if x.status == 200 {
			want = x.scheme
		}
		if got := key.Check(resp.Header.Get(shingle.ProbeField), x.host, nonce); got != want {
			t.Errorf("%+v: the answer checks as %q", x, got)
		}
	}
	without := startEdge(t, "http://127.0.0.1:1")
	if resp, _ := get(t, without.client(t, 1), "http://"+testHost+shingle.ProbePath+nonce); resp.Header.Get(shingle.ProbeField) != "" || resp.StatusCode == http.StatusOK {
		t.Errorf("without a key: %d, %q", resp.StatusCode, resp.Header.Get(shingle.ProbeField))
	}
}

// TestEdge_ProofIsNotPassedOn: who has content on a host must not be able to claim it.
func TestEdge_ProofIsNotPassedOn(t *testing.T) {
	e := startEdge(t, origin(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("proof")) }))
	for path, want := range map[string]int{shingle.ProofPath: 404, shingle.ProofPath + "?x": 404, shingle.ProofPath + "x": 200, "/": 200} {
		if resp, body := get(t, e.client(t, 2), "https://"+testHost+path); resp.StatusCode != want || want == 404 && body == "proof" {
			t.Errorf("%s: %s, %q", path, resp.Status, body)
		}
	}
}
