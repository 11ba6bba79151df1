package fleet

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// meter stands between a process and DynamoDB, and counts what the process is
// billed for, by what DynamoDB itself says.
type meter struct {
	url string

	mu    sync.Mutex
	spent map[string]usage // by operation and family of keys
}

// usage is what calls have cost, in request units.
type usage struct {
	calls, reads, writes float64
}

func (u usage) plus(v usage) usage {
	return usage{u.calls + v.calls, u.reads + v.reads, u.writes + v.writes}
}

func (u usage) times(f float64) usage { return usage{u.calls * f, u.reads * f, u.writes * f} }

// dollars is the price in us-east-1 on 2026-11-23, on demand.
func (u usage) dollars() float64 { return (u.reads*0.125 + u.writes*0.625) / 1e6 }

func (u usage) String() string {
	return fmt.Sprintf("%.1f requests, %.1f read and %.1f write units", u.calls, u.reads, u.writes)
}

// newMeter starts a meter in front of DynamoDB Local, which takes a request whose
// body is not the one that was signed.
func newMeter(t *testing.T, endpoint string) *meter {
	t.Helper()
	upstream, err := url.Parse(endpoint)
	check(t, err)
	m := &meter{spent: map[string]usage{}}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(upstream)
			r.Out.Host = r.In.Host
			body, _ := io.ReadAll(r.In.Body)
			r.Out.Header.Set("X-Meter", family(r.In.Header.Get("X-Amz-Target"), body))
			r.Out.Header.Set("X-Least", leastRead(body))
			body = append([]byte(`{"ReturnConsumedCapacity":"TOTAL",`), bytes.TrimPrefix(body, []byte("{"))...)
			r.Out.Body, r.Out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		},
		ModifyResponse: m.count,
		ErrorLog:       slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // processes that end do not wait for answers
	}
	s := httptest.NewServer(proxy)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	m.url = s.URL
	return m
}

// family names what a request is about: its operation, and the first part of its
// key or partition.
func family(target string, body []byte) string {
	_, operation, _ := strings.Cut(target, ".")
	var in struct {
		Key, Item, ExpressionAttributeValues map[string]struct{ S string }
		TransactItems                        []struct {
			Put, Delete struct{ Item, Key map[string]struct{ S string } }
		}
	}
	_ = json.Unmarshal(body, &in)
	pk, sk := cmp.Or(in.Key["pk"].S, in.Item["pk"].S, in.ExpressionAttributeValues[":p"].S), cmp.Or(in.Key["sk"].S, in.Item["sk"].S,
		in.ExpressionAttributeValues[":from"].S, in.ExpressionAttributeValues[":after"].S)
	if name, _, _ := strings.Cut(pk, "#"); name != "blob" {
		return operation + " " + cmp.Or(name, "domain")
	}
	name, rest, _ := strings.Cut(sk, "/")
	if second, _, nested := strings.Cut(rest, "/"); nested && slices.Contains([]string{"events", "checks"}, name) {
		name += "/" + second
	}
	return operation + " " + name
}

// leastRead is what a read costs that finds nothing.
func leastRead(body []byte) string {
	if bytes.Contains(body, []byte(`"ConsistentRead":true`)) {
		return "1"
	}
	return "0.5"
}

func (m *meter) count(resp *http.Response) error {
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	type capacity struct{ CapacityUnits float64 }
	var out struct{ ConsumedCapacity json.RawMessage }
	_ = json.Unmarshal(body, &out)
	list := []capacity{{}}
	if json.Unmarshal(out.ConsumedCapacity, &list) != nil {
		_ = json.Unmarshal(out.ConsumedCapacity, &list[0])
	}
	what := resp.Request.Header.Get("X-Meter")
	u := usage{calls: 1}
	for _, c := range list { // what finds nothing, and a write that is refused, cost as well
		if strings.HasPrefix(what, "GetItem") || strings.HasPrefix(what, "Query") {
			least, _ := strconv.ParseFloat(resp.Request.Header.Get("X-Least"), 64)
			u.reads += max(c.CapacityUnits, least)
		} else {
			u.writes += max(c.CapacityUnits, 1)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spent[what] = m.spent[what].plus(u)
	return nil
}

// take returns what was spent since the last take.
func (m *meter) take() map[string]usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	spent := m.spent
	m.spent = map[string]usage{}
	return spent
}

func sum(spent map[string]usage) (all usage) {
	for _, u := range spent {
		all = all.plus(u)
	}
	return all
}

// show lists what was spent, per n, the dearest first.
func show(spent map[string]usage, n float64) string {
	var b strings.Builder
	dear := func(u usage) float64 { return u.reads + 5*u.writes }
	for _, what := range slices.SortedFunc(maps.Keys(spent), func(a, b string) int { return cmp.Compare(dear(spent[b]), dear(spent[a])) }) {
		u := spent[what]
		fmt.Fprintf(&b, "\n  %-34s %7.2f requests %7.2f reads %7.2f writes", what, u.calls/n, u.reads/n, u.writes/n)
	}
	return b.String()
}
