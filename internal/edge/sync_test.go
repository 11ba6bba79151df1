package edge

import (
	"log/slog"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// TestFollower_MissIsRememberedAndAFailureIsNot looks up a name that the table
// does not know, with a store that fails, has no such name, and then has it.
func TestFollower_MissIsRememberedAndAFailureIsNot(t *testing.T) {
	const host = "new.example.com"
	rows := &memory.Store{}
	store := &storetest.FaultyDomainStore{Store: rows}
	table := newTable(shingle.Origin{Host: "127.0.0.1", Port: 80}, 443)
	f := newFollower(&Config{Store: store, Logger: slog.New(slog.DiscardHandler)}, table)
	store.Inject(storetest.Refuse(shingle.ErrUnavailable))
	if served(f.find(t.Context(), host)) || len(f.misses) != 0 {
		t.Error("a failure is taken for an answer")
	}
	store.Inject(nil)
	if served(f.find(t.Context(), host)) || f.misses[host] == nil {
		t.Error("an unknown name is not remembered")
	}
	if _, err := rows.CreateDomain(t.Context(), shingle.Domain{Host: host}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if served(f.find(t.Context(), host)) {
		t.Error("an unknown name was looked up twice")
	}
	f.forget(host) // as its change does
	if !served(f.find(t.Context(), host)) {
		t.Error("a name that is there now is not served")
	}
}
