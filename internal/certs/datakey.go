package certs

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/shingle-proxy/shingle"
)

// A data key seals for a week or sealShare times maxShares values, whichever
// ends first: far below the 2^32 that AES-GCM with random nonces can bear (NIST
// SP 800-38D section 8.3). Each process that seals takes a share of them.
const (
	dataKeyLife = 7 * 24 * time.Hour
	sealShare   = 4096
	maxShares   = 64
)

const (
	dataKeySize   = 32      // AES-256
	dataKeyPrefix = "data-" // of the ID; no master key's begins so
	keysPrefix    = "keys/"
	activePrefix  = keysPrefix + "active-"
	keyCheck      = time.Minute      // a process learns within that another data key seals
	maxOpenKeys   = 256              // in memory; more are unwrapped again when needed
	unwrapTimeout = 15 * time.Second // of one data key, for all who wait for it
	unwrapPause   = 2 * time.Second  // before one that could not be unwrapped is tried again
)

// keyring seals what is secret in the store under data keys, which are in the
// store too, wrapped by the master key. A data key is unwrapped once and then
// kept in memory, so what a master key far away costs grows with the number of
// data keys, a few for many thousand certificates.
type keyring struct {
	store  *store
	places []SealedPlace
	master shingle.MasterKey
	now    func() time.Time
	log    *slog.Logger
	ctx    context.Context // ends with the Manager
	// lacking is as in [Config].
	lacking func(ctx context.Context, masterKey string) ([]string, error)

	unwrapping singleflight.Group
	mu         sync.Mutex
	ready      map[string]*dataKey // unwrapped, by ID
	failed     map[string]failedKey

	lock   chan struct{} // held by whoever uses what follows
	active *dataKey      // seals; nil before the first seal
	left   int           // seals of our share
	said   string        // the processes that were said to lack the master key
	check  time.Time     // when to look whether active still is
}

// dataKey is an unwrapped data key.
type dataKey struct {
	id     string
	master string // ID of the master key that wrapped it
	made   time.Time
	secret []byte // the key itself, for another master key to wrap
	aead   cipher.AEAD
}

// failedKey is why a data key could not be unwrapped.
type failedKey struct {
	err   error
	until time.Time // by our own monotonic clock
}

// wrappedDataKey is a data key as it is stored.
type wrappedDataKey struct {
	Key  shingle.WrappedKey `json:"key"`
	Made time.Time          `json:"made"`
}

// activeDataKey says which data key seals. There is one record for each master
// key, so that processes that are told of a new one at different times do not
// disagree.
type activeDataKey struct {
	DataKey string    `json:"data_key"`
	Made    time.Time `json:"made"`
	Shares  int       `json:"shares"` // taken of it
}

func newKeyring(ctx context.Context, s *store, cfg *Config) *keyring {
	return &keyring{
		store: s, places: cfg.sealedPlaces(), master: cfg.MasterKey, now: cfg.Now, log: cfg.Logger, ctx: ctx, lacking: cfg.Lacking,
		ready: map[string]*dataKey{}, failed: map[string]failedKey{}, lock: make(chan struct{}, 1),
	}
}

// errNoDataKey is why what a data key seals cannot be opened, when it is not in the
// store.
var errNoDataKey = errors.New("no such data key")

func dataKeyRecord(id string) string { return keysPrefix + id }

func activeRecord(master string) string { return activePrefix + masterHash(master) }

// masterHash names a master key in keys.
func masterHash(master string) string {
	sum := sha256.Sum256([]byte(master))
	return hex.EncodeToString(sum[:8])
}

// seal encrypts plain for the record with that store key, which is in one of the
// places.
func (k *keyring) seal(ctx context.Context, plain []byte, record string) (Sealed, error) {
	return k.sealAfter(ctx, plain, record, time.Time{})
}

// sealAfter is seal under a data key that was not made before notBefore.
func (k *keyring) sealAfter(ctx context.Context, plain []byte, record string, notBefore time.Time) (Sealed, error) {
	if !mayHold(k.places, record) { // no rewrap would find it
		return Sealed{}, fmt.Errorf("nothing is sealed in records like %s: add them to the sealed places", record)
	}
	d, err := k.sealer(ctx, notBefore)
	if err != nil {
		return Sealed{}, err
	}
	return Sealed{KeyID: d.id, Data: d.aead.Seal(nil, nil, plain, []byte(record))}, nil
}

// open reverses seal. No error carries a part of the plaintext.
func (k *keyring) open(ctx context.Context, s Sealed, record string) ([]byte, error) {
	d, err := k.dataKey(ctx, s.KeyID)
	if err != nil {
		return nil, err
	}
	return d.open(s, record)
}

func (d *dataKey) open(s Sealed, record string) ([]byte, error) {
	plain, err := d.aead.Open(nil, nil, s.Data, []byte(record))
	if err != nil {
		return nil, errors.New("sealed value was changed or belongs to another record")
	}
	return plain, nil
}

// sealer returns the data key that seals, which was not made before notBefore,
// and counts a seal. While the store or the master key is out of order, the one
// that is known goes on until its week has passed.
func (k *keyring) sealer(ctx context.Context, notBefore time.Time) (*dataKey, error) {
	if err := acquire(ctx, k.lock); err != nil {
		return nil, err
	}
	defer func() { <-k.lock }()
	now := k.now()
	usable := k.active != nil && k.left > 0 && now.Sub(k.active.made) < dataKeyLife && !k.active.made.Before(notBefore)
	if !usable || !now.Before(k.check) {
		if err := k.choose(ctx, notBefore, now); err != nil {
			if !usable {
				return nil, fmt.Errorf("get data key: %w", err)
			}
			k.log.Warn("the data key in use could not be checked", "data_key", k.active.id, "error", err)
		}
		k.check = now.Add(keyCheck)
	}
	k.left--
	return k.active, nil
}

// choose sets active to the fleet's data key, and makes one when there is none
// that is good any more.
func (k *keyring) choose(ctx context.Context, notBefore, now time.Time) error {
	master, err := k.master.Current(ctx)
	if err != nil {
		return masterError(err)
	}
	for range planAttempts {
		if err := k.tryChoose(ctx, master, notBefore, now); !errors.Is(err, shingle.ErrConflict) {
			return err
		}
	}
	return storeError(errors.New("the record of the data key in use changes all the time"))
}

// tryChoose is choose. It returns [shingle.ErrConflict] when another process was quicker.
func (k *keyring) tryChoose(ctx context.Context, master string, notBefore, now time.Time) error {
	var a activeDataKey
	version, err := k.store.get(ctx, activeRecord(master), &a)
	none := errors.Is(err, shingle.ErrNotFound)
	if err != nil && !none {
		return err
	}
	if none && notBefore.IsZero() {
		if stays, err := k.stay(ctx, master); stays || err != nil {
			return err
		}
	}
	good := !none && now.Sub(a.Made) < dataKeyLife && !a.Made.Before(notBefore)
	if good && k.active != nil && k.active.id == a.DataKey && k.left > 0 {
		return nil
	}
	var d *dataKey
	if good && a.Shares < maxShares {
		if d, err = k.adopt(ctx, a.DataKey, master); err != nil {
			return err
		}
	}
	made := d == nil
	if made {
		if d, err = k.make(ctx, later(now, notBefore)); err != nil {
			return err
		}
		a = activeDataKey{DataKey: d.id, Made: d.made}
	}
	a.Shares++
	if _, err := k.store.put(ctx, activeRecord(master), a, version); err != nil {
		if made {
			_ = k.store.erase(ctx, dataKeyRecord(d.id)) // nothing is sealed with it; a leftover does no harm
		}
		return err
	}
	k.active, k.left = d, sealShare
	return nil
}

// adopt returns the data key with that ID, or nil when it was lost, or wrapped
// anew by another master key.
func (k *keyring) adopt(ctx context.Context, id, master string) (*dataKey, error) {
	var w wrappedDataKey
	_, err := k.store.get(ctx, dataKeyRecord(id), &w)
	if errors.Is(err, shingle.ErrNotFound) || err == nil && w.Key.KeyID != master {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return k.dataKey(ctx, id)
}

// make stores a fresh data key.
func (k *keyring) make(ctx context.Context, now time.Time) (*dataKey, error) {
	id := dataKeyPrefix + strings.ToLower(rand.Text())
	secret := make([]byte, dataKeySize)
	_, _ = rand.Read(secret) // never fails
	wrapped, err := k.master.Wrap(ctx, secret, dataKeyRecord(id))
	if err != nil {
		return nil, masterError(err)
	}
	w := wrappedDataKey{Key: wrapped, Made: now.UTC().Truncate(time.Microsecond)}
	if _, err := k.store.put(ctx, dataKeyRecord(id), w, shingle.NoVersion); err != nil {
		return nil, err
	}
	d, err := newDataKey(id, w, secret)
	if err != nil {
		return nil, err
	}
	k.keep(d)
	k.log.Info("data key made", "data_key", id, "master_key", wrapped.KeyID)
	return d, nil
}

func newDataKey(id string, w wrappedDataKey, secret []byte) (*dataKey, error) {
	aead, err := shingle.NewAEAD(secret)
	if err != nil {
		return nil, err
	}
	return &dataKey{id: id, master: w.Key.KeyID, made: w.Made, secret: secret, aead: aead}, nil
}

// dataKey returns the data key with that ID. Many who ask at once cost one read
// of the store and one call of the master key, which goes on when the first of
// them is gone.
func (k *keyring) dataKey(ctx context.Context, id string) (*dataKey, error) {
	k.mu.Lock()
	d, failed := k.ready[id], k.failed[id]
	k.mu.Unlock()
	switch {
	case d != nil:
		return d, nil
	case time.Now().Before(failed.until):
		return nil, failed.err
	}
	done := k.unwrapping.DoChan(id, func() (any, error) {
		ctx, cancel := context.WithTimeout(k.ctx, unwrapTimeout)
		defer cancel()
		return k.load(ctx, id)
	})
	select {
	case r := <-done:
		d, _ = r.Val.(*dataKey)
		return d, r.Err
	case <-ctx.Done():
		return nil, &shingle.Error{Code: shingle.CodeUnavailable, Message: "the data key is being unwrapped; try again in a moment", Err: ctx.Err()}
	}
}

func (k *keyring) load(ctx context.Context, id string) (*dataKey, error) {
	k.mu.Lock()
	d := k.ready[id]
	k.mu.Unlock()
	if d != nil { // the flight before ended between our look and this one
		return d, nil
	}
	d, err := k.read(ctx, id)
	if err == nil {
		k.keep(d)
		return d, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.failed) >= maxOpenKeys {
		clear(k.failed)
	}
	k.failed[id] = failedKey{err: err, until: time.Now().Add(unwrapPause)}
	return nil, err
}

func (k *keyring) read(ctx context.Context, id string) (*dataKey, error) {
	var w wrappedDataKey
	if _, _, err := k.store.serve(ctx, dataKeyRecord(id), &w); err != nil { // a copy is as good: it opens or it does not
		if errors.Is(err, shingle.ErrNotFound) { // it must not pass for the absence of what it seals
			err = &shingle.Error{Code: shingle.CodeUnavailable, Message: fmt.Sprintf("the data key %s is not in the store: restore it from a backup", id), Err: errNoDataKey}
		}
		return nil, err
	}
	secret, err := k.unwrap(ctx, w.Key, dataKeyRecord(id))
	if err != nil {
		return nil, err
	}
	return newDataKey(id, w, secret)
}

// keep puts d among those in memory. Map order is random, which will do.
func (k *keyring) keep(d *dataKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id := range k.ready {
		if len(k.ready) < maxOpenKeys {
			break
		}
		delete(k.ready, id)
	}
	k.ready[d.id] = d
	delete(k.failed, d.id)
}

func (k *keyring) unwrap(ctx context.Context, w shingle.WrappedKey, purpose string) ([]byte, error) {
	secret, err := k.master.Unwrap(ctx, w, purpose)
	if err != nil {
		return nil, masterError(err)
	}
	return secret, nil
}

// masterError is that of a master key, as something that whoever asked cannot
// mend: the message says what the operator can.
func masterError(err error) error {
	return &shingle.Error{Code: shingle.CodeUnavailable, Message: shingle.MessageOf(err), Err: err}
}
