package storetest

import (
	"context"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Fault stands in front of one call of a store. op is the method's name; key is
// the key, host, token ID, prefix or cursor that it was called with. call does
// the real thing and returns its error. What the fault returns is what the
// caller gets, with results only when that is nil; a fault that returns nil has
// run call.
type Fault func(ctx context.Context, op, key string, call func() error) error

// Refuse fails without touching the store.
func Refuse(err error) Fault {
	return func(context.Context, string, string, func() error) error { return err }
}

// LoseReply does the work and then fails: the write landed, or was refused, and
// the caller does not learn which.
func LoseReply(err error) Fault {
	return func(_ context.Context, _, _ string, call func() error) error {
		_ = call() // losing this answer is the point
		return err
	}
}

// Block waits for the end of ctx, without touching the store.
func Block() Fault {
	return func(ctx context.Context, _, _ string, _ func() error) error {
		<-ctx.Done()
		return ctx.Err()
	}
}

// On limits f to the calls of one method.
func On(op string, f Fault) Fault {
	return func(ctx context.Context, called, key string, call func() error) error {
		if called != op {
			return call()
		}
		return f(ctx, called, key, call)
	}
}

// Times limits f to the first n calls that reach it: On("Put", Times(1, f)) is
// the first Put.
func Times(n int, f Fault) Fault {
	var mu sync.Mutex
	take := func() bool {
		mu.Lock()
		defer mu.Unlock()
		n--
		return n >= 0
	}
	return func(ctx context.Context, op, key string, call func() error) error {
		if !take() {
			return call()
		}
		return f(ctx, op, key, call)
	}
}

// Faults holds the fault of a faulty store. Its zero value lets all calls pass.
type Faults struct {
	mu    sync.Mutex
	fault Fault
}

// Inject puts f in front of every call that begins from now on; nil ends that.
func (s *Faults) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

func (s *Faults) run(ctx context.Context, op, key string, call func() error) error {
	s.mu.Lock()
	f := s.fault
	s.mu.Unlock()
	if f == nil {
		return call()
	}
	return f(ctx, op, key, call)
}

// result is run for a call with a result, which is lost when the call fails.
func result[T any](ctx context.Context, s *Faults, op, key string, call func() (T, error)) (T, error) {
	var got, none T
	err := s.run(ctx, op, key, func() (err error) {
		got, err = call()
		return err
	})
	if err != nil {
		return none, err
	}
	return got, nil
}

// FaultyBlobs is a [shingle.Blobs] that fails as [Faults.Inject] says.
type FaultyBlobs struct {
	Faults
	Blobs shingle.Blobs
}

// Get implements [shingle.Blobs].
func (s *FaultyBlobs) Get(ctx context.Context, key string) (shingle.Blob, error) {
	return result(ctx, &s.Faults, "Get", key, func() (shingle.Blob, error) { return s.Blobs.Get(ctx, key) })
}

// Put implements [shingle.Blobs].
func (s *FaultyBlobs) Put(ctx context.Context, key string, value []byte, ifVersion string) (string, error) {
	return result(ctx, &s.Faults, "Put", key, func() (string, error) { return s.Blobs.Put(ctx, key, value, ifVersion) })
}

// Delete implements [shingle.Blobs].
func (s *FaultyBlobs) Delete(ctx context.Context, key, ifVersion string) error {
	return s.run(ctx, "Delete", key, func() error { return s.Blobs.Delete(ctx, key, ifVersion) })
}

// List implements [shingle.Blobs].
func (s *FaultyBlobs) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	return result(ctx, &s.Faults, "List", prefix, func() ([]string, error) { return s.Blobs.List(ctx, prefix, after, limit) })
}

// FaultyDomainStore is a [shingle.DomainStore] that fails as [Faults.Inject]
// says.
type FaultyDomainStore struct {
	Faults
	Store shingle.DomainStore
}

// CreateDomain implements [shingle.DomainStore].
func (s *FaultyDomainStore) CreateDomain(ctx context.Context, d shingle.Domain, now time.Time) (shingle.Domain, error) {
	return result(ctx, &s.Faults, "CreateDomain", d.Host, func() (shingle.Domain, error) { return s.Store.CreateDomain(ctx, d, now) })
}

// Domain implements [shingle.DomainStore].
func (s *FaultyDomainStore) Domain(ctx context.Context, host string) (shingle.Domain, error) {
	return result(ctx, &s.Faults, "Domain", host, func() (shingle.Domain, error) { return s.Store.Domain(ctx, host) })
}

// UpdateDomain implements [shingle.DomainStore].
func (s *FaultyDomainStore) UpdateDomain(ctx context.Context, d shingle.Domain, now time.Time) (shingle.Domain, error) {
	return result(ctx, &s.Faults, "UpdateDomain", d.Host, func() (shingle.Domain, error) { return s.Store.UpdateDomain(ctx, d, now) })
}

// DeleteDomain implements [shingle.DomainStore].
func (s *FaultyDomainStore) DeleteDomain(ctx context.Context, host string, version int64, by string, now time.Time) error {
	return s.run(ctx, "DeleteDomain", host, func() error { return s.Store.DeleteDomain(ctx, host, version, by, now) })
}

// Domains implements [shingle.DomainStore].
func (s *FaultyDomainStore) Domains(ctx context.Context, after string, limit int) ([]shingle.Domain, error) {
	return result(ctx, &s.Faults, "Domains", after, func() ([]shingle.Domain, error) { return s.Store.Domains(ctx, after, limit) })
}

// CountDomains implements [shingle.DomainCounter], which its Store has to.
func (s *FaultyDomainStore) CountDomains(ctx context.Context, tenant string, most int) (int, error) {
	return result(ctx, &s.Faults, "CountDomains", tenant, func() (int, error) {
		return s.Store.(shingle.DomainCounter).CountDomains(ctx, tenant, most)
	})
}

// FindDomains implements [shingle.DomainStore].
func (s *FaultyDomainStore) FindDomains(ctx context.Context, q shingle.DomainQuery) ([]shingle.Domain, error) {
	return result(ctx, &s.Faults, "FindDomains", q.After.Host, func() ([]shingle.Domain, error) { return s.Store.FindDomains(ctx, q) })
}

// Head implements [shingle.DomainStore].
func (s *FaultyDomainStore) Head(ctx context.Context) (shingle.Cursor, error) {
	return result(ctx, &s.Faults, "Head", "", func() (shingle.Cursor, error) { return s.Store.Head(ctx) })
}

// Changes implements [shingle.DomainStore].
func (s *FaultyDomainStore) Changes(ctx context.Context, after shingle.Cursor, limit int) ([]shingle.Change, shingle.Cursor, error) {
	var next shingle.Cursor
	list, err := result(ctx, &s.Faults, "Changes", string(after), func() (list []shingle.Change, err error) {
		list, next, err = s.Store.Changes(ctx, after, limit)
		return list, err
	})
	if err != nil {
		return nil, "", err
	}
	return list, next, nil
}
