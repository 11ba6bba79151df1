package app

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/shingle-proxy/shingle"
)

// newFunction returns an App as Lambda has it, and the first API token.
func newFunction(t *testing.T) (*App, string) {
	t.Helper()
	cfg := Config{
		// A fleet's control needs a table; this one has the rest of a machine beside it.
		Role: RoleAll, OnLambda: true, Target: "app.example.com", EdgeHTTPS: "127.0.0.1:0", EdgeHTTP: "127.0.0.1:0", Control: "127.0.0.1:0",
		Data: t.TempDir(), ACMECAs: []string{"https://127.0.0.1:1/dir"}, AgreeTerms: true, Logger: slog.New(slog.DiscardHandler),
	}
	l, err := Listen(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(t.Context(), cfg, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	if _, err := os.Stat(a.TokenPath()); err == nil {
		t.Error("each start makes a token")
	}
	text, token := shingle.NewTokenCall(time.Now())
	for range 2 { // the reply to the first was lost
		if _, err := a.invoke(t.Context(), asJSON(t, token)); err != nil {
			t.Fatal(err)
		}
	}
	return a, text
}

func asJSON(t *testing.T, v any) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func call(t *testing.T, a *App, method, path, token, body string) *events.LambdaFunctionURLResponse {
	t.Helper()
	in := events.LambdaFunctionURLRequest{
		RawPath: path, Body: body, Headers: map[string]string{"authorization": "Bearer " + token, "content-type": "application/json"},
		RequestContext: events.LambdaFunctionURLRequestContext{
			DomainName: "abc.lambda-url.us-east-1.on.aws", HTTP: events.LambdaFunctionURLRequestContextHTTPDescription{Method: method, SourceIP: "192.0.2.1"},
		},
	}
	raw, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := a.invoke(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	return out.(*events.LambdaFunctionURLResponse)
}

func TestLambda_AnswersTheAPI(t *testing.T) {
	a, token := newFunction(t)
	if out := call(t, a, "POST", "/v1/domains", token, `{"host":"blog.example.com"}`); out.StatusCode != http.StatusCreated {
		t.Fatalf("create: %d %s", out.StatusCode, out.Body)
	}
	out := call(t, a, "GET", "/v1/domains/blog.example.com", token, "")
	if out.StatusCode != http.StatusOK || !strings.Contains(out.Body, `"blog.example.com"`) || out.Headers["Content-Type"] != "application/json" {
		t.Errorf("show: %+v", out)
	}
	if out := call(t, a, "GET", "/v1/domains", "wrong", ""); out.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong token: %d", out.StatusCode)
	}
}

func TestLambda_MakesATokenForWhoeverMayCallItself(t *testing.T) {
	a, token := newFunction(t)
	if out := call(t, a, "GET", "/v1/tokens", token, ""); out.StatusCode != http.StatusOK || strings.Count(out.Body, `"name"`) != 1 {
		t.Errorf("tokens: %d %s", out.StatusCode, out.Body)
	}
	// What comes by the URL is a request, whatever is in it.
	text, stranger := shingle.NewTokenCall(time.Now().Add(time.Hour))
	if out := call(t, a, "POST", "/", "", string(asJSON(t, stranger))); out.StatusCode == http.StatusOK {
		t.Errorf("by the URL: %d %s", out.StatusCode, out.Body)
	}
	if out := call(t, a, "GET", "/v1/domains", text, ""); out.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger's: %d", out.StatusCode)
	}
	for _, bad := range []string{`{"shingle":"token"}`, `{"shingle":"token","id":"a","name":"b","hash":"Yw=="}`} {
		if _, err := a.invoke(t.Context(), json.RawMessage(bad)); err == nil {
			t.Errorf("the call %s was taken", bad)
		}
	}
}

func TestLambda_WorksWithinItsTimeAndAgain(t *testing.T) {
	a, _ := newFunction(t)
	for range 2 {
		a.workFor(t.Context(), 10*workTime/1000)
	}
	for _, bad := range []string{`{}`, `{"shingle":"play"}`, `[]`, `{"rawPath":"/"}`} {
		if _, err := a.invoke(t.Context(), json.RawMessage(bad)); err == nil {
			t.Errorf("the call %s was taken", bad)
		}
	}
}

func TestLambda_TurnsWhenSomethingIsToBeDone(t *testing.T) {
	t.Parallel() // three turns of three seconds
	a, token := newFunction(t)
	turned := func() bool {
		t.Helper()
		before := a.turns.ended
		if _, err := a.invoke(t.Context(), json.RawMessage(`{"shingle":"work"}`)); err != nil {
			t.Fatal(err)
		}
		return !a.turns.ended.Equal(before)
	}
	if !turned() || turned() {
		t.Error("the first call does a turn, the second rests")
	}
	if call(t, a, "POST", "/v1/domains", token, `{"host":"blog.example.com"}`); !turned() {
		t.Error("a domain was added, and the function rests")
	}
	// A certificate is planned that cannot be had: what is due is done at once after a
	// change, and later together.
	a.turns.next = time.Now()
	if !turned() {
		t.Error("something is due after a change, and the function rests")
	}
	a.turns.hurry, a.turns.next = time.Time{}, time.Now()
	if a.touched(t.Context()) || a.due(t.Context(), time.Now()) || !a.due(t.Context(), time.Now().Add(gatherTime)) {
		t.Error("what is due by plan is not done together")
	}
	a.turns.next = time.Now().Add(24 * time.Hour)
	if now := time.Now(); a.due(t.Context(), now) || !a.due(t.Context(), now.Add(turnEvery)) {
		t.Error("there is no turn in an hour")
	}
}

// TestLambda_NonsenseIsNoFaultOfTheFunction: an alarm counts its faults, and strangers must
// not raise it.
func TestLambda_NonsenseIsNoFaultOfTheFunction(t *testing.T) {
	a, _ := newFunction(t)
	for _, x := range [][2]string{{"GET", "/%zz"}, {"GET", "health"}, {"GET", ""}, {"GE T", "/health"}, {"GET", "//evil.example.com"}} {
		if out := call(t, a, x[0], x[1], "", ""); out.StatusCode/100 != 4 {
			t.Errorf("%q: %d %s", x, out.StatusCode, out.Body)
		}
	}
}
