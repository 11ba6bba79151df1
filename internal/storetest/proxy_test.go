package storetest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle/internal/storetest"
)

func TestProxy_BreaksWhatPasses(t *testing.T) {
	var reached atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		w.Header().Set("X-Host", r.Host)
		_, _ = io.Copy(w, r.Body)
	}))
	defer server.Close()
	p := storetest.NewProxy(t, server.URL)
	for _, tt := range []struct {
		name           string
		wound          storetest.Wound
		reaches, whole bool
		status         int
	}{
		{"none", nil, true, true, 200},
		{"reset", storetest.Reset(), false, false, 0},
		{"lost answer", storetest.LoseAnswer(), true, false, 0},
		{"cut answer", storetest.CutAnswer(), true, false, 200},
		{"answer", storetest.Answer(503, "text/plain", "body"), false, true, 503},
		{"delay", storetest.Delay(time.Millisecond), true, true, 200},
		{"any of", storetest.AnyOf(1, storetest.Reset()), false, false, 0},
		{"once", storetest.Once(func(*http.Request) bool { return true }, storetest.Reset()), false, false, 0},
	} {
		p.Inject(tt.wound)
		reached.Store(0)
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // which would try again by itself
		resp, err := client.Post(p.URL+"/", "text/plain", strings.NewReader("body"))
		status, body := 0, []byte(nil)
		if err == nil {
			status = resp.StatusCode
			body, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if whole := err == nil && string(body) == "body"; whole != tt.whole || status != tt.status || (reached.Load() == 1) != tt.reaches {
			t.Errorf("%s: status %d, body %q, %v, reached %d", tt.name, status, body, err, reached.Load())
		}
	}
	p.Inject(nil)
	resp, err := http.Get(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("X-Host"); "http://"+got != p.URL {
		t.Errorf("the server was asked for %s", got)
	}
}
