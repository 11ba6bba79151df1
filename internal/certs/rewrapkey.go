package certs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// keyPage is how many data keys are listed at once. A year makes some fifty.
const keyPage = 1000

// MasterKeys returns the master keys that are needed, by what is in the store, and
// the current one, in the order of their IDs. One that wraps no data key is needed
// no more.
func (m *Manager) MasterKeys(ctx context.Context) ([]shingle.MasterKeyUse, error) {
	current, err := m.cfg.MasterKey.Current(ctx)
	if err != nil {
		return nil, masterError(err)
	}
	uses := map[string]*shingle.MasterKeyUse{current: {ID: current, Current: true}}
	err = m.store.keys.each(ctx, func(id string, w wrappedDataKey) error {
		use := uses[w.Key.KeyID]
		if use == nil {
			use = &shingle.MasterKeyUse{ID: w.Key.KeyID}
			uses[use.ID] = use
		}
		if use.DataKeys++; use.DataKeys > 1 {
			return nil
		}
		if _, err := m.cfg.MasterKey.Unwrap(ctx, w.Key, dataKeyRecord(id)); err != nil {
			use.Problem = shingle.MessageOf(err)
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	list := make([]shingle.MasterKeyUse, 0, len(uses))
	for _, id := range slices.Sorted(maps.Keys(uses)) {
		list = append(list, *uses[id])
	}
	return list, nil
}

// CurrentMasterKey returns the ID of the master key under which new data keys are
// wrapped.
func (m *Manager) CurrentMasterKey(ctx context.Context) (string, error) {
	id, err := m.cfg.MasterKey.Current(ctx)
	if err != nil {
		return "", masterError(err)
	}
	return id, nil
}

// each calls f with the data keys in the store, until it returns an error.
func (k *keyring) each(ctx context.Context, f func(id string, w wrappedDataKey) error) error {
	for after, more := "", true; more; {
		records, err := k.store.list(ctx, dataKeyRecord(dataKeyPrefix), after, keyPage)
		if err != nil {
			return err
		}
		for _, record := range records {
			after = record
			var w wrappedDataKey
			_, err := k.store.get(ctx, record, &w)
			if errors.Is(err, shingle.ErrNotFound) {
				continue
			}
			if err == nil {
				err = f(strings.TrimPrefix(record, keysPrefix), w)
			}
			if err != nil {
				return err
			}
		}
		more = len(records) == keyPage
	}
	return nil
}

// wrapAnew has the data key at record wrapped under the current master key, unless
// it is. One that is in memory needs its old master key no more. changed reports
// that it was, or in a dry run that it would be.
func (k *keyring) wrapAnew(ctx context.Context, record string, dry bool) (changed bool, err error) {
	current, err := k.master.Current(ctx)
	if err != nil {
		return false, masterError(err)
	}
	id := strings.TrimPrefix(record, keysPrefix)
	for range planAttempts {
		var w wrappedDataKey
		version, err := k.store.get(ctx, record, &w)
		if errors.Is(err, shingle.ErrNotFound) || err == nil && w.Key.KeyID == current {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		d, err := k.dataKey(ctx, id)
		if err != nil || dry {
			return err == nil, err
		}
		before := w.Key.KeyID
		if w.Key, err = k.wrap(ctx, d.secret, record); err != nil {
			return false, err
		}
		if _, err = k.store.put(ctx, record, w, version); err == nil {
			k.log.Info("data key wrapped anew", "data_key", id, "master_key", w.Key.KeyID, "before", before)
			return true, k.store.announce(ctx, id, k.now())
		}
		if !errors.Is(err, shingle.ErrConflict) {
			return false, err
		}
	}
	return false, storeError(fmt.Errorf("the record %s changes all the time", record))
}

// wrap wraps a data key, and tries whether it can be unwrapped again: a service
// may allow the one and not the other.
func (k *keyring) wrap(ctx context.Context, secret []byte, record string) (w shingle.WrappedKey, err error) {
	if w, err = k.master.Wrap(ctx, secret, record); err != nil {
		return w, masterError(err)
	}
	back, err := k.unwrap(ctx, w, record)
	if err == nil && !bytes.Equal(back, secret) {
		err = fmt.Errorf("the master key %s does not unwrap what it wrapped", w.KeyID)
	}
	return w, err
}

// rescue wraps those of the data keys in memory anew that are under the master key
// with that hash, which somebody cannot use: no process that has them needs it.
func (k *keyring) rescue(ctx context.Context, hash string) error {
	ctx, cancel := context.WithTimeout(ctx, rescueTime)
	defer cancel()
	k.mu.Lock()
	ids := slices.Collect(maps.Keys(k.ready))
	k.mu.Unlock()
	var failed error
	for _, id := range ids {
		var w wrappedDataKey
		_, err := k.store.get(ctx, dataKeyRecord(id), &w)
		if err == nil && masterHash(w.Key.KeyID) == hash {
			_, err = k.wrapAnew(ctx, dataKeyRecord(id), false)
		}
		if err != nil && !errors.Is(err, shingle.ErrNotFound) {
			failed = err
		}
	}
	return failed
}

const rescueTime = 20 * time.Second

// inMemory returns the data key if this process has it unwrapped, or nil.
func (k *keyring) inMemory(id string) *dataKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ready[id]
}

// unopenable reports whether err says that a value cannot be opened until somebody
// acts, and not that the store or the master key does not answer now.
func unopenable(err error) bool {
	return errors.Is(err, errNoDataKey) || errors.Is(err, shingle.ErrInvalid)
}
