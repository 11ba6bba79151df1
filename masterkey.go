package shingle

import (
	"context"
	"encoding/base64"
	"strings"
)

// MasterKey wraps data keys: small secrets that seal everything else that is
// secret in a store. The store keeps a data key wrapped only, so whoever has the
// store alone can read nothing. Methods are safe for concurrent use, honour ctx,
// and bound the time they take.
//
// A master key is replaced by having its successor wrap, while what was wrapped
// before still unwraps; see [WrappedKey].
//
// Errors are [ErrInvalid] when the configuration is at fault, with what to do,
// and [ErrUnavailable] when it may work later. No error carries a part of a
// secret.
type MasterKey interface {
	// Current returns the ID of the key that Wrap uses now.
	Current(ctx context.Context) (id string, err error)

	// Wrap encrypts secret, at most 4096 bytes, under the current key. purpose is
	// authenticated with it: Unwrap must be told the same.
	Wrap(ctx context.Context, secret []byte, purpose string) (WrappedKey, error)

	// Unwrap reverses Wrap, under the key that w names, whichever is current.
	Unwrap(ctx context.Context, w WrappedKey, purpose string) (secret []byte, err error)
}

// WrappedKey is a secret that a [MasterKey] has encrypted.
type WrappedKey struct {
	KeyID string `json:"key_id"` // of the master key; tells what must be wrapped anew after a rotation
	Data  []byte `json:"data"`   // the master key's own format
}

// MasterKeySize is the length of a master key that is kept as bytes: AES-256.
const MasterKeySize = 32

// FormatMasterKeys writes keys, the oldest first, as text that a place for secrets
// can keep: base64, a line for each.
func FormatMasterKeys(keys [][]byte) string {
	var b strings.Builder
	for _, key := range keys {
		b.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	}
	return b.String()
}

// ParseMasterKeys reads what [FormatMasterKeys] wrote. Its error is [ErrInvalid]
// and has no part of the text.
func ParseMasterKeys(text string) (keys [][]byte, err error) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != MasterKeySize {
			return nil, Errorf(CodeInvalid, "line %d is no master key: %d bytes in base64", len(keys)+1, MasterKeySize)
		}
		keys = append(keys, key)
	}
	if keys == nil {
		return nil, Errorf(CodeInvalid, "there is no master key")
	}
	return keys, nil
}
