package certs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// maxKeyCheck bounds how many data keys are tried. A year makes some fifty.
const maxKeyCheck = 1000

// KeyCheck is what [CheckMasterKey] found.
type KeyCheck struct {
	DataKeys int // tried
	Closed   int // that the master key does not open
	// Why is the error of the first of those, and of the store's if it does not
	// answer.
	Why error
}

// CheckMasterKey tries the master key on the data keys in a store. Certificates
// under those that it does not open cannot be served.
func CheckMasterKey(ctx context.Context, blobs shingle.Blobs, master shingle.MasterKey) (c KeyCheck) {
	keys, err := blobs.List(ctx, keysPrefix+dataKeyPrefix, "", maxKeyCheck)
	if err != nil {
		c.Why = fmt.Errorf("list data keys: %w", err)
		return c
	}
	for _, key := range keys {
		err := openDataKey(ctx, blobs, master, key)
		if errors.Is(err, shingle.ErrNotFound) {
			continue
		}
		if c.DataKeys++; err == nil {
			continue
		}
		if c.Closed++; c.Why == nil {
			c.Why = fmt.Errorf("data key %s: %w", strings.TrimPrefix(key, keysPrefix), err)
		}
	}
	return c
}

func openDataKey(ctx context.Context, blobs shingle.Blobs, master shingle.MasterKey, key string) error {
	b, err := blobs.Get(ctx, key)
	if err != nil {
		return err
	}
	var w wrappedDataKey
	if err := json.Unmarshal(b.Value, &w); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	_, err = master.Unwrap(ctx, w.Key, key)
	if errors.Is(err, shingle.ErrNotFound) { // of the key, not of the record
		err = errors.New(err.Error())
	}
	return err
}
