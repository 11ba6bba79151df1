package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/certs"
	"github.com/shingle-proxy/shingle/internal/keyfile"
	"github.com/shingle-proxy/shingle/internal/members"
)

// Jobs that a process does when it is asked for a certificate by these names.
const (
	jobRewrap = "rewrap"
	jobDeep   = "rewrap-deep"
	jobLost   = "rewrap-lost-" // and the key's ID
)

// rewrap does a job to its end, and repeats what cannot be done now, as the command
// does. It reports false when the line is none.
func rewrap(m *certs.Manager, line string) (answer string, ok bool) {
	r := shingle.Rewrap{Deep: line == jobDeep}
	if id, ok := strings.CutPrefix(line, jobLost); ok {
		r.Lost = id
	} else if !r.Deep && line != jobRewrap {
		return "", false
	}
	changed := map[string]int{}
	for deadline := time.Now().Add(time.Minute); ; {
		page, err := m.Rewrap(context.Background(), r)
		if errors.Is(err, shingle.ErrUnavailable) && time.Now().Before(deadline) {
			time.Sleep(leaseTime / 20)
			continue
		}
		if err != nil {
			return "error " + err.Error(), true
		}
		for kind, n := range page.Changed {
			changed[kind] += n
		}
		if page.Failed > 0 {
			return fmt.Sprintf("error %+v", page.Failures), true
		}
		if r.After = page.Next; r.After == "" {
			text, _ := json.Marshal(changed)
			return string(text), true
		}
	}
}

// street is a world with several hosts, whose certificates all processes serve.
type street struct {
	*world
	hosts   []string
	serials map[string]string
	edges   []*member
}

func newStreet(t *testing.T) *street {
	s := &street{world: newWorld(t), hosts: []string{host}, serials: map[string]string{}}
	for _, name := range []string{"a", "b", "c", "d"} {
		s.hosts = append(s.hosts, name+".customer.localhost")
		_, err := s.db.CreateDomain(t.Context(), shingle.Domain{Host: s.hosts[len(s.hosts)-1]}, time.Now())
		check(t, err)
	}
	s.edges = []*member{s.worker(), s.worker()}
	for _, h := range s.hosts {
		if s.serials[h] = s.edges[0].persist(h); strings.HasPrefix(s.serials[h], "error") {
			t.Fatal(s.serials[h])
		}
	}
	s.served(s.edges...)
	return s
}

// served fails unless the processes serve every host as they did.
func (s *street) served(by ...*member) {
	s.t.Helper()
	for i, p := range by {
		for _, h := range s.hosts {
			if got := p.persist(h); got != s.serials[h] {
				s.t.Fatalf("process %d answers %s for %s, want %s", i, got, h, s.serials[h])
			}
		}
	}
}

// rotate makes the next master key, and returns a function that removes the one of
// before.
func (s *street) rotate() (retire func()) {
	s.t.Helper()
	_, _, err := keyfile.Next(s.setting.KeyFile)
	check(s.t, err)
	return func() { check(s.t, os.Remove(s.setting.KeyFile)) }
}

// TestFleet_MasterKeyIsRotated kills the process that rewraps, before and after each
// kind of its writes, has another go on, removes the old master key and restarts
// every process.
func TestFleet_MasterKeyIsRotated(t *testing.T) {
	for _, x := range []struct{ job, prefix string }{
		{jobRewrap, "leases/rewrap"}, {jobRewrap, "keys/data-"},
		{jobDeep, "rewrap"}, {jobDeep, "keys/active-"}, {jobDeep, "accounts/key"}, {jobDeep, "certs/"}, {jobDeep, "keys/data-"},
	} {
		for _, fault := range []string{"die before", "die after"} {
			t.Run(fault+" "+x.job+" "+strings.ReplaceAll(x.prefix, "/", "."), func(t *testing.T) {
				t.Parallel()
				s := newStreet(t)
				orders := s.ca.Orders()
				retire := s.rotate()
				setting := s.setting
				setting.Fault, setting.Op, setting.Prefix = fault, "Put", x.prefix
				if a := start(t, setting).ask(x.job); a != "gone" {
					t.Fatalf("the victim answers %s", a)
				}
				s.served(s.edges...)
				if a := s.edges[0].ask(x.job); !strings.HasPrefix(a, "{") {
					t.Fatal(a)
				}
				s.served(s.edges...)
				retire()
				for _, p := range s.edges {
					p.kill()
				}
				s.served(s.worker(), s.worker())
				if n := s.ca.Orders(); n != orders {
					t.Errorf("%d orders, %d before", n, orders)
				}
			})
		}
	}
}

// TestFleet_LostMasterKey has a master key lost while processes run: one that has
// the data keys in memory saves them. When all have died they are given up, and
// every host gets another certificate.
func TestFleet_LostMasterKey(t *testing.T) {
	for _, saved := range []bool{true, false} {
		t.Run(map[bool]string{true: "some run on", false: "all died"}[saved], func(t *testing.T) {
			t.Parallel()
			s := newStreet(t)
			old, err := keyfile.Read(s.setting.KeyFile)
			check(t, err)
			lost, err := old.Current(t.Context())
			check(t, err)
			s.rotate()()
			if !saved {
				for _, p := range s.edges {
					p.kill()
				}
				s.edges = nil
			}
			fresh := s.worker()
			if a := fresh.ask(host); !strings.HasPrefix(a, "error") {
				t.Fatalf("who starts without the key answers %s", a)
			}
			if a := fresh.ask(jobRewrap); !strings.Contains(a, "error") || !strings.Contains(a, lost) {
				t.Fatalf("the rewrap: %s", a)
			}
			if saved {
				s.served(append(s.edges, fresh)...)
				return
			}
			if a := fresh.ask(jobLost + lost); !strings.Contains(a, `"certificates":5`) {
				t.Fatal(a)
			}
			for _, h := range s.hosts {
				if s.serials[h] = fresh.persist(h); strings.HasPrefix(s.serials[h], "error") {
					t.Fatalf("%s: %s", h, s.serials[h])
				}
			}
			s.served(fresh, s.worker())
			// What answers the validations here hears no news, and knows only the lost
			// account key: HTTP-01 fails once for each host.
			if n := s.ca.Orders(); n > 15 {
				t.Errorf("%d orders for 5 hosts", n)
			}
		})
	}
}

// TestFleet_ANewMasterKeyWaitsForEveryProcess: what a process seals that knows it is read by
// another that does not.
func TestFleet_ANewMasterKeyWaitsForEveryProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.withKeyOf("a"), w.withKeyOf("b")
	first, second := start(t, a), start(t, b)
	w.bothServe(first, second, "first.customer.localhost") // there is something to go on with
	_, next, err := keyfile.Next(a.KeyFile)
	check(t, err)
	first.end()
	first = start(t, a)
	w.reported("a", next)
	w.reported("b", "")
	w.bothServe(first, second, "second.customer.localhost")
	if n := w.sealers(); n != 1 {
		t.Errorf("%d data keys seal, want 1", n)
	}
	key, err := os.ReadFile(a.KeyFile + ".2")
	check(t, err)
	check(t, os.WriteFile(b.KeyFile+".2", key, 0o600))
	second.end()
	second = start(t, b)
	w.reported("b", next)
	first.end() // else it looks in a minute
	first = start(t, a)
	w.bothServe(first, second, "third.customer.localhost")
	if n := w.sealers(); n != 2 {
		t.Errorf("%d data keys seal, want that of the new master key, too", n)
	}
}

// withKeyOf is what a process is told that has a copy of the key file.
func (w *world) withKeyOf(id string) setting {
	w.t.Helper()
	s := w.setting
	s.ID, s.KeyFile = id, w.setting.KeyFile+"."+id+".copy"
	key, err := os.ReadFile(w.setting.KeyFile)
	check(w.t, err)
	check(w.t, os.WriteFile(s.KeyFile, key, 0o600))
	return s
}

// reported waits until a process has said that it has a master key; of an empty one,
// until it has said anything.
func (w *world) reported(id, key string) {
	w.t.Helper()
	roster := members.New(members.Config{Blobs: w.db})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		m, err := roster.Member(w.t.Context(), id)
		if err == nil && m.Opens(key) {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s has %v, %v, want %s", id, m.MasterKeys, err, key)
		}
	}
}

// bothServe has a process obtain the certificate of a new host, and another one serve it.
func (w *world) bothServe(obtains, serves *member, host string) {
	w.t.Helper()
	_, err := w.db.CreateDomain(w.t.Context(), shingle.Domain{Host: host}, time.Now())
	check(w.t, err)
	before := w.ca.Orders()
	serial := obtains.persist(host)
	if got := serves.persist(host); got != serial || strings.HasPrefix(serial, "error") || w.ca.Orders() != before+1 {
		w.t.Fatalf("%s: %s and %s after %d orders", host, serial, got, w.ca.Orders()-before)
	}
}

// sealers is how many master keys have a data key that seals.
func (w *world) sealers() int {
	w.t.Helper()
	keys, err := w.db.List(w.t.Context(), "keys/active-", "", 10)
	check(w.t, err)
	return len(keys)
}

// end has a process end, and waits for that.
func (p *member) end() {
	_ = p.stdin.Close()
	<-p.gone
}
