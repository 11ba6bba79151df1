package certs

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/shingle-proxy/shingle"
)

// ChallengeZone is a DNS zone of ours, in which DNS-01 validations of customers'
// domains are answered (RFC 8555 section 8.4). Its methods are safe for concurrent
// use, honour ctx, and take names without the final dot.
type ChallengeZone interface {
	// Name returns the zone's name, in lower case.
	Name() string

	// Delegated returns nil when name leads to target by CNAME records, as the
	// name servers have it that are responsible for them. [shingle.ErrInvalid]
	// tells what they have instead; any other error, that it could not be learned.
	Delegated(ctx context.Context, name, target string) error

	// Publish adds value to the TXT records of name, and returns when every name
	// server of the zone has it, or an error when that takes too long. After an
	// error the value may be there.
	Publish(ctx context.Context, name, value string) error

	// Withdraw removes value, and no other, from the TXT records of name. It is no
	// error when it is not there.
	Withdraw(ctx context.Context, name, value string) error
}

const (
	challengeLabel   = "_acme-challenge." // RFC 8555 section 8.4
	delegationRecord = "delegations"
	labelBytes       = 20 // in 32 characters of a label
)

// delegations derives the names that customers delegate to. The secret in them is
// made on first need and shared by the fleet through the store.
type delegations struct {
	zone   ChallengeZone // nil: there is none
	store  *store
	secret atomic.Pointer[[]byte]
	lock   chan struct{} // held while the secret is loaded or made
}

// storedSecret is the secret as it is stored. With it customers' records would
// have to change, so it lives as long as the store.
type storedSecret struct {
	Secret Sealed `json:"secret"`
}

func newDelegations(zone ChallengeZone, s *store) *delegations {
	return &delegations{zone: zone, store: s, lock: make(chan struct{}, 1)}
}

// Delegation returns the record by which a tenant's domain is delegated to us, or
// [shingle.ErrNotFound] when there is no zone to delegate to. The target is always
// the same for that tenant and domain, and the wildcard's is that of the host above
// it, as they share the record. Nobody can guess it: a customer proves by the
// record that this tenant may act for the domain, and when the domain comes to
// another tenant, an old record is worth nothing.
func (m *Manager) Delegation(ctx context.Context, domain, tenant string) (shingle.Delegation, error) {
	return m.delegations.get(ctx, domain, tenant)
}

func (d *delegations) get(ctx context.Context, domain, tenant string) (shingle.Delegation, error) {
	if d.zone == nil {
		return shingle.Delegation{}, shingle.Errorf(shingle.CodeNotFound, "DNS-01 is not set up here")
	}
	host := strings.TrimPrefix(domain, "*.")
	if len(challengeLabel+host) > shingle.MaxHost {
		return shingle.Delegation{}, shingle.Errorf(shingle.CodeInvalid, "the name is too long for DNS-01")
	}
	secret, err := d.load(ctx)
	if err != nil {
		return shingle.Delegation{}, fmt.Errorf("load delegation secret: %w", err)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(tenant + "/" + host)) // a host has no slash
	label := base32.HexEncoding.EncodeToString(mac.Sum(nil)[:labelBytes])
	return shingle.Delegation{Name: challengeLabel + host, Target: strings.ToLower(label) + "." + d.zone.Name()}, nil
}

// load returns the secret, which is made when there is none.
func (d *delegations) load(ctx context.Context) ([]byte, error) {
	if s := d.secret.Load(); s != nil {
		return *s, nil
	}
	if err := acquire(ctx, d.lock); err != nil {
		return nil, err
	}
	defer func() { <-d.lock }()
	secret, err := d.read(ctx)
	if errors.Is(err, shingle.ErrNotFound) {
		createErr := d.create(ctx)
		if secret, err = d.read(ctx); err != nil {
			err = errors.Join(createErr, err)
		}
	}
	if err != nil {
		return nil, err
	}
	d.secret.Store(&secret)
	return secret, nil
}

func (d *delegations) read(ctx context.Context) ([]byte, error) {
	var stored storedSecret
	if _, err := d.store.get(ctx, delegationRecord, &stored); err != nil {
		return nil, err
	}
	return d.store.keys.open(ctx, stored.Secret, delegationRecord)
}

// create stores a fresh secret, unless another process has just done so.
func (d *delegations) create(ctx context.Context) error {
	secret := make([]byte, sha256.Size)
	_, _ = rand.Read(secret) // never fails
	sealed, err := d.store.keys.seal(ctx, secret, delegationRecord)
	if err != nil {
		return err
	}
	_, err = d.store.put(ctx, delegationRecord, storedSecret{sealed}, shingle.NoVersion)
	if errors.Is(err, shingle.ErrConflict) {
		return nil
	}
	return err
}
