package certs

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/shingle-proxy/shingle"
)

const (
	ticketRecord  = "tickets"
	ticketKeys    = 4 // kept; the newest that all edges can know seals, and all open
	ticketTimeout = 30 * time.Second
)

// tickets is the record of the fleet's session ticket keys.
type tickets struct {
	Keys Sealed `json:"keys"` // JSON of []ticketKey, newest first
}

// ticketKey is one session ticket key.
type ticketKey struct {
	Secret [32]byte  `json:"secret"`
	Made   time.Time `json:"made"` // by the clock of the process that made it
}

// FollowTicketKeys keeps a caller's TLS session ticket keys in step with the
// fleet's until ctx ends. It calls set, from this goroutine, with keys for
// [crypto/tls.Config.SetSessionTicketKeys] each time they change: the first seals,
// all open, there is at least one.
//
// Keys are shared through the store and made by whichever process first finds
// the newest older than TicketRotation. A new one seals only after two
// TicketPolls, so that every edge can open what any edge seals. While the store
// or the master key fails the keys stay as they are; before they could be read once
// those of the local copy are used, and without one set is not called.
func (m *Manager) FollowTicketKeys(ctx context.Context, set func(keys [][32]byte)) {
	f := &ticketFollower{m: m, set: set}
	failing := false
	for {
		wait := m.cfg.TicketPoll
		err := f.step(ctx)
		if err != nil {
			wait /= 10
			if !failing && ctx.Err() == nil {
				m.log.Error("session ticket keys are not up to date", "error", err)
			}
		}
		failing = err != nil
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// ticketFollower is the state of one FollowTicketKeys.
type ticketFollower struct {
	m   *Manager
	set func([][32]byte)

	version string      // of the record that was read last
	keys    []ticketKey // what it held
	seen    time.Time   // when keys[0] was first read
	own     [32]byte    // seals while no key of the fleet may
	current [][32]byte  // given to set last
}

// step reads the record, adds a key when it is time, and passes on what is good
// for use. A record that another process wrote in the meantime is read again.
func (f *ticketFollower) step(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ticketTimeout)
	defer cancel()
	var err error
	for range 3 {
		if err = f.read(ctx); err != nil {
			return fmt.Errorf("read ticket keys: %w", err)
		}
		if !f.due(f.m.cfg.Now()) {
			break
		}
		if err = f.rotate(ctx); err != nil && !errors.Is(err, shingle.ErrConflict) {
			break // the reply may be lost: the next step reads what came of it
		}
	}
	if len(f.keys) > 0 {
		f.pass(f.m.cfg.Now())
	}
	return err
}

// read takes in the record, unless it is the one that is known. None is no error.
func (f *ticketFollower) read(ctx context.Context) error {
	var r tickets
	version, local, err := f.look(ctx, &r)
	switch {
	case errors.Is(err, shingle.ErrNotFound):
		f.version = shingle.NoVersion // the operator wants new keys; what we have opens until then
		return nil
	case err != nil:
		return err
	case local:
		if err := f.take(ctx, r, shingle.NoVersion); err != nil {
			return err
		}
		f.pass(f.m.cfg.Now())
		return storeError(errors.New("the keys are those of the local copy"))
	case version == f.version:
		return nil
	}
	return f.take(ctx, r, version)
}

// look reads the record. A process that starts without its store goes on with
// the sessions of before: as long as it has no keys, those of the local copy will
// do.
func (f *ticketFollower) look(ctx context.Context, r *tickets) (version string, local bool, err error) {
	if len(f.keys) == 0 {
		return f.m.store.serve(ctx, ticketRecord, r)
	}
	version, err = f.m.store.get(ctx, ticketRecord, r)
	return version, false, err
}

// take takes in the record's keys.
func (f *ticketFollower) take(ctx context.Context, r tickets, version string) error {
	plain, err := f.m.store.keys.open(ctx, r.Keys, ticketRecord)
	if err != nil {
		return fmt.Errorf("open ticket keys: %w", err)
	}
	var keys []ticketKey
	if json.Unmarshal(plain, &keys) != nil || len(keys) == 0 || len(keys) > ticketKeys {
		return errors.New("decode ticket keys: not a list of keys") // the decoder's error could quote one
	}
	if len(f.keys) == 0 || f.keys[0].Secret != keys[0].Secret {
		f.seen = f.m.cfg.Now()
	}
	f.version, f.keys = version, keys
	return nil
}

// age is how old the newest key is: by its own time or by ours since we saw it,
// whichever is more, so that a maker whose clock is ahead holds nothing up.
func (f *ticketFollower) age(now time.Time) time.Duration {
	return max(now.Sub(f.keys[0].Made), now.Sub(f.seen))
}

func (f *ticketFollower) due(now time.Time) bool {
	return f.version == shingle.NoVersion || f.age(now) >= f.m.cfg.TicketRotation
}

// rotate writes a record with one more key, in place of the one that was read.
func (f *ticketFollower) rotate(ctx context.Context) error {
	made := ticketKey{Made: f.m.cfg.Now().UTC()}
	_, _ = rand.Read(made.Secret[:]) // never fails
	keys := []ticketKey{made}
	if f.version != shingle.NoVersion {
		keys = append(keys, f.keys...)
	}
	plain, err := json.Marshal(keys[:min(len(keys), ticketKeys)])
	if err != nil {
		return fmt.Errorf("encode ticket keys: %w", err)
	}
	sealed, err := f.m.store.keys.seal(ctx, plain, ticketRecord)
	if err != nil {
		return fmt.Errorf("seal ticket keys: %w", err)
	}
	if _, err = f.m.store.put(ctx, ticketRecord, tickets{Keys: sealed}, f.version); err != nil {
		return fmt.Errorf("store ticket keys: %w", err)
	}
	f.m.log.Info("session ticket key made", "data_key", sealed.KeyID)
	return nil
}

// pass gives the keys to the caller when they are others than before: the one
// that seals first.
func (f *ticketFollower) pass(now time.Time) {
	keys := make([][32]byte, 0, len(f.keys)+1)
	for _, k := range f.keys {
		keys = append(keys, k.Secret)
	}
	switch {
	case f.age(now) >= 2*f.m.cfg.TicketPoll: // everybody has had the time to read it
	case len(keys) > 1:
		keys[0], keys[1] = keys[1], keys[0]
	default: // the fleet's first
		if f.own == [32]byte{} {
			_, _ = rand.Read(f.own[:]) // never fails
		}
		keys = append([][32]byte{f.own}, keys...)
	}
	if !slices.Equal(keys, f.current) {
		f.current = keys
		f.set(slices.Clone(keys))
	}
}
