package fleet

import (
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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/events"
	"github.com/shingle-proxy/shingle/internal/sqlite"
)

// eventsEnvironment names the database of a process that makes events of what changes
// there and delivers them, until it is killed.
const eventsEnvironment = "SHINGLE_TEST_EVENTS"

func serveEvents(ctx context.Context, path string) error {
	db, err := sqlite.Open(ctx, sqlite.Config{Path: path})
	if err != nil {
		return err
	}
	h, err := openHub(db)
	if err != nil {
		return err
	}
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); os.Exit(0) }()
	return h.Run(ctx)
}

func openHub(db *sqlite.DB) (*events.Hub, error) {
	return events.New(events.Config{
		Blobs: db, Domains: db, Sealer: openSealer{}, AllowPrivate: true, Poll: 10 * time.Millisecond, Timeout: 100 * time.Millisecond,
		Schedule: []time.Duration{20 * time.Millisecond, 40 * time.Millisecond, 80 * time.Millisecond, 80 * time.Millisecond, 80 * time.Millisecond},
	})
}

// openSealer hides nothing.
type openSealer struct{}

func (openSealer) Seal(_ context.Context, plain []byte, _ string) ([]byte, error) { return plain, nil }
func (openSealer) Open(_ context.Context, sealed []byte, _ string) ([]byte, error) {
	return sealed, nil
}

// hostile is a receiver that fails, hangs and lies in turn, until it is told to be
// good. What it took and said so is what has arrived.
type hostile struct {
	mu      sync.Mutex
	good    bool
	n       int
	arrived map[string]int // by host
	ids     map[string]string
}

// ServeHTTP implements [http.Handler].
func (r *hostile) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	var event struct{ Data struct{ Host string } }
	if err != nil || json.Unmarshal(body, &event) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	n, good := r.n, r.good
	r.n++
	id := q.Header.Get("webhook-id")
	if known, ok := r.ids[event.Data.Host]; ok && known != id {
		r.ids[event.Data.Host] = "two: " + known + " and " + id
	} else {
		r.ids[event.Data.Host] = id
	}
	if r.mu.Unlock(); !good {
		switch n % 6 {
		case 0:
			w.WriteHeader(http.StatusInternalServerError)
			return
		case 1: // hangs
			<-q.Context().Done()
			return
		case 2: // a success that is cut off before its end
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("ok"))
			panic(http.ErrAbortHandler)
		case 3: // somebody else is to have it
			http.Redirect(w, q, "/elsewhere", http.StatusFound)
			return
		case 4: // no HTTP
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_, _ = io.WriteString(conn, "200 OK, thank you\r\n\r\n")
				_ = conn.Close()
			}
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.arrived[event.Data.Host]++
}

func (r *hostile) missing(hosts []string) (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, host := range hosts {
		if r.arrived[host] == 0 {
			list = append(list, host)
		}
	}
	return list
}

// TestEvents_NoneIsLostToKills has the process that delivers killed again and again
// while domains are added, and the receiver be of the worst sort.
func TestEvents_NoneIsLostToKills(t *testing.T) {
	t.Parallel()
	const domains, kills = 40, 12
	path := filepath.Join(t.TempDir(), "db")
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	check(t, err)
	defer func() { check(t, db.Close()) }()
	r := &hostile{arrived: map[string]int{}, ids: map[string]string{}}
	server := httptest.NewServer(r)
	defer server.Close()
	h, err := openHub(db)
	check(t, err)
	hook, _, err := h.CreateWebhook(t.Context(), shingle.Webhook{URL: server.URL, Types: []shingle.EventType{shingle.EventDomainCreated}})
	check(t, err)
	var hosts []string
	for i := range kills {
		stop := deliverer(t, path)
		for n := i * domains / kills; n < (i+1)*domains/kills; n++ {
			hosts = append(hosts, fmt.Sprintf("n%d.customer.com", n))
			_, err := db.CreateDomain(t.Context(), shingle.Domain{Host: hosts[n]}, time.Now())
			check(t, err)
		}
		time.Sleep(time.Duration(20+17*i%90) * time.Millisecond) // somewhere in its work
		stop()
	}
	r.mu.Lock()
	r.good = true
	r.mu.Unlock()
	defer deliverer(t, path)()
	for deadline := time.Now().Add(time.Minute); len(r.missing(hosts)) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never arrived: %q", r.missing(hosts))
		}
		if _, err := h.Replay(t.Context(), hook.ID, ""); err != nil && !errors.Is(err, shingle.ErrNotFound) { // what was given up meanwhile is kept
			t.Fatal(err)
		}
	}
	for host, id := range r.ids {
		if strings.HasPrefix(id, "two") {
			t.Errorf("%s arrived under %s", host, id)
		}
	}
	inLog(t, h, hosts)
}

// inLog fails unless the log has each domain's event once.
func inLog(t *testing.T, h *events.Hub, hosts []string) {
	t.Helper()
	for _, host := range hosts {
		list, _, err := h.Log(t.Context(), shingle.EventFilter{Host: host}, "", 10)
		if err != nil || len(list) != 1 || list[0].Type != shingle.EventDomainCreated {
			t.Errorf("the log of %s has %+v, %v", host, list, err)
		}
	}
}

// deliverer starts a process that delivers, and returns what kills it.
func deliverer(t *testing.T, path string) (kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), eventsEnvironment+"="+path)
	stdin, err := cmd.StdinPipe()
	check(t, err)
	cmd.Stderr = os.Stderr
	check(t, cmd.Start())
	kill = sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); _ = stdin.Close() })
	t.Cleanup(kill)
	return kill
}
