package dynamo_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/dynamo"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// regions is a global table of two regions, seen from the one that is not home.
type regions struct {
	*storetest.Replication
	home, far *dynamo.Store // of a process at home, and of one that is not
	way       *storetest.Proxy
	cfg       dynamo.Config // of far
}

const replicationDelay = 30 * time.Millisecond

func newRegions(t *testing.T, edit func(*dynamo.Config)) *regions {
	t.Helper()
	cfg := config(t, storetest.DynamoDB)
	if edit != nil {
		edit(&cfg)
	}
	far := cfg
	far.Region, far.HomeRegion = "us-west-2", cfg.Region
	newStore(t, cfg)
	r := &regions{Replication: storetest.Replicate(t, storetest.ReplicationConfig{
		Endpoint: cfg.Endpoint, AccessKey: "test", Table: cfg.Table, HomeRegion: cfg.Region, Region: far.Region, Delay: replicationDelay,
	})}
	r.way = storetest.NewProxy(t, r.URL)
	cfg.Endpoint, far.HomeEndpoint = r.URL, r.way.URL
	r.home, r.far, r.cfg = open(t, cfg), newStore(t, far), far
	return r
}

// another opens the table as another process in the region that is not home does.
func (r *regions) another(t *testing.T) *dynamo.Store { return open(t, r.cfg) }

// held is true for the items of one family.
func held(family string) func(pk, sk string) bool {
	return func(pk, _ string) bool { return strings.HasPrefix(pk, family+"#") }
}

// follower knows the domains as the contract of the feed has it.
type follower struct {
	store  shingle.DomainStore
	cursor shingle.Cursor
	known  map[string]shingle.Domain
}

func (f *follower) load(ctx context.Context) (err error) {
	f.known = map[string]shingle.Domain{}
	if f.cursor, err = f.store.Head(ctx); err != nil {
		return err
	}
	for after := ""; ; {
		list, err := f.store.Domains(ctx, after, 7)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, d := range list {
			f.known[d.Host] = d
			after = d.Host
		}
	}
}

func (f *follower) follow(ctx context.Context) error {
	for {
		list, next, err := f.store.Changes(ctx, f.cursor, 7)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, c := range list {
			if c.Deleted {
				delete(f.known, c.Host)
			} else {
				f.known[c.Host] = c.Domain
			}
		}
		f.cursor = next
	}
}

// knows fails unless the follower knows what is at home.
func (r *regions) knows(t *testing.T, f *follower) {
	t.Helper()
	all := &follower{store: r.home}
	check(t, all.load(t.Context()))
	if !reflect.DeepEqual(f.known, all.known) {
		t.Errorf("known: %v\nat home: %v", f.known, all.known)
	}
}

// The end of the log arrives before the rows that it tells of: who reads all rows
// then, and goes on from there, must not miss them.
func TestReplica_HeadAheadOfTheRows(t *testing.T) {
	r := newRegions(t, nil)
	ctx, now := t.Context(), time.Now()
	for i := range 12 {
		create(t, r.home, fmt.Sprintf("old%d.example.com", i))
	}
	r.Settle()
	r.Hold(held("domain"))
	create(t, r.home, "new.example.com")
	_, err := r.home.UpdateDomain(ctx, shingle.Domain{Host: "old1.example.com", Paused: true, Version: 1}, now)
	check(t, err)
	check(t, r.home.DeleteDomain(ctx, "old2.example.com", 0, "", now))
	r.Settle()
	f := &follower{store: r.far.Replica()}
	check(t, f.load(ctx))
	check(t, f.follow(ctx))
	r.knows(t, f)
	r.Heal()
	r.Settle()
	check(t, f.follow(ctx))
	r.knows(t, f)
}

// Parts of the log are late, and the rest waits for them, however late they are.
func TestReplica_LogInAnyOrder(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	r := newRegions(t, func(c *dynamo.Config) { c.Now = func() time.Time { return clock() } })
	f := &follower{store: r.far.Replica()}
	check(t, f.load(t.Context()))
	r.Hold(func(pk, sk string) bool { return strings.HasPrefix(pk, "change#") && sk == "000000000002" })
	for i := range 64 {
		create(t, r.home, fmt.Sprintf("h%d.example.com", i))
	}
	r.Settle()
	now = now.Add(5 * 24 * time.Hour) // the regions were cut off from each other for that long
	check(t, f.follow(t.Context()))
	if len(f.known) != 16 { // the first of each log
		t.Errorf("%d of 16 are known", len(f.known))
	}
	r.Heal()
	r.Settle()
	check(t, f.follow(t.Context()))
	r.knows(t, f)
}

// A reader is behind what the log still has, although the log goes on: it must read
// all again, and not wait for what will never come.
func TestReplica_BehindTheTTL(t *testing.T) {
	now := time.Now()
	r := newRegions(t, func(c *dynamo.Config) { c.Now = func() time.Time { return now } })
	for i := range 40 {
		create(t, r.home, fmt.Sprintf("old%d.example.com", i))
	}
	r.Settle()
	expire(t, r.cfg)
	now = now.Add(8 * 24 * time.Hour)
	for i := range 40 {
		create(t, r.home, fmt.Sprintf("new%d.example.com", i))
	}
	r.Settle()
	f := &follower{store: r.far.Replica()}
	if err := f.follow(t.Context()); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("from the beginning: %v", err)
	}
	check(t, f.load(t.Context()))
	check(t, f.follow(t.Context()))
	r.knows(t, f)
}

// A first reader takes in the changes of the last days, and none that are older.
func TestReplica_HeadGoesBackSomeDays(t *testing.T) {
	now := time.Now()
	r := newRegions(t, func(c *dynamo.Config) { c.Now = func() time.Time { return now } })
	const old, young = 80, 32
	for i := range old {
		create(t, r.home, fmt.Sprintf("old%d.example.com", i))
	}
	now = now.Add(156 * time.Hour) // six days and a half
	for i := range young {
		create(t, r.home, fmt.Sprintf("young%d.example.com", i))
	}
	r.Settle()
	near := r.far.Replica()
	cursor, err := near.Head(t.Context())
	check(t, err)
	told := map[bool]int{} // true: of the young ones
	for n := 1; n > 0; {
		var list []shingle.Change
		list, cursor, err = near.Changes(t.Context(), cursor, 100)
		check(t, err)
		for _, c := range list {
			told[strings.HasPrefix(c.Host, "young")]++
		}
		n = len(list)
	}
	if told[true] != young || told[false] > young { // strides double
		t.Errorf("of %d old and %d young changes, it tells of %d and %d", old, young, told[false], told[true])
	}
}

// What the feed, or a write of this process, has told of a row counts until the
// row has arrived.
func TestReplica_NoRowOlderThanWhatWasTold(t *testing.T) {
	r := newRegions(t, nil)
	ctx, now := t.Context(), time.Now()
	for _, host := range []string{"changes.example.com", "goes.example.com", "stays.example.com"} {
		create(t, r.home, host)
	}
	r.Settle()
	r.Hold(held("domain"))
	near := r.far.Replica()
	f := &follower{store: near}
	check(t, f.load(ctx))
	_, err := r.home.UpdateDomain(ctx, shingle.Domain{Host: "changes.example.com", Paused: true, Version: 1}, now)
	check(t, err)
	check(t, near.DeleteDomain(ctx, "goes.example.com", 0, "", now))
	create(t, near, "comes.example.com")
	r.Settle()
	check(t, f.follow(ctx))

	is := func(host string, version int64, want error) {
		t.Helper()
		if d, err := near.Domain(ctx, host); d.Version != version || !errors.Is(err, want) {
			t.Errorf("%s: version %d, %v; want %d, %v", host, d.Version, err, version, want)
		}
	}
	is("changes.example.com", 2, nil)
	is("goes.example.com", 0, shingle.ErrNotFound)
	is("comes.example.com", 1, nil)
	is("stays.example.com", 1, nil)
	r.way.Inject(storetest.Reset())
	is("changes.example.com", 0, shingle.ErrUnavailable)
	is("goes.example.com", 0, shingle.ErrUnavailable)
	is("never.example.com", 0, shingle.ErrUnavailable) // not to know is not to know that there is none
	is("stays.example.com", 1, nil)
	r.Heal()
	r.Settle()
	is("changes.example.com", 2, nil)
	is("comes.example.com", 1, nil)
}

// Records are read nearby by those who serve, and at home by all others.
func TestReplica_Records(t *testing.T) {
	r := newRegions(t, nil)
	ctx := t.Context()
	v1, err := r.far.Put(ctx, "certs/a", []byte("one"), shingle.NoVersion)
	check(t, err)
	r.Settle()
	r.Cut()
	v2, err := r.far.Put(ctx, "certs/a", []byte("two"), v1)
	check(t, err)
	_, err = r.far.Put(ctx, "certs/b", []byte("new"), shingle.NoVersion)
	check(t, err)
	if b, err := r.home.Get(ctx, "certs/a"); err != nil || b.Version != v2 {
		t.Errorf("at home: %q, %v", b.Value, err)
	}
	if b, err := r.far.Get(ctx, "certs/a"); err != nil || b.Version != v2 {
		t.Errorf("to decide: %q, %v", b.Value, err)
	}
	near := r.far.Replica()
	if b, err := near.Get(ctx, "certs/a"); err != nil || string(b.Value) != "one" {
		t.Errorf("to serve: %q, %v", b.Value, err)
	}
	if b, err := near.Get(ctx, "certs/b"); err != nil || string(b.Value) != "new" {
		t.Errorf("what is not here yet: %q, %v", b.Value, err)
	}
	r.way.Inject(storetest.Reset())
	if b, err := near.Get(ctx, "certs/a"); err != nil || string(b.Value) != "one" {
		t.Errorf("to serve, cut off: %q, %v", b.Value, err)
	}
	if _, err := near.Get(ctx, "certs/c"); !errors.Is(err, shingle.ErrUnavailable) {
		t.Errorf("what nobody knows, cut off: %v", err)
	}
	if _, err := r.far.Put(ctx, "certs/a", []byte("three"), v2); !errors.Is(err, shingle.ErrUnavailable) {
		t.Errorf("write, cut off: %v", err)
	}
}

// Home is lost, with the heads of its logs that had not come here yet, and this
// region becomes home.
func TestReplica_BecomesHome(t *testing.T) {
	r := newRegions(t, nil)
	r.Hold(func(pk, _ string) bool { return pk == "head" })
	for i := range 20 {
		create(t, r.home, fmt.Sprintf("h%d.example.com", i))
	}
	r.Settle()
	cfg := r.cfg
	cfg.HomeRegion, cfg.HomeEndpoint = "", ""
	s := open(t, cfg)
	for i := range 60 { // with these names, some in each log
		create(t, s, fmt.Sprintf("shop.c%d.io", i))
	}
	f := &follower{store: s, known: map[string]shingle.Domain{}}
	check(t, f.follow(t.Context()))
	all := &follower{store: s}
	check(t, all.load(t.Context()))
	if len(f.known) != 80 || !reflect.DeepEqual(f.known, all.known) {
		t.Errorf("the feed tells of %d, there are %d", len(f.known), len(all.known))
	}
}

// Two processes in each region write, while replication stands still now and then
// and the way home breaks. No update is lost, and readers that begin at any time
// come to know everything.
func TestReplica_WritersInBothRegions(t *testing.T) {
	r := newRegions(t, nil)
	ctx := t.Context()
	hosts := make([]string, 24)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("h%d.example.com", i)
	}
	stores := []shingle.DomainStore{r.home, r.home, r.far.Replica(), r.another(t).Replica()}
	written := make([]map[string]int64, len(stores)) // how often each host was changed
	writing, done := context.WithCancel(ctx)
	var writers, others sync.WaitGroup
	for i, s := range stores {
		written[i] = map[string]int64{}
		writers.Go(func() {
			for range 25 {
				host := hosts[rand.IntN(len(hosts))]
				if writeOnce(ctx, s, host) {
					written[i][host]++
				}
			}
		})
	}
	others.Go(func() { trouble(writing, r) })
	followers := make([]*follower, 3)
	for i := range followers {
		others.Go(func() {
			time.Sleep(rand.N(300 * time.Millisecond)) // begins at any time
			f := &follower{store: r.another(t).Replica()}
			followers[i] = f
			for again := true; again; {
				again = writing.Err() == nil
				if f.cursor == "" || errors.Is(f.follow(ctx), shingle.ErrNotFound) {
					check(t, f.load(ctx))
				}
			}
		})
	}
	writers.Wait()
	done()
	others.Wait()
	r.way.Inject(nil)
	r.Heal()
	r.Settle()
	for _, f := range followers {
		check(t, f.follow(ctx))
		r.knows(t, f)
	}
	for _, host := range hosts {
		want := int64(0)
		for _, w := range written {
			want += w[host]
		}
		if d, _ := r.home.Domain(ctx, host); d.Version < want {
			t.Errorf("%s was written %d times, and has version %d", host, want, d.Version)
		}
	}
}

// writeOnce reads a domain, and writes it, and reports whether it certainly did.
func writeOnce(ctx context.Context, s shingle.DomainStore, host string) bool {
	d, err := s.Domain(ctx, host)
	if errors.Is(err, shingle.ErrNotFound) {
		_, err = s.CreateDomain(ctx, shingle.Domain{Host: host}, time.Now())
	} else if err == nil {
		d.Paused = !d.Paused
		_, err = s.UpdateDomain(ctx, d, time.Now())
	}
	return err == nil
}

// trouble stops and resumes the replication, and breaks the way home, until ctx
// ends.
func trouble(ctx context.Context, r *regions) {
	for ctx.Err() == nil {
		r.Hold(func(string, string) bool { return rand.IntN(3) == 0 })
		time.Sleep(rand.N(40 * time.Millisecond))
		r.Cut()
		time.Sleep(rand.N(40 * time.Millisecond))
		r.way.Inject(storetest.AnyOf(0.3, storetest.Reset(), storetest.LoseAnswer()))
		r.Heal()
		time.Sleep(rand.N(80 * time.Millisecond))
		r.way.Inject(nil)
	}
}
