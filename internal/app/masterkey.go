package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/keyfile"
	"github.com/shingle-proxy/shingle/internal/kms"
)

// keyFileName is the file of the first master key, in the data folder.
const keyFileName = "seal.key"

// masterKeys wraps under the master key that is configured, and unwraps under
// that or any that was before, so that one kind can follow the other.
type masterKeys struct {
	shingle.MasterKey                   // wraps
	files             shingle.MasterKey // unwraps what key files wrapped; nil: there are none
	kms               func() (*kms.Key, error)

	mu     sync.Mutex
	tried  string    // the KMS key that was found to wrap and unwrap, at
	at     time.Time // that time
	looked time.Time // which key that is
}

// How often it is asked which KMS key wraps now, and how long one that was tried needs
// no other trial: calls are billed.
const (
	kmsLookEvery = 10 * time.Minute
	kmsTryEvery  = 6 * time.Hour
)

// keyLister is a master key in files.
type keyLister interface {
	IDs(ctx context.Context) ([]string, error)
}

// usable returns the IDs of the master keys that this process can use, as far as they
// can be known without a value under them: those in files, and the one that wraps.
func (k *masterKeys) usable(ctx context.Context) []string {
	var ids []string
	if files, ok := k.files.(keyLister); ok {
		ids, _ = files.IDs(ctx) // what cannot be read cannot be used
	}
	key, ok := k.MasterKey.(*kms.Key)
	if !ok {
		return ids
	}
	if id := k.tryKMS(ctx, key, time.Now()); id != "" {
		ids = append(ids, id)
	}
	return ids
}

// tryKMS returns the KMS key that wraps, if this process may use it.
func (k *masterKeys) tryKMS(ctx context.Context, key *kms.Key, now time.Time) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now.Sub(k.looked) < kmsLookEvery {
		return k.tried
	}
	k.looked = now
	id, err := key.Current(ctx)
	if err == nil && (id != k.tried || now.Sub(k.at) >= kmsTryEvery) {
		if err = key.Check(ctx); err == nil {
			k.tried, k.at = id, now
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, shingle.ErrUnavailable): // which says nothing about the right to use it
		k.looked = time.Time{}
	default:
		k.tried = ""
	}
	return k.tried
}

// openMasterKey opens the key that the configuration names.
func (c *Config) openMasterKey(ctx context.Context) (*masterKeys, error) {
	kind, value, err := c.masterKey()
	if err != nil {
		return nil, err
	}
	k := &masterKeys{kms: sync.OnceValues(func() (*kms.Key, error) { return kms.Open(context.WithoutCancel(ctx), kms.Config{}) })}
	switch kind {
	case "parameter":
		key, err := c.openParameter(ctx, value)
		k.MasterKey, k.files = key, key
		return k, err
	case "file":
		files, err := keyfile.Open(value)
		k.MasterKey, k.files = files, files
		return k, err
	}
	files, err := keyfile.Read(c.file(keyFileName))
	switch {
	case err == nil:
		k.files = files
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	key, err := kms.Open(ctx, kms.Config{Key: value})
	if err != nil {
		return nil, fmt.Errorf("--master-key: %w", err)
	}
	k.MasterKey, k.kms = key, func() (*kms.Key, error) { return key, nil }
	return k, checkKMS(ctx, key, c.Logger)
}

// NextMasterKey makes the key file that replaces the newest one, and returns its
// name and ID.
func NextMasterKey(c Config) (name, id string, err error) {
	kind, value, err := c.masterKey()
	if err != nil {
		return "", "", err
	}
	switch kind {
	case "kms":
		return "", "", errors.New("--master-key: a KMS key is replaced by another target of its alias, or by another --master-key")
	case "parameter":
		return "", "", fmt.Errorf("--master-key: the next key of a parameter is a line more in it, of 32 random bytes in base64: append it to %s with aws ssm put-parameter --overwrite, in each region", value)
	}
	name, id, err = keyfile.Next(value)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", fmt.Errorf("there is no master key at %s yet: name the folder of a process that has run with --data", value)
	}
	return name, id, err
}

// checkKMS has what the operator must mend end the start. An outage does not:
// KMS may answer by the time that it is needed.
func checkKMS(ctx context.Context, key *kms.Key, log *slog.Logger) error {
	err := key.Check(ctx)
	if errors.Is(err, shingle.ErrUnavailable) && ctx.Err() == nil {
		log.Warn("the master key could not be checked", "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("--master-key: %w", err)
	}
	return nil
}

// Unwrap implements [shingle.MasterKey].
func (k *masterKeys) Unwrap(ctx context.Context, w shingle.WrappedKey, purpose string) ([]byte, error) {
	if strings.HasPrefix(w.KeyID, "arn:") {
		key, err := k.kms()
		if err != nil {
			return nil, err
		}
		return key.Unwrap(ctx, w, purpose)
	}
	if k.files == nil {
		return nil, shingle.Errorf(shingle.CodeInvalid, "there is a value under the master key %s, but no key file: put %s back into the data folder, from a backup or another machine", w.KeyID, keyFileName)
	}
	return k.files.Unwrap(ctx, w, purpose)
}

// masterKey reads --master-key: "file" or "kms", and the file or the key.
func (c *Config) masterKey() (kind, value string, err error) {
	kind, value, _ = strings.Cut(c.MasterKey, ":")
	switch {
	case c.MasterKey == "", c.MasterKey == "file":
		return "file", c.file(keyFileName), nil
	case kind == "file" && value != "", kind == "kms" && value != "", kind == "parameter" && value != "":
		return kind, value, nil
	case kind == "kms":
		return "", "", errors.New("--master-key: name the KMS key: kms: and its ARN, or kms:alias/NAME")
	}
	return "", "", fmt.Errorf("--master-key: %q is neither file, file:PATH, kms:KEY nor parameter:NAME", c.MasterKey)
}
