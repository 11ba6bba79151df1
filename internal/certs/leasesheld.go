package certs

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// HeldLeases returns the leases of the whole fleet that somebody holds, by name, each
// with its version: where that changes, the holder is alive. Leases of one host are left out.
func HeldLeases(ctx context.Context, blobs shingle.Blobs) (map[string]string, error) {
	const prefix, hosts, behind = "leases/", "leases/certs/", "leases/certs0" // the 0 sorts behind the slash
	held := map[string]string{}
	for _, after := range []string{"", behind} {
		keys, err := blobs.List(ctx, prefix, after, 100)
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			if strings.HasPrefix(key, hosts) {
				break
			}
			b, err := blobs.Get(ctx, key)
			if err != nil && !errors.Is(err, shingle.ErrNotFound) {
				return nil, err
			}
			var r leaseRecord
			if json.Unmarshal(b.Value, &r) == nil && r.Holder != "" {
				held[strings.TrimPrefix(key, prefix)] = b.Version
			}
		}
	}
	return held, nil
}
