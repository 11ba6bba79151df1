package kit

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// KeyRecord is the key of the record with the key of the links, and KeyMember the
// member that has what [Sealer] made of it. When it is lost, all links end.
const (
	KeyRecord = "setup/key"
	KeyMember = "key"
)

// For how long what was read of the key is good: another process may have made one,
// or have made another in the place of one that was lost.
const (
	keyLife   = time.Minute
	noKeyLife = 5 * time.Second
)

// linkKey is the key of the links, the same for all processes.
type linkKey struct {
	secret
	now func() time.Time

	mu   sync.Mutex
	key  []byte // nil: there was none
	read time.Time
}

// get returns the key, or [shingle.ErrNotFound] when no link was ever made. What
// strangers ask costs a read of the store now and then, whatever they ask.
func (k *linkKey) get(ctx context.Context) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	life := keyLife
	if k.key == nil {
		life = noKeyLife
	}
	if !k.read.IsZero() && k.now().Sub(k.read) < life {
		return k.known()
	}
	key, err := k.load(ctx)
	if err == nil || errors.Is(err, shingle.ErrNotFound) {
		k.key, k.read = key, k.now()
	} else if k.key == nil {
		return nil, err
	}
	return k.known() // with a store that does not answer: as it was
}

func (k *linkKey) known() ([]byte, error) {
	if k.key == nil {
		return nil, shingle.ErrNotFound
	}
	return k.key, nil
}

// make is get, and makes the key when there is none.
func (k *linkKey) make(ctx context.Context) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, err := k.load(ctx)
	if errors.Is(err, shingle.ErrNotFound) {
		key = make([]byte, 32)
		_, _ = rand.Read(key) // never fails
		key, err = k.create(ctx, key)
	}
	if err != nil {
		return nil, err
	}
	k.key, k.read = key, k.now()
	return key, nil
}
