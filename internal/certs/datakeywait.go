package certs

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// A new master key comes to the machines of a fleet one after the other. What is sealed
// meanwhile must be readable by all: so the first data key under it is made when every
// live process can use it, and until then the last one of before seals on.
const (
	maxStayShares = 64 * maxShares // of a data key that seals on: a thousandth of what AES-GCM can bear
	maxActive     = 100            // records of active data keys that are looked at, one for each master key there was
)

// earlierKey is a data key under an earlier master key, and the record that has it active.
type earlierKey struct {
	key             *dataKey
	record, version string
	active          activeDataKey
}

// stay has the data key of an earlier master key seal on while a live process lacks
// master. It reports false when no process does, or there is no such data key.
func (k *keyring) stay(ctx context.Context, master string) (bool, error) {
	if k.lacking == nil {
		return false, nil
	}
	e, err := k.earlier(ctx, master)
	if err != nil || e.key == nil {
		return false, err
	}
	lack, err := k.lacking(ctx, master)
	if err != nil {
		return false, err
	}
	k.noteLacking(master, lack)
	if len(lack) == 0 {
		return false, nil
	}
	if k.active != nil && k.active.id == e.key.id && k.left > 0 {
		return true, nil
	}
	e.active.Shares++
	if _, err := k.store.put(ctx, e.record, e.active, e.version); err != nil {
		return false, err
	}
	k.active, k.left = e.key, sealShare
	return true, nil
}

// earlier returns the youngest data key that another master key than master wraps, and
// that can be opened here; the zero value when there is none.
func (k *keyring) earlier(ctx context.Context, master string) (youngest earlierKey, err error) {
	records, err := k.store.list(ctx, activePrefix, "", maxActive)
	if err != nil {
		return youngest, err
	}
	for _, record := range records {
		e := earlierKey{record: record}
		e.version, err = k.store.get(ctx, record, &e.active)
		if err == nil && e.active.Shares < maxStayShares && !e.active.Made.Before(youngest.active.Made) {
			e.key, err = k.under(ctx, e.active.DataKey, master)
		}
		if err != nil && !errors.Is(err, shingle.ErrNotFound) {
			return youngest, err
		}
		if e.key != nil {
			youngest = e
		}
	}
	return youngest, nil
}

// under returns the data key with that ID, or nil when master wraps it by now, which
// all can use then, or when it cannot be opened here.
func (k *keyring) under(ctx context.Context, id, master string) (*dataKey, error) {
	var w wrappedDataKey
	if _, err := k.store.get(ctx, dataKeyRecord(id), &w); err != nil || w.Key.KeyID == master {
		return nil, err
	}
	d, err := k.dataKey(ctx, id)
	if err != nil {
		return nil, nil //nolint:nilerr // what cannot be opened cannot seal
	}
	return d, nil
}

// noteLacking logs whom new data keys wait for, when that changes.
func (k *keyring) noteLacking(master string, lack []string) {
	slices.Sort(lack)
	text := strings.Join(lack, " ")
	if text != "" && text != k.said {
		k.log.Warn("new data keys wait for processes that lack the master key: bring it there", "master_key", master, "processes", text)
	}
	k.said = text
}
