package storetest

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/shingle-proxy/shingle"
)

// leaseValue is a lease as package certs keeps one: whoever finds it without a
// holder may take it, with the next token.
type leaseValue struct {
	Token  int    `json:"token"`
	Holder string `json:"holder"`
	Nonce  uint64 `json:"nonce"`
}

// testLease has processes hold a lease in turn, while replies are lost and calls
// refused: never two at once, and no token twice.
func testLease(t *testing.T, s shingle.Blobs) {
	s = withFaults(s)
	var inside, last atomic.Int64
	var all sync.WaitGroup
	for id := range 4 {
		all.Go(func() {
			l := leaseClient{t: t, store: s, name: "process " + strconv.Itoa(id)}
			for range 5 {
				token := l.acquire()
				if inside.Add(1) != 1 {
					t.Error("two hold the lease")
				}
				if before := last.Swap(int64(token)); before >= int64(token) {
					t.Errorf("token %d after %d", token, before)
				}
				inside.Add(-1)
				l.release(token)
			}
		})
	}
	all.Wait()
}

type leaseClient struct {
	t     *testing.T
	store shingle.Blobs
	name  string
}

const leaseRecord = "leases/worker"

// acquire returns the token of the lease, once it is ours.
func (c *leaseClient) acquire() (token int) {
	for c.t.Context().Err() == nil {
		now, version, ok := c.read()
		if !ok || now.Holder != "" {
			continue
		}
		if c.write(leaseValue{Token: now.Token + 1, Holder: c.name}, version) {
			return now.Token + 1
		}
	}
	return -1
}

func (c *leaseClient) release(token int) {
	for tried := false; c.t.Context().Err() == nil; {
		now, version, ok := c.read()
		switch {
		case !ok:
		case now.Holder == c.name && now.Token == token:
			if tried = true; c.write(leaseValue{Token: token}, version) {
				return
			}
		case tried: // it was released, and another has it
			return
		default:
			c.t.Errorf("%s lost token %d to %+v", c.name, token, now)
			return
		}
	}
}

// read returns the lease; ok is false when it could not be read.
func (c *leaseClient) read() (now leaseValue, version string, ok bool) {
	b, err := c.store.Get(c.t.Context(), leaseRecord)
	if errors.Is(err, shingle.ErrNotFound) {
		return now, shingle.NoVersion, true
	}
	return now, b.Version, err == nil && json.Unmarshal(b.Value, &now) == nil
}

// write reports whether v was written. When the reply is lost it looks.
func (c *leaseClient) write(v leaseValue, ifVersion string) bool {
	v.Nonce = rand.Uint64()
	value, err := json.Marshal(v)
	if err != nil {
		c.t.Error(err)
		return false
	}
	_, err = c.store.Put(c.t.Context(), leaseRecord, value, ifVersion)
	if err == nil || errors.Is(err, shingle.ErrConflict) {
		return err == nil
	}
	for c.t.Context().Err() == nil {
		if now, _, ok := c.read(); ok {
			return now.Nonce == v.Nonce
		}
	}
	return false
}
