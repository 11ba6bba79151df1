package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// process is a running Shingle.
type process struct {
	cmd   *exec.Cmd
	said  string        // when it was ready
	took  time.Duration // until then
	data  string
	count *counter
}

// key is the sealing key of all processes.
var key = []byte(strings.Repeat("k", 32))

// start runs the program in a folder of its own until it says that it is ready.
func (b *bench) start(ctx context.Context, data, table string, args ...string) (*process, error) {
	if err := newData(data); err != nil {
		return nil, err
	}
	p := &process{data: data, count: newCounter(b.endpoint)}
	p.cmd = exec.CommandContext(ctx, b.binary, append(args, "--data", data)...)
	endpoint := p.count.URL
	if b.direct {
		endpoint = b.endpoint
	}
	p.cmd.Env = append(environment(table, endpoint), "SHINGLE_TARGET=http://127.0.0.1:1", "SHINGLE_CONTROL=127.0.0.1:0")
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	b.processes = append(b.processes, p)
	p.said, err = bufio.NewReader(out).ReadString('\n')
	p.took = time.Since(begin)
	if err != nil {
		return nil, fmt.Errorf("shingle %s: %w", strings.Join(args, " "), err)
	}
	go func() { _, _ = bufio.NewReader(out).WriteTo(discard{}) }()
	return p, nil
}

// newData makes a data folder with the sealing key.
func newData(data string) error {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(data, "seal.key"), key, 0o600)
}

// environment is what all processes have in common, over a table if there is one.
func environment(table, endpoint string) []string {
	env := append(os.Environ(), "SHINGLE_AGREE_TERMS=true", "SHINGLE_ACME_CA=https://127.0.0.1:1/none", "SHINGLE_LOG_LEVEL=error",
		"AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=bench", "AWS_EC2_METADATA_DISABLED=true")
	if table == "" {
		return env
	}
	return append(env, "SHINGLE_TABLE="+table, "SHINGLE_TABLE_REGION="+region, "SHINGLE_DYNAMODB_ENDPOINT="+endpoint)
}

type discard struct{}

// Write implements [io.Writer].
func (discard) Write(p []byte) (int, error) { return len(p), nil }

func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	_ = p.cmd.Wait()
	p.count.Close()
}

func (b *bench) stopAll() {
	for _, p := range b.processes {
		if p.cmd.ProcessState == nil {
			p.stop()
		}
	}
}

// addr finds an address in what the process said.
func (p *process) addr(what string) string {
	if m := regexp.MustCompile(what + ` on (127\.0\.0\.1:\d+)`).FindStringSubmatch(p.said); m != nil {
		return m[1]
	}
	return ""
}

// memory returns what the process has now, and had at most, in bytes.
func (p *process) memory() (now, most int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "VmRSS":
			now = kb << 10
		case "VmHWM":
			most = kb << 10
		}
	}
	return now, most, nil
}

// counter stands between a process and DynamoDB, and counts its requests.
type counter struct {
	*httptest.Server
	requests atomic.Int64
}

func newCounter(endpoint string) *counter {
	upstream, err := url.Parse(endpoint)
	if err != nil {
		panic(err)
	}
	c := &counter{}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(upstream); r.Out.Host = r.In.Host },
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // of processes that end, and do not wait
	}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.requests.Add(1)
		proxy.ServeHTTP(w, r)
	}))
	return c
}

// newTable creates a table.
func (b *bench) newTable(ctx context.Context) (string, error) {
	table := "bench-" + strings.ToLower(rand.Text())
	s, err := b.store(ctx, table)
	if err != nil {
		return "", err
	}
	if err := s.EnsureTable(ctx); err != nil {
		return "", err
	}
	return table, s.Close()
}
