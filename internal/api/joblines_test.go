package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

func (s *site) lines(query, body string) reply {
	return s.do("POST", "/v1/jobs"+query, body, "Content-Type", "application/x-ndjson")
}

func TestJobLines_AreAJob(t *testing.T) {
	boss := &foreman{}
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Jobs, c.Blobs = boss, &memory.Store{} })
	for _, x := range []struct{ query, body, want string }{
		{"?kind=create", "{\"host\":\"a.example.com\",\"tenant\":\"acme\"}\n\n \t\r\n\"b.example.com\"\r\n{\"host\":\"c.example.com\",\"settings\":{\"tags\":[\"x\"]}}",
			`{"host":"a.example.com","tenant":"acme"} {"host":"b.example.com"} {"host":"c.example.com","settings":{"tags":["x"]}}`},
		{"?kind=create", "\ufeff{\"host\":\"a.example.com\"}\n", `{"host":"a.example.com"}`},
		{"?kind=delete&revoke=true", "\"a.example.com\"\n{\"host\":\"b.example.com\",\"tenant\":\"acme\"}\n", `"a.example.com" "b.example.com"`},
		{"?kind=create", "\"not a host\"", `{"host":"not a host"}`}, // its report says so
	} {
		r := s.want(202, s.lines(x.query, x.body))
		last := len(boss.jobs) - 1
		var got []string
		for _, line := range boss.lines[last] {
			got = append(got, string(line))
		}
		if strings.Join(got, " ") != x.want || boss.jobs[last].Revoke != strings.Contains(x.query, "revoke") || r.Header.Get("Location") == "" {
			t.Errorf("%s %q: %s, want %s", x.query, x.body, got, x.want)
		}
	}
	// As with JSON: the same key is the same job, and many are let in.
	n := len(boss.jobs)
	for range 2 {
		s.want(202, s.do("POST", "/v1/jobs?kind=create", `"a.example.com"`, "Content-Type", "application/x-ndjson; charset=utf-8", "Idempotency-Key", "k"))
	}
	if len(boss.jobs) != n+1 {
		t.Errorf("%d jobs of one key", len(boss.jobs)-n)
	}
	j, err := s.client().CreateJobOf(t.Context(), "delete", true, []byte(strings.Repeat("\"a.example.com\"\n", 10_000)))
	if err != nil || j.Total != 10_000 || !j.Revoke {
		t.Errorf("%+v, %v", j, err)
	}
}

func TestJobLines_AFaultHasTheNumberOfItsLine(t *testing.T) {
	boss := &foreman{}
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Jobs = boss })
	good := "{\"host\":\"a.example.com\"}\n"
	for body, want := range map[string][]string{
		good + "\n{\"host\":\"b.example.com\"":         {"line 3", "this is not JSON: it ends in the middle"},
		good + "b.example.com\n":                       {"line 2", "this is not JSON: invalid character 'b'"},
		good + "{\"host\":\"b\",\"colour\":1}\n":       {"line 2", "colour: there is no such member"},
		"{\"tenant\":\"b\"}\n":                         {"line 1", "host"},
		good + good + "{\"host\":7}\n":                 {"line 3", "host: expected string"},
		"7\n":                                          {"line 1", "expected object"},
		"null\n":                                       {"line 1", "expected object"},
		"[\"a.example.com\"]":                          {"line 1", "expected object"},
		"\"a.example.com\" \"b.example.com\"":          {"line 1", "each line is one object, or one string"},
		"{\"host\":\"a.example.com\"},\n" + good:       {"line 1", "each line is one object, or one string"},
		good + "\"" + strings.Repeat("a", 70_000) + "": {"line 2", "a line has at most 65536 bytes"},
		strings.Repeat(good, 10_001):                   {"line 10001", "a job has at most 10000 lines"},
		"":                                             {"name the domains to create"},
		" \n\n":                                        {"name the domains to create"},
	} {
		r := s.want(422, s.lines("?kind=create", body))
		var p api.Problem
		check(t, json.Unmarshal([]byte(r.text), &p))
		for _, w := range want {
			if !strings.Contains(p.Detail, w) {
				t.Errorf("%.80q: %.300s, want %s", body, p.Detail, w)
			}
		}
		if at := "body." + want[0]; len(want) > 1 && (len(p.Errors) != 1 || p.Errors[0].Location != at) {
			t.Errorf("%.80q: %+v, want %s", body, p.Errors, at)
		}
	}
	_, err := s.client().CreateJobOf(t.Context(), "create", false, []byte("\"a.example.com\"\n{"))
	var e *shingle.Error
	if !errors.As(err, &e) || e.Field != "line 2" || e.Code != shingle.CodeInvalid {
		t.Errorf("the client says %#v", err)
	}
	var p api.Problem
	check(t, json.Unmarshal([]byte(s.want(422, s.lines("?kind=create", strings.Repeat("x\n", 5000))).text), &p))
	if len(p.Errors) != 10 || p.Errors[9].Location != "body.line 10" {
		t.Errorf("of many faults %+v", p.Errors)
	}
	for query, says := range map[string]string{"": "?kind=create or ?kind=delete", "?kind=burn": "?kind=create or ?kind=delete", "?kind=delete&revoke=perhaps": "revoke", "?kind=create&revoke=true": "are for kind delete", "?kind=create&color=x": "color"} {
		if r := s.want(422, s.lines(query, good)); !strings.Contains(r.text, says) {
			t.Errorf("%s: %s", query, r.text)
		}
	}
	if r := s.want(422, s.do("POST", "/v1/jobs?kind=create", `{"kind":"create","domains":[{"host":"a.example.com"}]}`)); !strings.Contains(r.text, "are for JSON lines") {
		t.Error(r.text)
	}
	s.want(415, s.do("POST", "/v1/jobs?kind=create", good, "Content-Type", "text/plain"))
	s.want(413, s.lines("?kind=create", strings.Repeat(good, 200_000)))
	if len(boss.jobs) != 0 {
		t.Errorf("%d jobs of what is none", len(boss.jobs))
	}
}

// FuzzJobLines sends any lines: what is taken has as many lines as the job, each of them
// a domain, and what is not is told by a line's number.
func FuzzJobLines(f *testing.F) {
	for _, seed := range []string{
		"{\"host\":\"a.example.com\"}\n\"b.example.com\"\n", "\n\n{\"host\":\"a\",\"settings\":{\"tags\":[]}}", "{", "\"", "null", "\r\n\r", "[]\n{}", "{\"host\":\"a\",\"host\":7}", "{\"host\":\"\\ud800\"}", "\xff", "{\"HOST\":\"a\"}", "1e999",
		"{\"host\":\"a\",\"settings\":{\"metadata\":{\"a\":1e400}}}",
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	keeper, token := newTokens(f, time.Now)
	boss := &foreman{}
	h, err := api.New(api.Config{Store: &memory.Store{}, Tokens: keeper, Jobs: boss})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string, create bool) {
		kind := map[bool]string{true: "create", false: "delete"}[create]
		*boss = foreman{}
		w := serveAs(h, "application/x-ndjson", "POST", "/v1/jobs", "kind="+kind, body, token)
		switch w.Code {
		case http.StatusAccepted:
			for _, line := range boss.lines[0] {
				var d struct{ Host *string }
				if !create {
					check(t, json.Unmarshal(line, &d.Host))
				} else {
					check(t, json.Unmarshal(line, &d))
				}
				if d.Host == nil {
					t.Errorf("%q has a line %s", body, line)
				}
			}
		case http.StatusUnprocessableEntity:
			var p api.Problem
			check(t, json.Unmarshal(w.Body.Bytes(), &p))
			if strings.TrimSpace(body) != "" && !strings.Contains(fmt.Sprint(p.Errors), "line ") && !strings.Contains(p.Detail, "name the domains") {
				t.Errorf("%q: %s", body, w.Body)
			}
		default:
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
	})
}
