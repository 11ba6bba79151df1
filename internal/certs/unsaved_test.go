package certs

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// TestUnsaved_IsStoredOnceTheStoreTakesIt has the store refuse a certificate for longer
// than an issuance lasts: it is not to stay in the memory of one process.
func TestUnsaved_IsStoredOnceTheStoreTakesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var blobs *storetest.FaultyBlobs
		s := newSim(t, []*simCA{newSimCA(t, "ca")}, func(c *Config) {
			blobs = &storetest.FaultyBlobs{Blobs: c.Blobs}
			c.Blobs = blobs
		})
		defer s.close()
		blobs.Inject(func(_ context.Context, op, key string, call func() error) error {
			if op == "Put" && strings.HasPrefix(key, "certs/") {
				return errors.New("no space left")
			}
			return call()
		})
		defer s.work()()
		s.add(testHost, "")
		time.Sleep(s.m.cfg.IssueTimeout + 5*time.Minute)
		if _, err := s.store.Get(t.Context(), certKey(testHost)); !errors.Is(err, shingle.ErrNotFound) {
			t.Fatalf("the store has it already: %v", err)
		}
		blobs.Inject(nil)
		time.Sleep(2*s.m.cfg.LeaseTime + 2*s.m.cfg.Poll)
		synctest.Wait()
		c, err := s.m.Info(t.Context(), testHost)
		s.check(err)
		e, _, err := s.m.load(t.Context(), testHost)
		if err != nil || c.State != shingle.CertificateValid || !c.NotAfter.Equal(e.notAfter) {
			t.Errorf("stored: %v; the plan says %s until %s", err, c.State, c.NotAfter)
		}
		if n := len(s.cas[0].accepted); n != 1 {
			t.Errorf("%d orders", n)
		}
	})
}
