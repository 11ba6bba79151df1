package certs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// lost drops what only a lost key opens. Data keys that are still in the memory of
// a process are saved first: whoever lost the master key an hour ago has lost
// nothing if he did not restart them all. Until they have heard of it, processes may
// seal under such a data key, too.
func (s *rewrapStep) lost(ctx context.Context, id string) ([]rewrapStage, error) {
	gone, saved, err := s.goneKeys(ctx, id)
	if err != nil {
		return nil, err
	}
	if s.req.After == "" && len(gone)+len(saved) == 0 {
		return nil, shingle.Errorf(shingle.CodeNotFound, "nothing is sealed under the key %q: see shingle keys list", id)
	}
	stages := []rewrapStage{{"data keys saved from memory", dataKeyRecord(dataKeyPrefix), func(ctx context.Context, key string) (bool, error) {
		if !saved[strings.TrimPrefix(key, keysPrefix)] {
			return false, nil
		}
		return s.store.keys.wrapAnew(ctx, key, s.req.DryRun)
	}}}
	for _, p := range s.store.keys.places {
		stages = append(stages, rewrapStage{p.Kind, p.Key, func(ctx context.Context, key string) (bool, error) {
			return s.loseRecord(ctx, &p, key, gone)
		}})
	}
	return append(stages, rewrapStage{"data keys", dataKeyRecord(dataKeyPrefix), func(ctx context.Context, key string) (bool, error) {
		return s.loseDataKey(ctx, key, id, gone)
	}}), nil
}

// goneKeys returns the data keys that nobody can unwrap without a lost key, and
// those of its data keys that are in memory. It refuses a key that can be used.
func (s *rewrapStep) goneKeys(ctx context.Context, id string) (gone, saved map[string]bool, err error) {
	gone, saved = map[string]bool{}, map[string]bool{}
	there := false
	err = s.store.keys.each(ctx, func(dataKey string, w wrappedDataKey) error {
		if dataKey == id {
			there = true
		} else if w.Key.KeyID != id {
			return nil
		}
		if s.store.keys.inMemory(dataKey) != nil && dataKey != id {
			saved[dataKey] = true
			return nil
		}
		if s.req.After == "" { // later steps go on with what the first one found
			if _, err := s.store.keys.dataKey(ctx, dataKey); err == nil {
				return shingle.Errorf(shingle.CodeInvalid, "the key %s can be used here: nothing is lost; run the rewrap without it", id)
			} else if !unopenable(err) {
				return err
			}
		}
		gone[dataKey] = true
		return nil
	})
	if err == nil && !there && strings.HasPrefix(id, dataKeyPrefix) {
		if s.store.keys.inMemory(id) != nil {
			return nil, nil, shingle.Errorf(shingle.CodeInvalid, "the data key %s is in memory here: run the rewrap with deep, which seals anew what is under it", id)
		}
		gone[id] = true
	}
	return gone, saved, err
}

// callForHelp asks every process of the fleet to save what it has in memory of the
// data keys under master keys that cannot be used here.
func (s *rewrapStep) callForHelp(ctx context.Context, masters ...string) error {
	for _, id := range masters {
		if err := s.store.announce(ctx, newsRescue+masterHash(id), s.cfg.Now()); err != nil {
			return err
		}
	}
	return nil
}

// loseRecord drops the record at key if its value is sealed under a data key that
// is gone.
func (s *rewrapStep) loseRecord(ctx context.Context, p *SealedPlace, key string, gone map[string]bool) (changed bool, err error) {
	b, err := s.store.read(ctx, key)
	if errors.Is(err, shingle.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r, err := p.read(key, b.Value)
	if err != nil || !gone[r.value.KeyID] {
		return false, unreadable(err)
	}
	if s.req.DryRun {
		return true, nil
	}
	s.log.Warn("record dropped, its key was lost", "record", key, "data_key", r.value.KeyID)
	switch {
	case key == accountKeyRecord:
		err = s.loseAccounts(ctx, b.Version)
	case key == delegationRecord:
		err = s.loseDelegations(ctx, b.Version)
	case p.Key == certKey(""):
		err = s.discard(ctx, strings.TrimPrefix(key, p.Key), b.Version)
	case p.Lost != nil:
		err = p.Lost(ctx, key)
	default:
		err = s.store.remove(ctx, key, b.Version)
	}
	if errors.Is(err, shingle.ErrConflict) || errors.Is(err, shingle.ErrNotFound) {
		return false, nil // somebody wrote what can be opened
	}
	return err == nil, err
}

// loseDataKey removes a data key that is gone.
func (s *rewrapStep) loseDataKey(ctx context.Context, key, lost string, gone map[string]bool) (changed bool, err error) {
	id := strings.TrimPrefix(key, keysPrefix)
	if !gone[id] || s.req.DryRun {
		return gone[id], nil
	}
	s.log.Warn("data key removed, its master key was lost", "data_key", id, "master_key", lost)
	if err := s.store.erase(ctx, key); err != nil {
		return false, err
	}
	return true, s.store.erase(ctx, activeRecord(lost))
}

// News that are not of a host, whose name has a dot.
const (
	newsAccounts    = "accounts"
	newsDelegations = delegationRecord
	newsRescue      = "rescue-" // and the hash of a master key
)

// loseAccounts has the fleet make another account key, with new accounts, unless
// this process has the lost one in memory.
func (s *rewrapStep) loseAccounts(ctx context.Context, version string) error {
	if k := s.keys.key.Load(); k != nil {
		sealed, err := s.store.sealKey(ctx, k.signer, accountKeyRecord)
		if err == nil {
			_, err = s.store.put(ctx, accountKeyRecord, storedKey{Key: sealed}, version)
		}
		return err
	}
	for _, ca := range s.cas { // accounts of the lost key
		if err := s.store.erase(ctx, registrationRecord(ca.Directory)); err != nil {
			return err
		}
	}
	if err := s.store.remove(ctx, accountKeyRecord, version); err != nil {
		return err
	}
	s.forgetAccounts()
	s.mu.Lock()
	s.page.Wait = rewrapSettle // or edges would answer the validations of the new account with the old key
	s.mu.Unlock()
	return s.store.announce(ctx, newsAccounts, s.cfg.Now())
}

// forgetAccounts has the account key and the accounts read again.
func (m *Manager) forgetAccounts() {
	m.keys.key.Store(nil)
	for _, ca := range m.cas {
		ca.accounts.registered.Store(nil)
	}
}

// loseDelegations has the fleet make another secret, by which customers must set
// other records, unless this process has the lost one in memory.
func (m *Manager) loseDelegations(ctx context.Context, version string) error {
	if secret := m.delegations.secret.Load(); secret != nil {
		sealed, err := m.store.keys.seal(ctx, *secret, delegationRecord)
		if err == nil {
			_, err = m.store.put(ctx, delegationRecord, storedSecret{sealed}, version)
		}
		return err
	}
	if err := m.store.remove(ctx, delegationRecord, version); err != nil {
		return err
	}
	return m.store.announce(ctx, newsDelegations, m.cfg.Now())
}

// Discard has the worker replace host's certificate and removes the one that is
// stored, readable or not. Visitors are served with what is in memory until there
// is the new one. It returns [shingle.ErrNotFound] for a host that was never wanted.
func (m *Manager) Discard(ctx context.Context, host string) error {
	version, err := m.store.version(ctx, certKey(host))
	if err == nil {
		err = m.discard(ctx, host, version)
	}
	if errors.Is(err, shingle.ErrConflict) {
		return nil // it was replaced meanwhile
	}
	return err
}

// discard removes the record of host's certificate if its version is still the
// given one. The plan comes first: until the record is gone, this can be repeated.
func (m *Manager) discard(ctx context.Context, host, version string) error {
	now := m.cfg.Now()
	found := false
	_, err := m.store.changePlan(ctx, host, now, func(p *plan, exists bool) bool {
		if found = exists; exists {
			p.discard(now)
			p.reschedule()
		}
		return exists
	})
	switch {
	case err != nil:
		return fmt.Errorf("remove certificate: %w", err)
	case !found && version == shingle.NoVersion:
		return shingle.Errorf(shingle.CodeNotFound, "there is no certificate for %s", host)
	}
	m.refusals.clear(host)
	m.readiness.clear(host)
	if version == shingle.NoVersion {
		return nil
	}
	err = m.store.remove(ctx, certKey(host), version)
	if errors.Is(err, shingle.ErrNotFound) {
		return nil
	}
	return err
}

// discard takes in that the stored certificate is removed. What the CA knows of it
// stays: its successor is a renewal there, which is exempt from limits.
func (p *plan) discard(now time.Time) {
	p.Gone = p.CertID != "" && !p.Uploaded && now.Before(p.NotAfter)
	if !p.Gone {
		p.Issuer, p.CertID, p.Serial, p.NotBefore, p.NotAfter = "", "", "", time.Time{}, time.Time{}
	}
	p.Uploaded, p.Keep, p.Warned, p.Window = false, false, 0, nil
	p.RenewAt, p.RetryAt, p.Stopped, p.Failures = now, time.Time{}, false, 0
}
