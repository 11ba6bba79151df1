package certs

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/keyfile"
)

// nowhere is a zone in which nothing is published.
type nowhere struct{}

func (nowhere) Name() string { return "acme.operator.example" }

func (nowhere) Delegated(context.Context, string, string) error { return shingle.ErrInvalid }

func (nowhere) Publish(context.Context, string, string) error { return shingle.ErrUnavailable }

func (nowhere) Withdraw(context.Context, string, string) error { return nil }

// safe is a fixture with something sealed in every place.
type safe struct {
	*fixture
	old string // the file of the first master key
}

const (
	webhookRecord = "webhooks/abc"
	orderHost     = "other.customer.example"
)

func newSafe(t *testing.T) (*safe, *Manager) {
	s := &safe{fixture: newFixture(t)}
	s.old = s.keyFile
	s.cfg.DNS01 = nowhere{}
	s.cfg.Sealed = []SealedPlace{{Kind: "webhook secrets", Key: "webhooks/", Field: "secrets"}}
	m := s.start()
	key := must(t, m, testHost).PrivateKey
	landed(m, testHost)
	if _, err := m.Delegation(t.Context(), testHost, "acme"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	m.FollowTicketKeys(ctx, func([][32]byte) { cancel() })
	sealed, err := m.store.sealKey(t.Context(), key.(crypto.Signer), journalKey(orderHost))
	s.check(err)
	s.write(m, journalKey(orderHost), pendingOrder{Key: sealed, Order: "https://ca.example/order/1"})
	secret, err := m.Seal(t.Context(), []byte("hush"), webhookRecord)
	s.check(err)
	s.write(m, webhookRecord, map[string]any{"secrets": secret, "webhook": map[string]any{"url": "https://a.example/?a&b<c>"}})
	return s, m
}

func (s *safe) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *safe) write(m *Manager, key string, v any) {
	s.t.Helper()
	_, err := m.store.put(s.t.Context(), key, v, shingle.NoVersion)
	s.check(err)
}

// rotate makes the next master key and returns the ID of the one before.
func (s *safe) rotate(m *Manager) (before string) {
	s.t.Helper()
	before, err := m.cfg.MasterKey.Current(s.t.Context())
	s.check(err)
	_, _, err = keyfile.Next(s.keyFile)
	s.check(err)
	return before
}

// rewrap goes through all steps, and returns what they did.
func (s *safe) rewrap(m *Manager, r shingle.Rewrap) (total shingle.RewrapPage) {
	s.t.Helper()
	total.Changed = map[string]int{}
	for {
		page, err := m.Rewrap(s.t.Context(), r)
		s.check(err)
		total.Looked, total.Failed = total.Looked+page.Looked, total.Failed+page.Failed
		total.Wait += page.Wait
		total.Failures = append(total.Failures, page.Failures...)
		for kind, n := range page.Changed {
			total.Changed[kind] += n
		}
		if r.After = page.Next; page.Next == "" {
			return total
		}
	}
}

// sealed finds all values in the store that look sealed, by their records, but for
// the data keys.
func (s *safe) sealed() map[string]string {
	s.t.Helper()
	found := map[string]string{}
	keys, err := s.blobs.List(s.t.Context(), "", "", 1000)
	s.check(err)
	for _, key := range keys {
		b, err := s.blobs.Blobs.Get(s.t.Context(), key)
		s.check(err)
		for _, id := range sealedIn(b.Value) {
			if !strings.HasPrefix(key, keysPrefix) {
				found[key] = id
			}
		}
	}
	return found
}

// sealedIn returns the key IDs of what looks sealed in a value, however deep.
func sealedIn(value []byte) (ids []string) {
	var v any
	if json.Unmarshal(value, &v) != nil {
		return nil
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if id, ok := v["key_id"].(string); ok {
				ids = append(ids, id)
			}
			for _, member := range v {
				walk(member)
			}
		case []any:
			for _, member := range v {
				walk(member)
			}
		case string:
			if inner, err := base64.StdEncoding.DecodeString(v); err == nil {
				ids = append(ids, sealedIn(inner)...)
			}
		}
	}
	walk(v)
	return ids
}

// opens fails unless everything can be opened by a process that starts now.
func (s *safe) opens() {
	s.t.Helper()
	m := s.start()
	ctx := s.t.Context()
	_, _, err := m.load(ctx, testHost)
	s.check(err)
	_, err = m.keys.read(ctx)
	s.check(err)
	_, err = m.delegations.read(ctx)
	s.check(err)
	s.check((&ticketFollower{m: m}).read(ctx))
	var order pendingOrder
	_, err = m.store.get(ctx, journalKey(orderHost), &order)
	s.check(err)
	_, err = m.store.openKey(ctx, order.Key, journalKey(orderHost))
	s.check(err)
	var hook struct {
		Secrets []byte
		Webhook struct{ URL string }
	}
	_, err = m.store.get(ctx, webhookRecord, &hook)
	s.check(err)
	if plain, err := m.Open(ctx, hook.Secrets, webhookRecord); err != nil || string(plain) != "hush" || hook.Webhook.URL != "https://a.example/?a&b<c>" {
		s.t.Errorf("%q, %+v, %v", plain, hook, err)
	}
}

func (s *safe) uses(m *Manager, want ...shingle.MasterKeyUse) {
	s.t.Helper()
	list, err := m.MasterKeys(s.t.Context())
	s.check(err)
	slices.SortFunc(want, func(a, b shingle.MasterKeyUse) int { return strings.Compare(a.ID, b.ID) })
	for i := range list {
		if list[i].Problem != "" {
			list[i].Problem = "?"
		}
	}
	if !slices.Equal(list, want) {
		s.t.Errorf("master keys %+v, want %+v", list, want)
	}
}
