package tokens

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/shingle-proxy/shingle"
)

var (
	errUnknown = shingle.Errorf(shingle.CodeUnauthorized, "this API token is not known here")
	errGuesses = shingle.Errorf(shingle.CodeLimited, "too many API tokens that are not known here: try again in a minute")
)

// CheckToken returns the token with that text. It returns
// [shingle.ErrUnauthorized] when there is none, [shingle.ErrLimited] when too
// many wrong ones came from the network of from, or from everywhere, and
// [shingle.ErrUnavailable] when that cannot be learned now.
//
// An unknown ID costs the same comparison as a known one, so that the time taken
// does not tell them apart.
func (k *Keeper) CheckToken(ctx context.Context, text string, from netip.Addr) (shingle.Token, error) {
	id, ok := shingle.TokenID(text)
	if !ok {
		return shingle.Token{}, errUnknown
	}
	now := k.now()
	k.mu.Lock()
	found := k.known[id]
	k.mu.Unlock()
	right := found.token.Matches(text)
	if now.Sub(found.at) < Fresh {
		if !right && !k.mayGuess(from, now) {
			return shingle.Token{}, errGuesses
		}
	} else {
		var err error
		if found, err = k.load(ctx, id, from, found.proven && right); errors.Is(err, errGuesses) {
			return shingle.Token{}, errGuesses
		} else if err != nil {
			return shingle.Token{}, &shingle.Error{Code: shingle.CodeUnavailable, Message: "the API token cannot be checked now, try again later", Err: err}
		}
	}
	switch {
	case !found.token.Matches(text) || found.version == "":
		return shingle.Token{}, errUnknown
	case found.token.Expired(now):
		return shingle.Token{}, shingle.Errorf(shingle.CodeUnauthorized, "this API token expired at %s", found.token.ExpiresAt.Format(time.RFC3339))
	}
	k.use(ctx, found, now)
	return found.token, nil
}

// mayGuess takes one attempt out of those of a network.
func (k *Keeper) mayGuess(from netip.Addr, now time.Time) bool {
	network, ok := shingle.Network(from)
	return !ok || k.guesses.Allow(network, now)
}

// load reads a token into memory, once for all who want it at the same time. Unless it was
// good before, it may be invented, and is one attempt of all from a network who do: many
// who come at once with a token that was not used here yet are no attack.
func (k *Keeper) load(ctx context.Context, id string, from netip.Addr, proven bool) (known, error) {
	flight := id
	if !proven {
		network, _ := shingle.Network(from)
		flight += " " + network.String()
	}
	v, err, _ := k.flights.Do(flight, func() (any, error) {
		if now := k.now(); !proven && (!k.mayGuess(from, now) || !k.reads.AllowN(now, 1)) {
			return known{}, errGuesses
		}
		found, err := k.read(context.WithoutCancel(ctx), k.near, id) // which has a bound of its own
		if err != nil {
			return found, err
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		before := k.known[id]
		if !before.at.Before(found.at) {
			return before, nil // it was revoked, or expired, here since it was read
		}
		found.proven = before.proven && found.version != ""
		if before.token.LastUsed.After(found.token.LastUsed) {
			found.token.LastUsed = before.token.LastUsed // it was not written, or has not arrived
		}
		k.remember(id, found)
		return found, nil
	})
	found, _ := v.(known)
	return found, err
}

// remember keeps what is known of an ID; the caller has the lock. When there is
// no room what nobody has proven goes first, for whoever invents tokens must not make
// this forget those that are good.
func (k *Keeper) remember(id string, found known) {
	if _, there := k.known[id]; !there && len(k.known) >= maxKnown {
		now := k.now()
		for _, dispensable := range []func(known) bool{
			func(x known) bool { return !x.proven && now.Sub(x.at) >= Fresh },
			func(x known) bool { return !x.proven },
			func(x known) bool { return now.Sub(x.at) >= Fresh },
			func(known) bool { return true },
		} {
			for old, x := range k.known {
				if len(k.known) > maxKnown/2 && dispensable(x) {
					delete(k.known, old)
				}
			}
			if len(k.known) < maxKnown {
				break
			}
		}
	}
	k.known[id] = found
}

// use notes that a token was used: that somebody has its secret, and, now and
// then, in its record. That nobody waits long for, nor minds when it fails: the
// next one to read the record tries again.
func (k *Keeper) use(ctx context.Context, found known, now time.Time) {
	before := found.token.LastUsed
	stale := now.Sub(before) >= usedEvery
	if found.proven && !stale {
		return
	}
	found.proven = true
	if stale {
		found.token.LastUsed = now.UTC().Truncate(time.Microsecond)
	}
	k.mu.Lock()
	// One of those who come at the same time writes, and what was revoked
	// meanwhile does not come back.
	current := k.known[found.token.ID]
	mine := current.version == found.version && current.token.LastUsed.Equal(before)
	if mine {
		k.known[found.token.ID] = found
	}
	k.mu.Unlock()
	if !stale || !mine {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := k.records.Put(ctx, idsPrefix+found.token.ID, encode(&found.token), found.version)
	if err != nil && !errors.Is(err, shingle.ErrConflict) && ctx.Err() == nil {
		k.log.Warn("last use of an API token not noted", "token", found.token.ID, "error", err)
	}
}
