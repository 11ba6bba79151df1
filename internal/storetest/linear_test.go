package storetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// broken is a store with a fault that the checker must find.
type broken struct {
	*memory.Store
	get func(ctx context.Context, key string) (shingle.Blob, error)
	put func(ctx context.Context, key string, value []byte, ifVersion string) (string, error)
}

func (b *broken) Get(ctx context.Context, key string) (shingle.Blob, error) {
	if b.get != nil {
		return b.get(ctx, key)
	}
	return b.Store.Get(ctx, key)
}

func (b *broken) Put(ctx context.Context, key string, value []byte, ifVersion string) (string, error) {
	if b.put != nil {
		return b.put(ctx, key, value, ifVersion)
	}
	return b.Store.Put(ctx, key, value, ifVersion)
}

func TestCheckLinearizable_FindsBrokenStores(t *testing.T) {
	for name, breakIt := range map[string]func(s *broken){
		"an update is lost": func(s *broken) {
			s.put = func(ctx context.Context, key string, value []byte, ifVersion string) (string, error) {
				if rand.IntN(5) == 0 {
					if b, err := s.Store.Get(ctx, key); err == nil {
						ifVersion = b.Version
					}
				}
				return s.Store.Put(ctx, key, value, ifVersion)
			}
		},
		"a reply that is lost becomes a conflict": func(s *broken) {
			s.put = func(ctx context.Context, key string, value []byte, ifVersion string) (string, error) {
				version, err := s.Store.Put(ctx, key, value, ifVersion)
				if err == nil && rand.IntN(5) == 0 {
					return "", shingle.ErrConflict
				}
				return version, err
			}
		},
		"a replica is read": func(s *broken) {
			stale := make(chan shingle.Blob, 1)
			stale <- shingle.Blob{}
			s.get = func(ctx context.Context, key string) (shingle.Blob, error) {
				now, err := s.Store.Get(ctx, key)
				old := <-stale
				stale <- now
				if old.Key == key && rand.IntN(2) == 0 {
					time.Sleep(time.Millisecond)
					return old, nil
				}
				return now, err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 { // chance decides what the clients do
				s := &broken{Store: &memory.Store{}}
				breakIt(s)
				if (&history{t: t, store: s, start: time.Now()}).run() == porcupine.Illegal {
					return
				}
			}
			t.Error("the checker finds nothing")
		})
	}
}

func TestRecordModel_LostReply(t *testing.T) {
	before := recordState{value: "a", version: "1"}
	put := opInput{kind: opPut, key: "k", value: "b", ifWhat: "1"}
	next := before.write(put, opOutput{err: errFault})
	if len(next) != 2 || next[1] != (recordState{value: "b", version: anyVersion}) {
		t.Fatalf("after a put whose reply was lost: %v", next)
	}
	if got := next[1].(recordState).get(opOutput{value: "b", version: "2"}); len(got) != 1 || got[0] != (recordState{value: "b", version: "2"}) {
		t.Errorf("what is read tells the version: %v", got)
	}
	if errors.Is(errFault, shingle.ErrConflict) || before.write(put, opOutput{err: shingle.ErrConflict}) != nil {
		t.Error("a conflict that there was not is accepted")
	}
}
