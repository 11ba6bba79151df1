package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/keyfile"
	"github.com/shingle-proxy/shingle/internal/ssm"
)

// parameterEvery is how often a parameter is read again: so late a new master key
// begins to wrap.
const parameterEvery = 10 * time.Minute

// parameterKey is a master key from a parameter, with a copy in the data folder: a
// machine that starts while AWS does not answer has its keys.
type parameterKey struct {
	*keyfile.Key
	path      string
	parameter interface {
		Keys(ctx context.Context) ([][]byte, error)
	}
	log *slog.Logger

	mu   sync.Mutex
	read time.Time // the last time
}

// openParameter opens the keys in a parameter.
func (c *Config) openParameter(ctx context.Context, name string) (*parameterKey, error) {
	p, err := ssm.Open(ctx, ssm.Config{Name: name, Region: c.TableRegion, Endpoint: c.SSMEndpoint})
	key := &parameterKey{path: c.file(keyFileName), parameter: p, log: c.Logger}
	if err == nil {
		err = key.open(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("--master-key: %w", err)
	}
	return key, nil
}

// open reads the parameter, or the copy when it does not answer.
func (k *parameterKey) open(ctx context.Context) error {
	err := k.copy(ctx)
	if err != nil && !errors.Is(err, shingle.ErrUnavailable) {
		return err
	}
	files, openErr := keyfile.Read(k.path)
	if errors.Is(openErr, fs.ErrNotExist) {
		return err
	}
	if err != nil {
		k.log.Warn("the master key is that of the copy in the data folder", "error", err)
	}
	k.Key = files
	return openErr
}

func (k *parameterKey) copy(ctx context.Context) error {
	k.read = time.Now()
	keys, err := k.parameter.Keys(ctx)
	if err != nil {
		return err
	}
	return keyfile.Save(k.path, keys)
}

// refresh copies the parameter again when that was long ago.
func (k *parameterKey) refresh(ctx context.Context, after time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.read) < after {
		return
	}
	if err := k.copy(ctx); err != nil && ctx.Err() == nil {
		k.log.Warn("the master key was not read again", "error", err)
	}
}

// Current implements [shingle.MasterKey].
func (k *parameterKey) Current(ctx context.Context) (string, error) {
	k.refresh(ctx, parameterEvery)
	return k.Key.Current(ctx)
}

// IDs returns the keys that are there, the newest last.
func (k *parameterKey) IDs(ctx context.Context) ([]string, error) {
	k.refresh(ctx, parameterEvery)
	return k.Key.IDs(ctx)
}

// Wrap implements [shingle.MasterKey].
func (k *parameterKey) Wrap(ctx context.Context, secret []byte, purpose string) (shingle.WrappedKey, error) {
	k.refresh(ctx, parameterEvery)
	return k.Key.Wrap(ctx, secret, purpose)
}

// Unwrap implements [shingle.MasterKey]. An unknown key may be one that was added to
// the parameter.
func (k *parameterKey) Unwrap(ctx context.Context, w shingle.WrappedKey, purpose string) ([]byte, error) {
	secret, err := k.Key.Unwrap(ctx, w, purpose)
	if err != nil {
		k.refresh(ctx, time.Minute)
		secret, err = k.Key.Unwrap(ctx, w, purpose)
	}
	return secret, err
}
