package storecopy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// installation is one in memory, with as many domains as records.
func installation(t *testing.T, name string, n int) *Installation {
	t.Helper()
	s := &memory.Store{}
	for i := range n {
		_, err := s.CreateDomain(t.Context(), shingle.Domain{Host: fmt.Sprintf("h%04d.example.com", i)}, time.Now())
		must(t, err)
		_, err = s.Put(t.Context(), fmt.Sprintf("records/%04d", i), []byte{byte(i)}, shingle.NoVersion)
		must(t, err)
	}
	return &Installation{Name: name, Domains: s, Blobs: s}
}

// rewrite replaces a record as others would.
func rewrite(t *testing.T, b shingle.Blobs, key, value string) {
	t.Helper()
	now, err := b.Get(t.Context(), key)
	must(t, err)
	_, err = b.Put(t.Context(), key, []byte(value), now.Version)
	must(t, err)
}

func TestRun_ManyPagesAndAgainNothing(t *testing.T) {
	t.Parallel()
	from, to := installation(t, "from", 2*pageSize+1), installation(t, "to", 0)
	r, err := Run(t.Context(), Config{From: from, To: to})
	must(t, err)
	if r.Domains != 2001 || r.Records != 2001 || r.Written != 4002 || r.Digest == "" || r.Resumed {
		t.Errorf("%+v", r)
	}
	must(t, Unfinished(t.Context(), to.Blobs))
	if _, err := Run(t.Context(), Config{From: from, To: to}); err == nil || !strings.Contains(err.Error(), "TO is not empty: it has the record records/0000") {
		t.Errorf("a whole copy is taken for half of one: %v", err)
	}
	r, err = Run(t.Context(), Config{From: from, DryRun: true})
	must(t, err)
	if r.Domains != 2001 || r.Records != 2001 || r.Written != 0 || r.Digest != "" {
		t.Errorf("%+v", r)
	}
}

// What is copied while something is at work stays half a copy, until a run finds
// nothing at work and mends the differences.
func TestRun_LiveIsHalfACopy(t *testing.T) {
	t.Parallel()
	from, to := installation(t, "from", 10), installation(t, "to", 0)
	_, err := Run(t.Context(), Config{From: from, To: to, Live: true})
	must(t, err)
	if err := Unfinished(t.Context(), to.Blobs); err == nil || !strings.Contains(err.Error(), "half a copy of from") {
		t.Errorf("got %v", err)
	}
	rewrite(t, from.Blobs, "records/0003", "later")
	must(t, from.Domains.DeleteDomain(t.Context(), "h0004.example.com", 0, "", time.Now()))
	r, err := Run(t.Context(), Config{From: from, To: to})
	must(t, err)
	if !r.Resumed || r.Written != 2 || r.Domains != 9 || r.Records != 10 || r.Digest == "" {
		t.Errorf("%+v", r)
	}
	if got, err := to.Blobs.Get(t.Context(), "records/0003"); err != nil || string(got.Value) != "later" {
		t.Errorf("%q, %v", got.Value, err)
	}
	must(t, Unfinished(t.Context(), to.Blobs))
}

// Whatever is written to either side between the copy and the comparison is seen.
func TestRun_ComparisonSeesWhatChangedMeanwhile(t *testing.T) {
	t.Parallel()
	for says, change := range map[string]func(from, to *Installation) error{
		"the record records/0005 differs": func(from, _ *Installation) error {
			rewrite(t, from.Blobs, "records/0005", "later")
			return nil
		},
		"the record x is in FROM alone": func(from, _ *Installation) error {
			_, err := from.Blobs.Put(t.Context(), "x", nil, shingle.NoVersion)
			return err
		},
		"the record x is in TO alone": func(_, to *Installation) error {
			_, err := to.Blobs.Put(t.Context(), "x", nil, shingle.NoVersion)
			return err
		},
		"the domain new.example.com is in FROM alone": func(from, _ *Installation) error {
			_, err := from.Domains.CreateDomain(t.Context(), shingle.Domain{Host: "new.example.com"}, time.Now())
			return err
		},
	} {
		from, to := installation(t, "from", 10), installation(t, "to", 0)
		c := run{Config: Config{From: from, To: to, Live: true}}
		_, err := Run(t.Context(), c.Config)
		must(t, err)
		must(t, change(from, to))
		if _, _, err := c.verify(t.Context()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

func TestRun_SkippedRecordsStay(t *testing.T) {
	t.Parallel()
	from, to := installation(t, "from", 3), installation(t, "to", 0)
	r, err := Run(t.Context(), Config{From: from, To: to, Skip: func(key string) bool { return key == "records/0001" }})
	must(t, err)
	if _, err := to.Blobs.Get(t.Context(), "records/0001"); r.Records != 2 || !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRun_FaultsOfTheTargetDoNoHarm(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]storetest.Fault{
		"refused":    storetest.Refuse(shingle.ErrThrottled),
		"reply lost": storetest.LoseReply(shingle.ErrUnavailable),
	} {
		ctx := t.Context()
		store := &memory.Store{}
		b := &storetest.FaultyBlobs{Blobs: store}
		for _, op := range []string{"Put", "Delete", "Get"} {
			b.Inject(storetest.On(op, storetest.Times(2, fault)))
			c := &run{Config: Config{To: &Installation{Blobs: b}}}
			must(t, c.put(ctx, "k", []byte(op)))
			if now, err := store.Get(ctx, "k"); err != nil || string(now.Value) != op {
				t.Errorf("%s %s: %q, %v", name, op, now.Value, err)
			}
			b.Inject(storetest.On(op, storetest.Times(2, fault)))
			must(t, c.remove(ctx, "k"))
			if _, err := store.Get(ctx, "k"); !errors.Is(err, shingle.ErrNotFound) {
				t.Errorf("%s %s: %v", name, op, err)
			}
		}
	}
}

// What will not pass is not repeated.
func TestRun_EndsAtOnceWhereTheStoreIsNotSetUp(t *testing.T) {
	t.Parallel()
	from, to := installation(t, "from", 3), installation(t, "to", 0)
	b := &storetest.FaultyBlobs{Blobs: to.Blobs}
	puts := 0
	b.Inject(storetest.On("Put", func(context.Context, string, string, func() error) error {
		puts++
		return &shingle.Error{Code: shingle.CodeUnavailable, Message: "AWS does not allow it", Err: shingle.ErrSetup}
	}))
	to.Blobs = b
	if _, err := Run(t.Context(), Config{From: from, To: to}); !errors.Is(err, shingle.ErrSetup) || puts != 1 {
		t.Errorf("after %d attempts: %v", puts, err)
	}
}
