package storetest

import (
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// TestMovableStore checks the sentences of [shingle.MovableStore] beyond those of
// [shingle.DomainStore]. open returns an empty store that the test's end closes.
func TestMovableStore(t *testing.T, open func(t *testing.T) shingle.MovableStore) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, shingle.MovableStore)
	}{
		{"LoadsRowsAsTheyAre", testLoad},
		{"LoadTellsNoChange", testLoadIsNoChange},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// loaded are rows that no create could have made.
func loaded() []shingle.Domain {
	rows := make([]shingle.Domain, 40)
	for i := range rows {
		rows[i] = shingle.Domain{
			Host: string(rune('a'+i%26)) + string(rune('a'+i/26)) + ".example.com", Tenant: "acme", Version: int64(i + 3), UpdatedBy: "ann", Paused: i%2 == 0, SetupGeneration: int64(i % 3),
			CreatedAt: stored.Add(time.Duration(i) * time.Minute), UpdatedAt: stored.Add(time.Duration(i) * time.Hour),
		}
	}
	return rows
}

func testLoad(t *testing.T, s shingle.MovableStore) {
	ctx := t.Context()
	check(t, s.LoadDomains(ctx, nil))
	create(t, s, "aa.example.com")
	want := map[string]shingle.Domain{}
	for range 2 {
		check(t, s.LoadDomains(ctx, loaded()))
	}
	for _, d := range loaded() {
		isStored(t, s, d)
		want[d.Host] = d
	}
	same(t, allRows(t, s), want)
	d := want["aa.example.com"] // life goes on from there
	d, err := s.UpdateDomain(ctx, d, now)
	check(t, err)
	same(t, d.Version, int64(4))
}

func testLoadIsNoChange(t *testing.T, s shingle.MovableStore) {
	ctx := t.Context()
	head, err := s.Head(ctx)
	check(t, err)
	check(t, s.LoadDomains(ctx, loaded()))
	isEnd(t, s, "")
	isEnd(t, s, head)
	create(t, s, host)
	list, _, err := s.Changes(ctx, head, 10)
	check(t, err)
	same(t, len(list), 1)
}
