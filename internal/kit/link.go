package kit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/shingle-proxy/shingle"
)

// MaxLife is how long a link may be good.
const MaxLife = 366 * 24 * time.Hour

// badLink is why a link is not good.
type badLink struct {
	key    string // of the texts about it
	status int    // of HTTP
}

// Error returns the key.
func (e *badLink) Error() string { return e.key }

var (
	errForged  = &badLink{"gone.forged", http.StatusNotFound}
	errExpired = &badLink{"gone.expired", http.StatusGone}
	errRevoked = &badLink{"gone.revoked", http.StatusGone} // by somebody, or the domain was deleted, or had another tenant since
)

// A link's last part is the base64 of these: when it ends, whose it is, and a MAC of
// both and the host. That it is one of ours can be told without the store.
const (
	endBytes   = 5 // Unix seconds
	ownerBytes = 12
	macBytes   = 16
)

// SetupPath returns the path, below the URL of the control plane, of the page for a
// domain, which is good until then: unless the domain is deleted or goes to another
// tenant, or the row has a later SetupGeneration. It returns [shingle.ErrInvalid] for a time out of bounds.
func (k *Kit) SetupPath(ctx context.Context, d shingle.Domain, until time.Time) (string, error) {
	now := k.cfg.Now()
	if !until.After(now) || until.Sub(now) > MaxLife {
		return "", &shingle.Error{Code: shingle.CodeInvalid, Field: "expires_at", Message: "a link ends within a year from now"}
	}
	is := k.cfg.Checker.Instructions(d.Host, d.Tenant)
	if is.Target == "" && len(is.Addresses) == 0 {
		return "", shingle.Errorf(shingle.CodeForbidden, "it is not known what customers are to set: the operator has set neither --cname-target nor --edge-address")
	}
	key, err := k.key.make(ctx)
	if err != nil {
		return "", err
	}
	return pathPrefix + d.Host + "/" + makeToken(key, &d, until), nil
}

func makeToken(key []byte, d *shingle.Domain, until time.Time) string {
	token := binary.BigEndian.AppendUint64(nil, uint64(until.Unix()))[8-endBytes:] //nolint:gosec // after 1970
	token = append(token, owner(key, d)...)
	token = append(token, mac(key, d.Host, token)...)
	return base64.RawURLEncoding.EncodeToString(token)
}

// owner says whose a domain is, and of which generation its links are, without telling
// anybody.
func owner(key []byte, d *shingle.Domain) []byte {
	parts := []string{"owner 1", d.Host, d.Tenant, strconv.FormatInt(d.CreatedAt.UnixMicro(), 10)}
	if d.SetupGeneration != 0 { // links from before there were generations are of the first one
		parts = append(parts, strconv.FormatInt(d.SetupGeneration, 10))
	}
	return sum(key, parts...)[:ownerBytes]
}

func mac(key []byte, host string, head []byte) []byte {
	return sum(key, "link 1", host, string(head))[:macBytes]
}

func sum(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, part := range parts {
		_ = binary.Write(h, binary.BigEndian, uint32(len(part))) //nolint:gosec // short; never fails
		h.Write([]byte(part))
	}
	return h.Sum(nil)
}

// open returns the domain that a link is for. It returns errForged, errExpired or
// errRevoked, before it reads the store for all but the last.
func (k *Kit) open(ctx context.Context, host, token string) (shingle.Domain, error) {
	host, err := shingle.NormalizeDomain(host)
	if err != nil {
		return shingle.Domain{}, errForged
	}
	key, err := k.key.get(ctx)
	if errors.Is(err, shingle.ErrNotFound) {
		err = errForged
	}
	if err != nil {
		return shingle.Domain{}, err
	}
	whose, err := verify(key, host, token, k.cfg.Now())
	if err != nil {
		return shingle.Domain{}, err
	}
	d, err := k.cfg.Domains.Domain(ctx, host)
	if errors.Is(err, shingle.ErrNotFound) || err == nil && subtle.ConstantTimeCompare(whose, owner(key, &d)) != 1 {
		return shingle.Domain{}, errRevoked
	}
	return d, err
}

// verify returns whose a link is.
func verify(key []byte, host, token string, now time.Time) (whose []byte, err error) {
	const head = endBytes + ownerBytes
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) != head+macBytes || subtle.ConstantTimeCompare(b[head:], mac(key, host, b[:head])) != 1 {
		return nil, errForged
	}
	end := binary.BigEndian.Uint64(append(make([]byte, 8-endBytes), b[:endBytes]...))
	if now.Unix() >= int64(end) { //nolint:gosec // of five bytes
		return nil, errExpired
	}
	return b[endBytes:head], nil
}
