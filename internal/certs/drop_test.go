package certs

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
)

// TestDrop_WhatWasStoredAfterADeletion has a process store a certificate for a domain
// that was deleted, and dropped, a moment before: it goes, with its key, when it comes up.
func TestDrop_WhatWasStoredAfterADeletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *sim
		s = newSim(t, []*simCA{newSimCA(t, "ca")}, func(c *Config) {
			c.Permission = shingle.PermissionFunc(func(ctx context.Context, host string) error {
				if _, err := s.store.Domain(ctx, host); err != nil {
					return shingle.Errorf(shingle.CodeForbidden, "%s is not a domain of this service", host)
				}
				return nil
			})
		})
		defer s.close()
		defer s.work()()
		s.add(testHost, "")
		time.Sleep(5 * time.Minute)
		b, err := s.store.Get(t.Context(), certKey(testHost))
		s.check(err)
		p := s.plan(testHost)
		s.check(s.store.DeleteDomain(t.Context(), testHost, 0, "", time.Now()))
		time.Sleep(5 * time.Minute)
		_, err = s.store.Put(t.Context(), certKey(testHost), b.Value, shingle.NoVersion)
		s.check(err)
		_, err = s.m.store.changePlan(t.Context(), testHost, time.Now(), func(x *plan, _ bool) bool { *x = p; return true })
		s.check(err)
		time.Sleep(70 * day)
		for _, key := range []string{certKey(testHost), planKey(testHost)} {
			if _, err := s.store.Get(t.Context(), key); !errors.Is(err, shingle.ErrNotFound) {
				t.Errorf("%s is there: %v", key, err)
			}
		}
	})
}
