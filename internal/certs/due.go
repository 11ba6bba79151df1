package certs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// The due index has an entry for each host that something is to be done for:
//
//	due/20261124T040102/n1a2b3c4d/blog.customer.com/SEQ
//
// with the time, the class, a hash of the group that the host shares its turns
// with, the host, and a number that no other entry of the host has: who removes an
// entry, however late, removes no other. Listing the index from the beginning costs
// what is due, however many hosts exist.
const (
	duePrefix = "due/"
	dueTime   = "20060102T150405"
)

// item is an entry of the due index.
type item struct {
	key   string
	at    time.Time
	class class
	group string
	host  string

	notBefore time.Time // in a forecast: when another limit than that of the CA's account allows it
}

// ready returns when nothing but its turn is missing.
func (i item) ready() time.Time { return later(i.at, i.notBefore) }

// index sets what the plan names among the keys of others: its entry in the due
// index, its question to the CA, and its entry among those given up. Each is what was there, when it says the same,
// and else a new one.
func (p *plan) index(host string) {
	p.Due, p.Poll = p.renumber(p.Due, p.dueStem(host)), p.renumber(p.Poll, p.pollStem(host))
	p.Halt = p.renumber(p.Halt, p.stoppedStem(host))
}

// keys are those that the plan names; empty: none.
func (p *plan) keys() []string { return []string{p.Due, p.Poll, p.Halt} }

func (p *plan) renumber(key, stem string) string {
	switch {
	case stem == "":
		return ""
	case strings.HasPrefix(key, stem):
		return key
	}
	return stem + strconv.FormatInt(p.Seq, 36)
}

func (p *plan) dueStem(host string) string {
	if p.Next.IsZero() {
		return ""
	}
	return duePrefix + p.Next.UTC().Format(dueTime) + "/" + string(p.class(p.Next)) + group(p.Tenant, host) + "/" + host + "/"
}

// group is the tenant's, or that of the registered domain for a host without.
func group(tenant, host string) string {
	if tenant == "" {
		tenant = "." + shingle.RegisteredDomain(host)
	}
	sum := sha256.Sum256([]byte(tenant))
	return hex.EncodeToString(sum[:4])
}

// parseItem reads a key of the index. ok is false for what is none.
func parseItem(key string) (i item, ok bool) {
	part := strings.Split(strings.TrimPrefix(key, duePrefix), "/")
	if len(part) != 4 || len(part[1]) < 2 {
		return item{}, false
	}
	at, err := time.Parse(dueTime, part[0])
	if err != nil {
		return item{}, false
	}
	return item{key: key, at: at, class: class(part[1][0]), group: part[1][1:], host: part[2]}, true
}

// dueUntil returns what is due at now of the next limit entries whose key sorts
// after `after`, in order, and after which to go on. more reports whether there
// may be others.
func (s *store) dueUntil(ctx context.Context, after string, now time.Time, limit int) (list []item, next string, more bool, err error) {
	keys, err := s.list(ctx, duePrefix, after, limit)
	if err != nil {
		return nil, after, false, err
	}
	for _, key := range keys {
		i, ok := parseItem(key)
		if ok && i.at.After(now) {
			return list, after, false, nil
		}
		if after = key; ok {
			list = append(list, i)
		}
	}
	return list, after, len(keys) == limit, nil
}

// NextDue returns when the worker has something to do next, which may be past, or
// the zero time when nothing is planned.
func (m *Manager) NextDue(ctx context.Context) (time.Time, error) {
	keys, err := m.store.list(ctx, duePrefix, "", 1)
	if err != nil || len(keys) == 0 {
		return time.Time{}, err
	}
	i, ok := parseItem(keys[0])
	if !ok {
		return m.cfg.Now(), nil // the worker knows what to do with it
	}
	return i.at, nil
}

// mark makes an entry, unless it is there. It tries twice: after a lost reply the
// second finds the entry.
func (s *store) mark(ctx context.Context, key string) error {
	var err error
	for range 2 {
		one, cancel := context.WithTimeout(ctx, storeTimeout)
		_, err = s.blobs.Put(one, key, nil, shingle.NoVersion)
		cancel()
		if err == nil || errors.Is(err, shingle.ErrConflict) {
			return nil
		}
	}
	return fmt.Errorf("mark due: %w", storeError(err))
}

// unmark removes an entry, if it is there.
func (s *store) unmark(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	b, err := s.blobs.Get(ctx, key)
	if err == nil {
		err = s.blobs.Delete(ctx, key, b.Version)
	}
	if err != nil && !errors.Is(err, shingle.ErrNotFound) && !errors.Is(err, shingle.ErrConflict) {
		return fmt.Errorf("unmark due: %w", storeError(err))
	}
	return nil
}
