package certs

import (
	"context"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
)

// TestKeyWatch_SaysThatAMasterKeyIsMissing removes a key file while it is needed, and
// puts it back.
func TestKeyWatch_SaysThatAMasterKeyIsMissing(t *testing.T) {
	s, m := newSafe(t)
	lost := s.rotate(m)
	s.check(os.Rename(s.old, s.old+".away"))
	key := openKeys(t, s.keyFile)
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{
			Blobs: s.blobs, MasterKey: key, CAs: []CA{{Directory: "https://ca.example/directory"}}, TermsAgreed: true,
			Permission: shingle.PermissionFunc(func(context.Context, string) error { return nil }),
		}
		m, err := New(cfg)
		s.check(err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); m.watchKeys(ctx) }()
		synctest.Wait()
		if why := m.Degraded(); !strings.Contains(why, lost) || !strings.Contains(why, "1 data keys") {
			t.Errorf("degraded: %q", why)
		}
		s.check(os.Rename(s.old+".away", s.old))
		time.Sleep(keyWatchAgain + time.Second)
		synctest.Wait()
		if why := m.Degraded(); why != "" {
			t.Errorf("degraded: %q", why)
		}
		cancel()
		<-done
		s.check(m.Close())
	})
}
