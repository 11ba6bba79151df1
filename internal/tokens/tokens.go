// Package tokens keeps API tokens, and tells whose a request is.
//
// Records in the store:
//
//	tokens/ids/ID       a token, without its secret
//	tokens/names/NAME   the ID of the token that took the name last
package tokens

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

const (
	// Fresh is how long what was read of a token is believed: for so long a token
	// that was revoked in another process is still taken in this one.
	Fresh = 5 * time.Second

	// Kept is how long a token that expired stays in the list, at least.
	Kept = 30 * 24 * time.Hour

	usedEvery = time.Hour // at most, a token's last use is written
	maxKnown  = 10_000    // tokens in memory

	sweepEvery, sweepPage = 24 * time.Hour, 100

	// Bounds of what texts cost that are not known to be good. Of one network
	// twenty may come at once and then one in three seconds; for all together the
	// store is read fifty times at once, and then twenty times a second.
	guessBurst, guessEvery = 20, 3 * time.Second
	readBurst, readRate    = 50, 20

	idsPrefix   = "tokens/ids/"
	namesPrefix = "tokens/names/"
)

// Config is what a [Keeper] is made of. Blobs is required.
type Config struct {
	Blobs shingle.Blobs // the whole fleet shares it
	// Near, when set, is read instead of Blobs to check a token: a replica, which may
	// be late.
	Near       Reader
	Unreadable *shingle.Unreadable // told of records that cannot be read; nil: nobody is
	Logger     *slog.Logger        // nil: none
	Now        func() time.Time    // nil: time.Now
}

// Reader reads records, as [shingle.Blobs] has it.
type Reader interface {
	Get(ctx context.Context, key string) (shingle.Blob, error)
}

// near is a store that is read elsewhere.
type near struct {
	shingle.Blobs
	reader Reader
}

// Get implements [shingle.Blobs].
func (n near) Get(ctx context.Context, key string) (shingle.Blob, error) {
	return n.reader.Get(ctx, key)
}

// Keeper keeps tokens. Its methods are safe for concurrent use.
type Keeper struct {
	blobs   shingle.Blobs
	records *records.Store
	near    *records.Store
	log     *slog.Logger
	now     func() time.Time
	guesses *shingle.Limiter[netip.Prefix]
	reads   *rate.Limiter
	flights singleflight.Group

	// Of Run: when it last looked at all tokens, and the last at which it looked since.
	swept  time.Time
	looked string

	mu    sync.Mutex
	known map[string]known // by ID
}

// known is what was read of an ID.
type known struct {
	at      time.Time
	token   shingle.Token
	version string // of its record; empty: there is none
	proven  bool   // somebody had the secret
}

// record is a token as it is stored.
type record struct {
	Hash      string            `json:"hash"` // hexadecimal
	Name      string            `json:"name"`
	Role      shingle.TokenRole `json:"role"`
	Tenant    string            `json:"tenant,omitempty"`
	CreatedAt time.Time         `json:"created_at"`
	ExpiresAt time.Time         `json:"expires_at,omitzero"`
	LastUsed  time.Time         `json:"last_used,omitzero"`
}

// New returns a Keeper.
func New(cfg Config) (*Keeper, error) {
	if cfg.Blobs == nil {
		return nil, errors.New("tokens: Blobs is required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Near == nil {
		cfg.Near = cfg.Blobs
	}
	return &Keeper{
		blobs: cfg.Blobs, records: records.New(cfg.Blobs, cfg.Unreadable), near: records.New(near{cfg.Blobs, cfg.Near}, cfg.Unreadable), log: cfg.Logger, now: cfg.Now, known: map[string]known{},
		guesses: shingle.NewLimiter[netip.Prefix](guessBurst, guessEvery), reads: rate.NewLimiter(readRate, readBurst),
	}, nil
}

// CreateToken makes a token of what t says, and returns it with its text, which
// is shown only here. It returns [shingle.ErrInvalid] for what cannot be
// accepted, and [shingle.ErrExists] when a token in use has the name.
func (k *Keeper) CreateToken(ctx context.Context, t shingle.Token) (text string, made shingle.Token, err error) {
	t.ExpiresAt = t.ExpiresAt.UTC().Truncate(time.Microsecond)
	if err := t.Validate(k.now()); err != nil {
		return "", t, err
	}
	t.LastUsed = time.Time{}
	text, t = shingle.NewToken(t, k.now())
	if err := k.add(ctx, &t); err != nil {
		return "", t, err
	}
	return text, t, nil
}

// AddToken stores a token that its owner has made, by [shingle.NewToken], and whose text
// nobody else knows. It may be repeated. Its errors are those of CreateToken.
func (k *Keeper) AddToken(ctx context.Context, t shingle.Token) error {
	if err := t.Validate(k.now()); err != nil {
		return err
	}
	if !shingle.IsTokenID(t.ID) || t.Hash == [32]byte{} {
		return shingle.Errorf(shingle.CodeInvalid, "a token has an ID and a hash")
	}
	t.CreatedAt, t.LastUsed = k.now().UTC().Truncate(time.Microsecond), time.Time{}
	return k.add(ctx, &t)
}

// add stores t and takes its name, also when it has done the one or both before.
func (k *Keeper) add(ctx context.Context, t *shingle.Token) error {
	_, err := k.records.Put(ctx, idsPrefix+t.ID, encode(t), shingle.NoVersion)
	if errors.Is(err, shingle.ErrConflict) {
		found, readErr := k.read(ctx, k.records, t.ID)
		if readErr == nil && found.version != "" && found.token.Hash == t.Hash {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("create token: %w", err)
	}
	if err := k.claim(ctx, t); err != nil {
		// Nobody knows its text, so that it does no harm if it stays.
		if removal := k.records.Remove(ctx, idsPrefix+t.ID); removal != nil {
			k.log.Warn("token without an owner not removed", "token", t.ID, "error", removal)
		}
		return err
	}
	return nil
}

// claim takes the name of t, whose record is there already: of two that want
// one name at once, one gets it.
func (k *Keeper) claim(ctx context.Context, t *shingle.Token) error {
	for range 8 {
		var owner string
		version, err := k.records.Get(ctx, namesPrefix+t.Name, &owner)
		switch {
		case errors.Is(err, shingle.ErrNotFound):
			version = shingle.NoVersion
		case err != nil:
			return fmt.Errorf("claim name of token: %w", err)
		default:
			if owner == t.ID {
				return nil
			}
			if _, err := k.records.Get(ctx, idsPrefix+owner, &record{}); err == nil {
				return &shingle.Error{Code: shingle.CodeExists, Field: "name", Message: "a token with this name exists already: choose another name, or remove that one"}
			} else if !errors.Is(err, shingle.ErrNotFound) {
				return fmt.Errorf("claim name of token: %w", err)
			}
		}
		if _, err = k.records.Put(ctx, namesPrefix+t.Name, t.ID, version); !errors.Is(err, shingle.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("claim name of token: %w", shingle.ErrConflict)
}

// Tokens returns the tokens whose ID sorts after `after`, at most limit (1 to
// 1000) of them. next is the `after` of the next page, empty at the end.
func (k *Keeper) Tokens(ctx context.Context, after string, limit int) (list []shingle.Token, next string, err error) {
	start := ""
	if after != "" {
		start = idsPrefix + after
	}
	keys, err := k.records.List(ctx, idsPrefix, start, limit)
	if err != nil {
		return nil, "", fmt.Errorf("list tokens: %w", err)
	}
	for _, key := range keys {
		found, err := k.read(ctx, k.records, strings.TrimPrefix(key, idsPrefix))
		if errors.Is(err, shingle.ErrUnreadable) {
			continue // it lets nobody in
		}
		if err != nil {
			return nil, "", err
		}
		if found.version != "" {
			list = append(list, found.token)
		}
	}
	if len(keys) == limit {
		next = strings.TrimPrefix(keys[limit-1], idsPrefix)
	}
	return list, next, nil
}

// Token returns one, or [shingle.ErrNotFound].
func (k *Keeper) Token(ctx context.Context, id string) (shingle.Token, error) {
	found := known{}
	if shingle.IsTokenID(id) {
		var err error
		if found, err = k.read(ctx, k.records, id); err != nil {
			return shingle.Token{}, err
		}
	}
	if found.version == "" {
		return shingle.Token{}, shingle.Errorf(shingle.CodeNotFound, "there is no token %.64q", id)
	}
	return found.token, nil
}

// DeleteToken revokes a token, or returns [shingle.ErrNotFound]: in this process
// at once, in the others of the fleet within [Fresh].
func (k *Keeper) DeleteToken(ctx context.Context, id string) error {
	t, err := k.Token(ctx, id)
	if err != nil && !errors.Is(err, shingle.ErrUnreadable) { // which is a reason to revoke it
		return err
	}
	err = k.records.Remove(ctx, idsPrefix+id)
	k.mu.Lock()
	if delete(k.known, id); err == nil {
		k.remember(id, known{at: k.now()}) // for whoever is reading it, and a replica that is late
	}
	k.mu.Unlock()
	if err != nil {
		return err
	}
	if t.Name == "" { // what it was called is not known
		return nil
	}
	if err := k.unname(ctx, &t); err != nil { // whoever wants the name gets it all the same
		k.log.Warn("name of a revoked token not removed", "token", id, "error", err)
	}
	return nil
}

// ExpireToken has a token expire now, or returns [shingle.ErrNotFound]: in this process at
// once, in the others of the fleet within [Fresh].
func (k *Keeper) ExpireToken(ctx context.Context, id string) error {
	for range 8 { // its last use may be written meanwhile
		found, err := k.read(ctx, k.records, id)
		if err != nil {
			return err
		}
		if found.version == "" {
			return shingle.Errorf(shingle.CodeNotFound, "there is no token %.64q", id)
		}
		found.token.ExpiresAt = k.now().UTC().Truncate(time.Microsecond)
		found.version, err = k.records.Put(ctx, idsPrefix+id, encode(&found.token), found.version)
		if errors.Is(err, shingle.ErrConflict) {
			continue
		}
		k.mu.Lock()
		found.at, found.proven = k.now(), k.known[id].proven
		if delete(k.known, id); err == nil {
			k.remember(id, found) // as for one that is revoked
		}
		k.mu.Unlock()
		return err
	}
	return fmt.Errorf("expire token: %w", shingle.ErrConflict)
}

// unname lets go of a token's name, unless another token has taken it.
func (k *Keeper) unname(ctx context.Context, t *shingle.Token) error {
	var owner string
	version, err := k.records.Get(ctx, namesPrefix+t.Name, &owner)
	if err == nil && owner == t.ID {
		err = k.blobs.Delete(ctx, namesPrefix+t.Name, version)
	}
	if errors.Is(err, shingle.ErrNotFound) || errors.Is(err, shingle.ErrConflict) {
		return nil
	}
	return err
}

// Run removes, once a day until ctx ends, tokens that expired longer than [Kept] ago:
// until then who comes with one is told when it expired. One process of the fleet at a
// time runs it; called again, it goes on where it was.
func (k *Keeper) Run(ctx context.Context) error {
	for {
		if now := k.now(); now.Sub(k.swept) >= sweepEvery {
			if err := k.sweep(ctx); err != nil {
				return err
			}
			k.swept = now
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(sweepEvery):
		}
	}
}

// sweep looks at every token, some at a time.
func (k *Keeper) sweep(ctx context.Context) error {
	for {
		list, next, err := k.Tokens(ctx, k.looked, sweepPage)
		if err != nil {
			return err
		}
		for _, t := range list {
			if t.ExpiresAt.IsZero() || k.now().Sub(t.ExpiresAt) < Kept {
				continue
			}
			if err := k.DeleteToken(ctx, t.ID); err != nil && !errors.Is(err, shingle.ErrNotFound) {
				return fmt.Errorf("remove expired token: %w", err)
			}
		}
		if k.looked = next; next == "" {
			return nil
		}
	}
}

// read reads a token. One that is not there has no version.
func (k *Keeper) read(ctx context.Context, from *records.Store, id string) (known, error) {
	out := known{at: k.now()}
	var r record
	version, err := from.Get(ctx, idsPrefix+id, &r)
	if errors.Is(err, shingle.ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return out, fmt.Errorf("read token: %w", err)
	}
	out.token, out.version = r.token(id), version
	return out, nil
}

func encode(t *shingle.Token) record {
	return record{
		Hash: hex.EncodeToString(t.Hash[:]), Name: t.Name, Role: t.Role, Tenant: t.Tenant,
		CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt, LastUsed: t.LastUsed,
	}
}

// Readable returns an error for what is no token.
func (r *record) Readable() error {
	hash, err := hex.DecodeString(r.Hash)
	switch {
	case err != nil || len(hash) != sha256.Size:
		return shingle.RecordFault("its hash is none")
	case !slices.Contains(shingle.TokenRoles, r.Role):
		return shingle.RecordFault("its role is none")
	case r.Role == shingle.RoleTenant && r.Tenant == "":
		return shingle.RecordFault("its tenant is missing")
	}
	return nil
}

func (r *record) token(id string) shingle.Token {
	t := shingle.Token{
		ID: id, Name: r.Name, Role: r.Role, Tenant: r.Tenant,
		CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, LastUsed: r.LastUsed,
	}
	_, _ = hex.Decode(t.Hash[:], []byte(r.Hash)) // a record that can be read has one
	return t
}
