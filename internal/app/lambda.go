package app

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/shingle-proxy/shingle"
)

// Times of a call of the function.
const (
	workTime  = 45 * time.Second // of a scheduled call, at most
	quietTime = 3 * time.Second  // without anything to do, after which it ends
	stopTime  = 5 * time.Second  // before Lambda's limit, so that leases are given back
)

// OnLambda reports whether the process was started by AWS Lambda.
func OnLambda() bool { return os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" }

// Lambda runs the control role as a Lambda function until ctx ends. A call of the
// function's URL is a request to the API. A call of the schedule, {"shingle":
// "work"}, does what is due for a while; what is left, the next call does.
func Lambda(ctx context.Context, cfg Config) error {
	cfg.Role, cfg.OnLambda, cfg.Measures = RoleControl, true, os.Stdout
	a, err := New(ctx, cfg, &Listeners{})
	if err != nil {
		return err
	}
	lambda.StartWithOptions(a.invoke, lambda.WithContext(ctx)) // ends the process
	return nil
}

// invoke answers a call of the function.
func (a *App) invoke(ctx context.Context, call json.RawMessage) (any, error) {
	var scheduled shingle.TokenCall // or one with less
	var request events.LambdaFunctionURLRequest
	if err := errors.Join(json.Unmarshal(call, &scheduled), json.Unmarshal(call, &request)); err != nil {
		return nil, fmt.Errorf("read call: %w", err)
	}
	switch {
	case request.RequestContext.HTTP.Method != "":
		return a.answer(ctx, &request)
	case scheduled.Shingle == "work":
		return nil, a.turn(ctx) //nolint:nilnil // the schedule takes no answer
	case scheduled.Shingle == "token":
		return a.addToken(ctx, &scheduled)
	}
	return nil, errors.New(`unknown call: it is neither of the function's URL, nor {"shingle":"work"} or {"shingle":"token"}`)
}

func (a *App) addToken(ctx context.Context, call *shingle.TokenCall) (any, error) {
	t, err := call.Token()
	if err == nil {
		err = a.tokens.AddToken(ctx, t)
	}
	if err != nil {
		return nil, fmt.Errorf("add token: %w", err)
	}
	return map[string]string{"id": t.ID}, nil
}

// workFor does what is due until nothing is left, at most for a while, and less
// when ctx has less time.
func (a *App) workFor(ctx context.Context, d time.Duration) {
	if end, ok := ctx.Deadline(); ok {
		d = min(d, time.Until(end)-stopTime)
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	a.activity.note()
	tick := time.NewTicker(quietTime / 10)
	defer tick.Stop()
	var done sync.WaitGroup
	defer done.Wait()
	done.Go(func() { a.work(ctx, ctx) })
	for !a.activity.quiet(quietTime) || a.certs.Issuing() || a.keeper.Checking() || a.events.Sending() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
	cancel()
}

// answer has the API answer a request.
func (a *App) answer(ctx context.Context, in *events.LambdaFunctionURLRequest) (*events.LambdaFunctionURLResponse, error) {
	w := &recorder{header: http.Header{}}
	r, err := httpRequest(ctx, in)
	if err != nil { // a stranger's doing, and no fault of the function's, which an alarm counts
		http.Error(w, "the request cannot be read", http.StatusBadRequest)
		return w.response(), nil
	}
	a.control.Handler.ServeHTTP(w, r)
	return w.response(), nil
}

func httpRequest(ctx context.Context, in *events.LambdaFunctionURLRequest) (*http.Request, error) {
	body := []byte(in.Body)
	if in.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(in.Body); err != nil {
			return nil, fmt.Errorf("read body of call: %w", err)
		}
	}
	u := url.URL{Scheme: "https", Host: in.RequestContext.DomainName, RawQuery: in.RawQueryString}
	path, err := url.ParseRequestURI(in.RawPath)
	if err != nil {
		return nil, fmt.Errorf("read path of call: %w", err)
	}
	u.Path, u.RawPath = path.Path, path.RawPath
	r, err := http.NewRequestWithContext(ctx, in.RequestContext.HTTP.Method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("read call: %w", err)
	}
	for name, value := range in.Headers {
		r.Header.Set(name, value)
	}
	if len(in.Cookies) > 0 {
		r.Header.Set("Cookie", strings.Join(in.Cookies, "; "))
	}
	r.RemoteAddr = net.JoinHostPort(in.RequestContext.HTTP.SourceIP, "0")
	r.RequestURI = u.RequestURI()
	return r, nil
}

// recorder keeps a response. Lambda bounds it at 6 MB.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

func (w *recorder) response() *events.LambdaFunctionURLResponse {
	w.WriteHeader(http.StatusOK)
	out := &events.LambdaFunctionURLResponse{StatusCode: w.status, Headers: map[string]string{}, Cookies: w.header.Values("Set-Cookie")}
	for name, values := range w.header {
		if name != "Set-Cookie" {
			out.Headers[name] = strings.Join(values, ", ")
		}
	}
	if out.Body = w.body.String(); !utf8.ValidString(out.Body) {
		out.Body, out.IsBase64Encoded = base64.StdEncoding.EncodeToString(w.body.Bytes()), true
	}
	return out
}
