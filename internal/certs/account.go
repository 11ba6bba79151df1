package certs

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/mholt/acmez/v3/acme"

	"github.com/shingle-proxy/shingle"
)

const accountKeyRecord = "accounts/key"

// accountKey is the ACME account key. One serves the whole fleet and every CA,
// so that each edge can answer any HTTP-01 validation from its thumbprint.
type accountKey struct {
	signer     crypto.Signer
	thumbprint string // RFC 7638
}

// storedKey is an accountKey as it is stored.
type storedKey struct {
	Key Sealed `json:"key"` // PKCS #8
}

// registration is the account at one CA, as it is stored.
type registration struct {
	Directory string `json:"directory"`
	Location  string `json:"location"` // the account's URL, its name in requests
}

// accountKeys holds the account key, which is made on first need and shared
// through the store.
type accountKeys struct {
	store *store
	key   atomic.Pointer[accountKey]
	lock  chan struct{} // held while the key is loaded or made
}

func newAccountKeys(s *store) *accountKeys {
	return &accountKeys{store: s, lock: make(chan struct{}, 1)}
}

// accounts holds the registration at one CA, which is made on first need and
// shared through the store.
type accounts struct {
	cfg   *Config
	ca    CA
	keys  *accountKeys
	store *store
	acme  *client
	log   *slog.Logger

	registered atomic.Pointer[registration]
	lock       chan struct{} // held while the account is looked up or registered
}

func newAccounts(cfg *Config, ca CA, keys *accountKeys, s *store, c *client) *accounts {
	return &accounts{cfg: cfg, ca: ca, keys: keys, store: s, acme: c, log: cfg.Logger, lock: make(chan struct{}, 1)}
}

// thumbprint returns the thumbprint of the account key, or [shingle.ErrNotFound]
// as long as nobody in the fleet has needed an account.
func (a *accountKeys) thumbprint(ctx context.Context) (string, error) {
	if k := a.key.Load(); k != nil {
		return k.thumbprint, nil
	}
	var stored storedKey
	_, local, err := a.store.serve(ctx, accountKeyRecord, &stored)
	if err != nil {
		return "", fmt.Errorf("load account key: %w", err)
	}
	k, err := a.open(ctx, stored)
	if err != nil {
		return "", fmt.Errorf("load account key: %w", err)
	}
	if !local {
		a.key.Store(k)
	}
	return k.thumbprint, nil
}

// account returns the account at the CA, registering it when there is none.
// stale is a registration that the CA no longer knows, or nil.
func (a *accounts) account(ctx context.Context, stale *registration) (acme.Account, *registration, error) {
	k, err := a.keys.load(ctx)
	if err != nil {
		return acme.Account{}, nil, err
	}
	r := a.registered.Load()
	if r == nil || r == stale {
		if r, err = a.register(ctx, k, stale); err != nil {
			return acme.Account{}, nil, err
		}
	}
	return acme.Account{Status: acme.StatusValid, Location: r.Location, PrivateKey: k.signer}, r, nil
}

// load returns the account key. When there is none it is made.
func (a *accountKeys) load(ctx context.Context) (*accountKey, error) {
	if k := a.key.Load(); k != nil {
		return k, nil
	}
	if err := acquire(ctx, a.lock); err != nil {
		return nil, err
	}
	defer func() { <-a.lock }()
	if k := a.key.Load(); k != nil {
		return k, nil
	}
	k, err := a.read(ctx)
	if errors.Is(err, shingle.ErrNotFound) {
		createErr := a.create(ctx)
		if k, err = a.read(ctx); err != nil && createErr != nil {
			err = createErr
		}
	}
	if err != nil {
		return nil, fmt.Errorf("load account key: %w", err)
	}
	a.key.Store(k)
	return k, nil
}

func (a *accountKeys) read(ctx context.Context) (*accountKey, error) {
	var stored storedKey
	if _, err := a.store.get(ctx, accountKeyRecord, &stored); err != nil {
		return nil, err
	}
	return a.open(ctx, stored)
}

func (a *accountKeys) open(ctx context.Context, stored storedKey) (*accountKey, error) {
	signer, err := a.store.openKey(ctx, stored.Key, accountKeyRecord)
	if err != nil {
		return nil, err
	}
	thumbprint, err := (&acme.Account{PrivateKey: signer}).Thumbprint()
	if err != nil {
		return nil, err
	}
	return &accountKey{signer: signer, thumbprint: thumbprint}, nil
}

// create stores a fresh key, unless another process has just done so. After
// an error it may be stored all the same: the caller reads to learn.
func (a *accountKeys) create(ctx context.Context) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	sealed, err := a.store.sealKey(ctx, key, accountKeyRecord)
	if err != nil {
		return err
	}
	_, err = a.store.put(ctx, accountKeyRecord, storedKey{Key: sealed}, shingle.NoVersion)
	if errors.Is(err, shingle.ErrConflict) {
		return nil
	}
	return err
}

// register takes the registration from the store, or else from the CA. To
// register a key that the CA knows gives its account (RFC 8555 section 7.3.1),
// so it does no harm when two processes do, or when the store loses it.
func (a *accounts) register(ctx context.Context, k *accountKey, stale *registration) (*registration, error) {
	if err := acquire(ctx, a.lock); err != nil {
		return nil, err
	}
	defer func() { <-a.lock }()
	if r := a.registered.Load(); r != nil && r != stale {
		return r, nil
	}
	r := &registration{}
	version, err := a.store.get(ctx, registrationRecord(a.ca.Directory), r)
	if err != nil && !errors.Is(err, shingle.ErrNotFound) && !errors.Is(err, shingle.ErrUnreadable) {
		return nil, fmt.Errorf("load account: %w", err)
	}
	if err != nil || stale != nil && r.Location == stale.Location {
		if r, err = a.newAccount(ctx, k); err != nil {
			return nil, fmt.Errorf("register account: %w", err)
		}
		if _, err := a.store.put(ctx, registrationRecord(a.ca.Directory), r, version); err != nil {
			a.log.Warn("account not stored", "ca", a.ca.Directory, "error", err)
		}
	}
	a.registered.Store(r)
	return r, nil
}

func (a *accounts) newAccount(ctx context.Context, k *accountKey) (*registration, error) {
	account := acme.Account{TermsOfServiceAgreed: a.cfg.TermsAgreed, PrivateKey: k.signer}
	if a.cfg.Email != "" {
		account.Contact = []string{"mailto:" + a.cfg.Email}
	}
	if a.ca.EABKeyID != "" {
		eab := acme.EAB{KeyID: a.ca.EABKeyID, MACKey: a.ca.EABKey}
		if err := account.SetExternalAccountBinding(ctx, &a.acme.Client, eab); err != nil {
			return nil, fmt.Errorf("bind external account: %w", err)
		}
	}
	account, err := a.acme.NewAccount(ctx, account)
	if err != nil {
		return nil, err
	}
	if account.Location == "" {
		return nil, errors.New("the CA gave the account no URL")
	}
	a.log.Info("account registered", "ca", a.ca.Directory, "account", account.Location)
	return &registration{Directory: a.ca.Directory, Location: account.Location}, nil
}

func registrationRecord(directory string) string {
	sum := sha256.Sum256([]byte(directory))
	return "accounts/" + hex.EncodeToString(sum[:16])
}

// AccountURI returns the URL of our account at the CA with a directory, which CAA
// records may name (RFC 8657), or "" before there is one.
func (m *Manager) AccountURI(ctx context.Context, directory string) string {
	ca := m.authority(directory)
	if ca == nil {
		return ""
	}
	if r := ca.accounts.registered.Load(); r != nil {
		return r.Location
	}
	var r registration
	if _, err := m.store.get(ctx, registrationRecord(directory), &r); err != nil {
		return ""
	}
	return r.Location
}
