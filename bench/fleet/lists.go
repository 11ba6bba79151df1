package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// lists measures pages of the list of domains, by the API and in the panel, over DynamoDB
// and over SQLite.
func (b *bench) lists(ctx context.Context) error {
	b.direct = true // what counts requests would cost time
	for _, over := range []struct {
		name string
		load func(ctx context.Context, data string) (table string, err error)
	}{{"SQLite", b.listsInSQLite}, {"DynamoDB Local", b.listsInTable}} {
		if !strings.Contains(strings.ToLower(over.name), b.over) {
			continue
		}
		data, begin := filepath.Join(b.dir, "lists-"+over.name), time.Now()
		if err := os.MkdirAll(data, 0o700); err != nil {
			return err
		}
		table, err := over.load(ctx, data)
		if err != nil {
			return fmt.Errorf("load %s: %w", over.name, err)
		}
		fmt.Printf("%d domains with statuses loaded into %s in %s\n", b.domains, over.name, time.Since(begin).Round(time.Second))
		if err := b.measureLists(ctx, over.name, data, table); err != nil {
			return fmt.Errorf("%s: %w", over.name, err)
		}
	}
	return nil
}

func (b *bench) measureLists(ctx context.Context, over, data, table string) error {
	args := []string{"serve", "--edge-http", "127.0.0.1:0", "--edge-https", "127.0.0.1:0"}
	if table != "" {
		args = []string{"control"}
	}
	p, err := b.start(ctx, data, table, append(args, "--cname-target", "edge.example.com", "--resolver", "127.0.0.1:1")...)
	if err != nil {
		return err
	}
	defer p.stop()
	r := &reader{base: "http://" + p.addr("API")}
	if err := r.signIn(ctx, data); err != nil {
		return err
	}
	fmt.Printf("\n| over %s, %d domains: median (90 %%) of %d, in ms | first page | in the middle | last page |\n|---|---:|---:|---:|\n", over, b.domains, b.pages)
	for _, q := range b.questions() {
		line := "| " + q.name
		for _, at := range []float64{0, 0.5, 1} {
			address := q.path
			if at > 0 && q.cursor == nil {
				line += " | "
				continue
			}
			if at > 0 {
				i := min(int(at*float64(b.domains)), b.domains-101)
				address += "&after=" + base64.RawURLEncoding.EncodeToString([]byte(q.cursor(i)))
			}
			took, text, err := r.median(ctx, address, b.pages)
			if err != nil {
				return fmt.Errorf("%s: %w", q.name, err)
			}
			if n := strings.Count(text, ".customer.example"); n < q.least {
				return fmt.Errorf("%s, %s: %d hosts, at least %d expected:\n%.300s", q.name, address, n, q.least, text)
			}
			line += " | " + took
		}
		fmt.Println(line + " |")
	}
	return nil
}

// question is a list that is measured.
type question struct {
	name, path string
	least      int                // hosts on each page
	cursor     func(i int) string // of the page behind the ith domain; nil: only the first page is measured
}

func (b *bench) questions() []question {
	byHost := hostOf
	created := func(sort string) func(i int) string {
		return func(i int) string {
			nth := i
			if sort != "created" {
				nth = b.domains - 1 - i
			}
			host := hostOf(b.nthCreated(nth))
			return fmt.Sprintf("%s %d %s", sort, b.createdAt(nth).UnixMicro(), host)
		}
	}
	api := func(name, query string, least int, cursor func(int) string) question {
		return question{"API: " + name, "/v1/domains?limit=100" + query, least, cursor}
	}
	return []question{
		api("by host", "", 100, byHost),
		api("the newest first", "&sort=-created", 100, created("-created")),
		api("the oldest first", "&sort=created", 100, created("created")),
		api("status changed last", "&sort=-changed", 100, created("-changed")),
		api("by host, with statuses", "&status=true", 100, byHost),
		api("a tenant's", "&tenant=tenant0007", 2, nil),
		api("a tenant's, the newest first", "&tenant=tenant0007&sort=-created", 2, nil),
		api("`who=operator`", "&who=operator", 1, nil),
		api("`who=operator`, changed last", "&who=operator&sort=-changed", 1, nil),
		api("`state=pending`", "&state=pending", 1, nil),
		api("`state=active`", "&state=active", 90, byHost),
		api("`tag`, one in a thousand", "&tag=rare", 0, nil),
		api("`text`, which nothing has", "&text=nothing-has-this", 0, nil),
		api("`paused=true`, one in ten thousand", "&paused=true", 0, nil),
		{"API: counts", "/v1/statuses?", 0, nil},
		{"panel: list", "/panel/domains?", 50, byHost},
		{"panel: the newest first", "/panel/domains?sort=-created", 50, created("-created")},
		{"panel: status changed last", "/panel/domains?sort=-changed", 50, created("-changed")},
		{"panel: you must act", "/panel/domains?who=operator&sort=-changed", 1, nil},
		{"panel: overview", "/panel/?", 1, nil},
	}
}

// reader is a person at the panel, with a token for the API.
type reader struct {
	base, token string
	http        http.Client
}

func (r *reader) signIn(ctx context.Context, data string) (err error) {
	text, err := os.ReadFile(filepath.Join(data, "token"))
	if err != nil {
		return err
	}
	r.token = strings.TrimSpace(string(text))
	if r.http.Jar, err = cookiejar.New(nil); err != nil {
		return err
	}
	form := url.Values{"token": {r.token}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.base+"/panel/sign-in", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	_, err = r.do(req)
	return err
}

func (r *reader) do(req *http.Request) (string, error) {
	resp, err := r.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status + ": " + string(text))
	}
	return string(text), err
}

// median asks for a page n times, after one time that does not count.
func (r *reader) median(ctx context.Context, address string, n int) (took, text string, err error) {
	var times []time.Duration
	for i := range n + 1 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+address, nil)
		if err != nil {
			return "", "", err
		}
		if strings.HasPrefix(address, "/v1/") {
			req.Header.Set("Authorization", "Bearer "+r.token)
		}
		begin := time.Now()
		if text, err = r.do(req); err != nil {
			return "", text, err
		}
		if i > 0 {
			times = append(times, time.Since(begin))
		}
	}
	slices.Sort(times)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return fmt.Sprintf("%.1f (%.1f)", ms(times[n/2]), ms(times[n*9/10])), text, nil
}
