package api_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle/internal/api"
)

func TestReference_HasEveryOperationAndNothingFromElsewhere(t *testing.T) {
	s := everything(t)
	page := s.want(200, s.do("GET", "/docs", "", "Authorization", ""))
	for id, op := range operations(s) {
		method, path, _ := strings.Cut(op, " ")
		if !strings.Contains(page.text, `id="`+id+`"`) || !strings.Contains(page.text, `<b class="`+method+`">`+method+`</b> <code>`+path+`</code>`) {
			t.Errorf("%s (%s) is missing", id, op)
		}
	}
	for _, link := range regexp.MustCompile(`(?:href|src)="([^"]*)"`).FindAllStringSubmatch(page.text, -1) {
		to := link[1]
		if anchor, ok := strings.CutPrefix(to, "#"); ok {
			if !strings.Contains(page.text, `id="`+anchor+`"`) {
				t.Errorf("%s leads nowhere", to)
			}
			continue
		}
		if r := s.do("GET", to, "", "Authorization", ""); !strings.HasPrefix(to, "/") || r.StatusCode != 200 {
			t.Errorf("%s: %s", to, r.Status)
		}
	}
	if strings.Contains(page.text, "<script") || !strings.HasPrefix(page.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("scripts, or no policy: %v", page.Header)
	}
}

func TestErrors_Golden(t *testing.T) {
	const file = "../../docs/errors.md"
	got := api.ErrorsPage()
	if *updateGolden {
		check(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	check(t, err)
	if got != string(want) {
		t.Errorf("run go test ./internal/api -update\n%s", got)
	}
}
