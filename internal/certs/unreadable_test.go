package certs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// damageOf overwrites the records with a prefix, at most n of them, and returns their keys.
func (s *sim) damageOf(prefix, value string, n int) (keys []string) {
	s.t.Helper()
	keys, err := s.store.List(s.t.Context(), prefix, "", n)
	s.check(err)
	for _, key := range keys {
		b, err := s.store.Get(s.t.Context(), key)
		s.check(err)
		_, err = s.store.Put(s.t.Context(), key, []byte(value), b.Version)
		s.check(err)
	}
	return keys
}

// TestSim_DamagedRecords has a record of each kind that the worker reads get unreadable
// while it works: every other certificate is renewed, and new domains get theirs.
func TestSim_DamagedRecords(t *testing.T) {
	const n, days = 40, 60
	for _, value := range []string{`{"token":`, `null`, "\x00"} {
		t.Run(fmt.Sprintf("%q", value), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := shingle.NewUnreadable(storetest.Discard)
				ca := newSimCA(t, "ca")
				s := newSim(t, []*simCA{ca}, func(c *Config) {
					seldom(c)
					c.Unreadable = u
				})
				defer s.close()
				s.seed(n)
				stop := s.work()
				time.Sleep(20 * day) // by then there are budgets
				bad := strings.TrimPrefix(s.damageOf("plans/", value, 1)[0], "plans/")
				for _, prefix := range []string{"budgets/", "leases/", "worker/", "accounts/" + directoryHash(ca.url+"/directory")} {
					if keys := s.damageOf(prefix, value, 100); len(keys) == 0 && prefix != "accounts/"+directoryHash(ca.url+"/directory") {
						t.Errorf("nothing at %s to damage", prefix)
					}
				}
				plan, err := s.store.Get(t.Context(), planKey(bad))
				s.check(err)
				_, err = s.store.CreateDomain(t.Context(), shingle.Domain{Host: bad, Tenant: "b"}, time.Now())
				s.check(err)
				s.add("new.customer.example", "a")
				time.Sleep(days * day)
				stop()
				for i := range n {
					if host := simHostName(i); host != bad && !time.Now().Before(s.plan(host).NotAfter) {
						t.Errorf("%s has expired", host)
					}
				}
				if p := s.plan("new.customer.example"); !time.Now().Before(p.NotAfter) {
					t.Errorf("the new domain has no certificate: %+v", p)
				}
				if is, err := s.store.Get(t.Context(), planKey(bad)); err != nil || is.Version != plan.Version {
					t.Errorf("the damaged plan is now %q, %v", is.Value, err)
				}
				if !slices.Contains(u.Keys(), planKey(bad)) {
					t.Errorf("told of %q", u.Keys())
				}
				list, err := s.m.List(t.Context(), "", 1000)
				if err != nil || len(list) != n {
					t.Errorf("%d listed: %v", len(list), err)
				}
				s.check(s.m.Drop(t.Context(), bad))
				for _, key := range []string{planKey(bad), certKey(bad)} {
					if _, err := s.store.Get(t.Context(), key); err == nil {
						t.Errorf("%s is there after the domain was dropped", key)
					}
				}
			})
		})
	}
}
