package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// lambdaRuntime is the Runtime API of AWS Lambda for one instance of a function,
// which takes one call at a time.
type lambdaRuntime struct {
	calls   chan lambdaCall
	answers chan lambdaAnswer
}

type lambdaCall struct {
	event []byte
	time  time.Duration // until Lambda's limit
}

type lambdaAnswer struct {
	body   []byte
	failed bool
}

const runtimePath = "/2018-06-01/runtime/"

// ServeHTTP implements the Runtime API.
func (l *lambdaRuntime) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, runtimePath)
	if path == "invocation/next" {
		select {
		case c := <-l.calls:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "1")
			w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(c.time).UnixMilli(), 10))
			_, _ = w.Write(c.event)
		case <-r.Context().Done():
		}
		return
	}
	body, _ := io.ReadAll(r.Body)
	w.WriteHeader(http.StatusAccepted)
	l.answers <- lambdaAnswer{body, strings.HasSuffix(path, "/error")}
}

// startLambda starts the program as Lambda does, with a sealing key in a file, which
// becomes that of the fleet.
func (p *programs) startLambda() *lambdaRuntime {
	p.t.Helper()
	data := p.t.TempDir()
	l := p.runLambda(data)
	await(p.t, "with a sealing key", func() error {
		key, err := os.ReadFile(filepath.Join(data, "seal.key"))
		if err == nil {
			err = os.WriteFile(p.key, key, 0o600)
		}
		return err
	})
	return l
}

// runLambda starts the program as Lambda does: without arguments.
func (p *programs) runLambda(data string) *lambdaRuntime {
	p.t.Helper()
	l := &lambdaRuntime{calls: make(chan lambdaCall), answers: make(chan lambdaAnswer, 1)}
	s := httptest.NewServer(l)
	p.t.Cleanup(s.Close)
	cmd := exec.CommandContext(p.t.Context(), p.binary)
	log := &lockedBuffer{}
	cmd.Env = append(p.env, "AWS_LAMBDA_RUNTIME_API="+strings.TrimPrefix(s.URL, "http://"), "SHINGLE_DATA="+data)
	cmd.Stdout, cmd.Stderr = log, log
	check(p.t, cmd.Start())
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if p.t.Failed() {
			p.t.Logf("function:\n%s", log)
		}
	})
	return l
}

// token returns the text of an API token that the function has taken, as shingle deploy has
// it do.
func (l *lambdaRuntime) token(t *testing.T) string {
	t.Helper()
	text, call := shingle.NewTokenCall(time.Now())
	_, err := l.call(10*time.Second, call)
	check(t, err)
	return text
}

// call calls the function.
func (l *lambdaRuntime) call(limit time.Duration, event any) ([]byte, error) {
	raw, err := json.Marshal(event)
	if err != nil {
		return nil, err
	}
	select {
	case l.calls <- lambdaCall{raw, limit}:
	case a := <-l.answers: // of its start
		return nil, errors.New(string(a.body))
	case <-time.After(time.Minute):
		return nil, errors.New("the function does not ask for a call")
	}
	select {
	case a := <-l.answers:
		if a.failed {
			return nil, errors.New(string(a.body))
		}
		return a.body, nil
	case <-time.After(time.Minute):
		return nil, errors.New("the function does not answer")
	}
}

// request calls the function by its URL.
func (l *lambdaRuntime) request(method, path, token, body string) (status int, answer string, err error) {
	out, err := l.call(10*time.Second, map[string]any{
		"version": "2.0", "rawPath": path, "body": body,
		"headers":        map[string]string{"authorization": "Bearer " + token, "content-type": "application/json"},
		"requestContext": map[string]any{"domainName": "x.lambda-url.us-east-1.on.aws", "http": map[string]string{"method": method, "sourceIp": "192.0.2.1"}},
	})
	if err != nil {
		return 0, "", err
	}
	var r struct {
		StatusCode int
		Body       string
	}
	err = json.Unmarshal(out, &r)
	return r.StatusCode, r.Body, err
}

// TestTable_ControlOnLambda is a fleet whose control plane is a function: a domain
// that is added by its URL gets its certificate in a scheduled call, which ends
// before Lambda's limit and gives back its leases.
func TestTable_ControlOnLambda(t *testing.T) {
	httpPort, tlsPort := freePorts(t)
	p := newPrograms(t, httpPort, tlsPort)
	function := p.startLambda()
	edge := p.start(t.TempDir(), "edge", "--edge-http", fmt.Sprint("127.0.0.1:", httpPort), "--edge-https", fmt.Sprint("127.0.0.1:", tlsPort))

	token := function.token(t)
	const host = "shop.customer.localhost"
	status, body, err := function.request("POST", "/v1/domains", token, `{"host":"`+host+`"}`)
	if err != nil || status != http.StatusCreated {
		t.Fatalf("add: %d %s, %v", status, body, err)
	}
	if status, _, err := function.request("GET", "/v1/domains", "wrong", ""); err != nil || status != http.StatusUnauthorized {
		t.Errorf("with a wrong token: %d, %v", status, err)
	}
	await(t, "issued by scheduled calls", func() error {
		begun := time.Now()
		if _, err := function.call(8*time.Second, map[string]string{"shingle": "work"}); err != nil {
			return err
		}
		if spent := time.Since(begun); spent > 8*time.Second {
			t.Errorf("a call took %s, which is more than Lambda's limit", spent)
		}
		status, body, err := function.request("GET", "/v1/certificates/"+host, token, "")
		if err != nil || status != http.StatusOK || !strings.Contains(body, `"state":"valid"`) {
			return fmt.Errorf("certificate: %d %s, %w", status, body, err)
		}
		return nil
	})
	_, err = p.visit(edge, host)
	check(t, err)
	if _, err := function.call(10*time.Second, map[string]string{"shingle": "play"}); err == nil {
		t.Error("an unknown call was taken")
	}
}

// TestCost_FunctionAtRest counts what scheduled calls cost when nothing is due: the
// first of an instance, which does a turn, and the next ones.
func TestCost_FunctionAtRest(t *testing.T) {
	p := newPrograms(t, 1, 1) // nothing is validated
	m := newMeter(t, storetest.Endpoint(t, storetest.DynamoDB))
	p.env = append(p.env, "SHINGLE_DYNAMODB_ENDPOINT="+m.url, "SHINGLE_CNAME_TARGET=edge.example.com")
	function := p.startLambda()
	work := func() usage {
		t.Helper()
		m.take()
		_, err := function.call(20*time.Second, map[string]string{"shingle": "work"})
		check(t, err)
		return sum(m.take())
	}
	t.Logf("the first turn of all, and a look at what is planned: %v", work())
	await(t, "a call that finds nothing to do", func() error {
		if last := work(); last.calls > 1 {
			t.Logf("another turn: %v", last)
			return errors.New("not yet")
		}
		return nil
	})
	const calls = 10
	var rest usage
	for range calls {
		rest = rest.plus(work())
	}
	t.Logf("%d calls at rest: %v", calls, rest)
	if rest.reads > calls || rest.writes > 0 {
		t.Errorf("%d calls at rest cost %v", calls, rest)
	}
}
