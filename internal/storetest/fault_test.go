package storetest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

var errLost = errors.New("lost")

// The wrappers without a fault are stores like those that they wrap.
func TestFaulty_WithoutFaultConforms(t *testing.T) {
	storetest.TestDomainStore(t, func(*testing.T) shingle.DomainStore {
		return &storetest.FaultyDomainStore{Store: &memory.Store{}}
	})
	storetest.TestBlobs(t, func(*testing.T) shingle.Blobs {
		return &storetest.FaultyBlobs{Blobs: &memory.Store{}}
	})
}

func TestFaultyBlobs_Refuse(t *testing.T) {
	s := &storetest.FaultyBlobs{Blobs: &memory.Store{}}
	s.Inject(storetest.On("Put", storetest.Times(1, storetest.Refuse(shingle.ErrUnavailable))))
	if _, err := s.Put(t.Context(), "k", nil, shingle.NoVersion); !errors.Is(err, shingle.ErrUnavailable) {
		t.Errorf("the first: %v", err)
	}
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("it landed: %v", err)
	}
	if _, err := s.Put(t.Context(), "k", nil, shingle.NoVersion); err != nil {
		t.Errorf("the second: %v", err)
	}
}

func TestFaultyBlobs_LoseReply(t *testing.T) {
	s := &storetest.FaultyBlobs{Blobs: &memory.Store{}}
	s.Inject(storetest.On("Put", storetest.LoseReply(errLost)))
	if version, err := s.Put(t.Context(), "k", []byte("v"), shingle.NoVersion); !errors.Is(err, errLost) || version != "" {
		t.Errorf("got %q, %v", version, err)
	}
	b, err := s.Get(t.Context(), "k")
	if err != nil || string(b.Value) != "v" {
		t.Errorf("it did not land: %q, %v", b.Value, err)
	}
	s.Inject(storetest.LoseReply(errLost))
	if b, err := s.Get(t.Context(), "k"); !errors.Is(err, errLost) || b.Value != nil {
		t.Errorf("a read: %q, %v", b.Value, err)
	}
	s.Inject(nil)
	if _, err := s.Put(t.Context(), "k", nil, b.Version); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestFaultyDomainStore_Block(t *testing.T) {
	s := &storetest.FaultyDomainStore{Store: &memory.Store{}}
	s.Inject(storetest.Block())
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := s.CreateDomain(ctx, shingle.Domain{Host: "a.example.com"}, time.Now())
		failed <- err
	}()
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	s.Inject(nil)
	if _, err := s.Domain(t.Context(), "a.example.com"); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("it landed: %v", err)
	}
}

// Each method asks the fault under its own name.
func TestFaulty_NamesEachMethod(t *testing.T) {
	var names []string
	record := func(_ context.Context, op, key string, _ func() error) error {
		names = append(names, op+" "+key)
		return errLost
	}
	d := &storetest.FaultyDomainStore{Store: &memory.Store{}}
	b := &storetest.FaultyBlobs{Blobs: &memory.Store{}}
	d.Inject(record)
	b.Inject(record)
	ctx, now, a := t.Context(), time.Now(), shingle.Domain{Host: "a"}
	var errs [11]error
	_, errs[0] = d.CreateDomain(ctx, a, now)
	_, errs[1] = d.Domain(ctx, "a")
	_, errs[2] = d.UpdateDomain(ctx, a, now)
	errs[3] = d.DeleteDomain(ctx, "a", 0, "", now)
	_, errs[4] = d.Domains(ctx, "a", 1)
	_, errs[5] = d.Head(ctx)
	_, _, errs[6] = d.Changes(ctx, "a", 1)
	_, errs[7] = b.Get(ctx, "a")
	_, errs[8] = b.Put(ctx, "a", nil, "")
	errs[9] = b.Delete(ctx, "a", "")
	_, errs[10] = b.List(ctx, "a", "", 1)
	want := []string{
		"CreateDomain a", "Domain a", "UpdateDomain a", "DeleteDomain a", "Domains a", "Head ", "Changes a",
		"Get a", "Put a", "Delete a", "List a",
	}
	for i, name := range want {
		if i >= len(names) || names[i] != name || !errors.Is(errs[i], errLost) {
			t.Fatalf("calls %q, errors %v", names, errs)
		}
	}
}
