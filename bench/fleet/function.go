package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Of Lambda: outside of its start a function has a share of a virtual CPU in proportion
// to its memory; 1,769 MB are one.
const (
	functionMemory = 256 // MB, as in the template
	memoryPerCPU   = 1769
	warmCalls      = 50
)

// spent is what something took of a function's process.
type spent struct{ clock, cpu time.Duration }

// function measures the control plane as AWS Lambda runs it: what an instance takes to
// start, what its first request and later ones take, and its memory. The Runtime API is
// played.
func (b *bench) function(ctx context.Context) error {
	table, err := b.newTable(ctx)
	if err != nil {
		return err
	}
	var all []instance
	for n := range b.instances {
		i, err := b.instance(ctx, filepath.Join(b.dir, fmt.Sprint("function", n)), table)
		if err != nil {
			return err
		}
		if n > 0 { // the first one of all makes keys, which no other does
			all = append(all, i)
		}
	}
	fmt.Printf("\n| %d instances, one after another | by the clock | CPU | CPU at %d MB |\n|---|---:|---:|---:|\n", b.instances, functionMemory)
	for _, line := range []struct {
		what  string
		took  func(i instance) []spent
		share bool
	}{
		{"start, until it asks for a call", func(i instance) []spent { return []spent{i.start} }, false},
		{"first request: the list of domains", func(i instance) []spent { return i.requests[:1] }, true},
		{"each later one", func(i instance) []spent { return i.requests[1:] }, true},
		{"first scheduled call", func(i instance) []spent { return []spent{i.work} }, true},
	} {
		var took []spent
		for _, i := range all {
			took = append(took, line.took(i)...)
		}
		m, at := medianOf(took), ""
		if line.share {
			at = fmt.Sprintf("%.1f ms", ms(m.cpu)*memoryPerCPU/functionMemory)
		}
		fmt.Printf("| %s | %.1f ms | %.1f ms | %s |\n", line.what, ms(m.clock), ms(m.cpu), at)
	}
	most := slices.MaxFunc(all, func(x, y instance) int { return cmp.Compare(x.memory, y.memory) })
	fmt.Printf("\nMemory at most: %d MB.\n", most.memory>>20)
	return nil
}

// instance is what one instance of the function took.
type instance struct {
	start, work spent
	requests    []spent
	memory      int64 // bytes, at most
}

func (b *bench) instance(ctx context.Context, data, table string) (i instance, err error) {
	f, err := b.startFunction(ctx, data, table)
	if err != nil {
		return i, err
	}
	defer f.stop()
	if err := f.await(f.asks); err != nil {
		return i, err
	}
	i.start = spent{clock: time.Since(f.begun)}
	if i.start.cpu, err = f.cpu(); err != nil {
		return i, err
	}
	list, err := f.list()
	if err != nil {
		return i, err
	}
	for range 1 + warmCalls {
		_, took, err := f.call(list)
		if err != nil {
			return i, err
		}
		i.requests = append(i.requests, took)
	}
	if _, i.work, err = f.call(map[string]string{"shingle": "work"}); err != nil {
		return i, err
	}
	_, i.memory, err = f.memory()
	return i, err
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func medianOf(all []spent) spent {
	middle := func(of func(spent) time.Duration) time.Duration {
		values := make([]time.Duration, len(all))
		for i, s := range all {
			values[i] = of(s)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return spent{middle(func(s spent) time.Duration { return s.clock }), middle(func(s spent) time.Duration { return s.cpu })}
}

// function is one instance of the function.
type function struct {
	process
	begun   time.Time
	api     *httptest.Server
	asks    chan struct{} // the instance asks for a call
	calls   chan []byte
	answers chan []byte
}

// startFunction starts the program as Lambda does: without arguments.
func (b *bench) startFunction(ctx context.Context, data, table string) (*function, error) {
	if err := newData(data); err != nil {
		return nil, err
	}
	f := &function{asks: make(chan struct{}, 1), calls: make(chan []byte), answers: make(chan []byte, 1)}
	f.api = httptest.NewServer(f)
	f.cmd = exec.CommandContext(ctx, b.binary)
	f.cmd.Env = append(environment(table, b.endpoint), "AWS_LAMBDA_RUNTIME_API="+strings.TrimPrefix(f.api.URL, "http://"), "SHINGLE_DATA="+data, "SHINGLE_CNAME_TARGET=edge.example.com")
	f.cmd.Stderr = os.Stderr
	f.begun = time.Now()
	if err := f.cmd.Start(); err != nil {
		f.api.Close()
		return nil, err
	}
	return f, nil
}

// ServeHTTP is Lambda's Runtime API.
func (f *function) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/invocation/next") {
		f.asks <- struct{}{}
		select {
		case call := <-f.calls:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "1")
			w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(time.Minute).UnixMilli(), 10))
			_, _ = w.Write(call)
		case <-r.Context().Done():
		}
		return
	}
	body, _ := io.ReadAll(r.Body)
	w.WriteHeader(http.StatusAccepted)
	if strings.HasSuffix(r.URL.Path, "/error") {
		body = nil
	}
	f.answers <- body
}

func (f *function) await(what <-chan struct{}) error {
	select {
	case <-what:
		return nil
	case <-f.answers:
		return errors.New("the function failed")
	case <-time.After(time.Minute):
		return errors.New("the function does not ask for a call")
	}
}

// call calls the function, and returns its answer, and what it took until the function
// asked for the next call.
func (f *function) call(event any) (answer []byte, took spent, err error) {
	raw, err := json.Marshal(event)
	if err != nil {
		return nil, spent{}, err
	}
	before, err := f.cpu()
	if err != nil {
		return nil, spent{}, err
	}
	begin := time.Now()
	f.calls <- raw
	select {
	case answer = <-f.answers:
	case <-time.After(time.Minute):
		return nil, spent{}, errors.New("the function does not answer")
	}
	took.clock = time.Since(begin)
	if answer == nil {
		return nil, spent{}, errors.New("the function failed")
	}
	if err := f.await(f.asks); err != nil {
		return nil, spent{}, err
	}
	after, err := f.cpu()
	took.cpu = after - before
	return answer, took, err
}

// list is the call with a request for the list of domains.
func (f *function) list() (any, error) {
	token, call := shingle.NewTokenCall(time.Now())
	if _, _, err := f.call(call); err != nil {
		return nil, err
	}
	return map[string]any{
		"version": "2.0", "rawPath": "/v1/domains",
		"headers":        map[string]string{"authorization": "Bearer " + token},
		"requestContext": map[string]any{"domainName": "x.lambda-url.us-east-1.on.aws", "http": map[string]string{"method": "GET", "sourceIp": "192.0.2.1"}},
	}, nil
}

// cpu is what the process's threads have used.
func (f *function) cpu() (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", f.cmd.Process.Pid))
	var all time.Duration
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if err != nil {
			return 0, err
		}
		on, _, _ := strings.Cut(string(stat), " ")
		ns, err := strconv.ParseInt(on, 10, 64)
		if err != nil {
			return 0, err
		}
		all += time.Duration(ns)
	}
	return all, err
}

// stop ends the instance as Lambda does, at once.
func (f *function) stop() {
	_ = f.cmd.Process.Kill()
	_ = f.cmd.Wait()
	f.api.CloseClientConnections()
	f.api.Close()
}
