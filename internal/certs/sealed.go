package certs

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// SealedPlace is where in the store a kind of value is sealed. Nothing is sealed
// elsewhere, so that a rewrap finds all there is.
type SealedPlace struct {
	// Kind names the values, for people: "webhook secrets".
	Kind string
	// Key is the record's key, or what the keys of such records begin with, which
	// ends with a slash.
	Key string
	// Field is the member of the record that has the value: a [Sealed], or a string
	// that is the base64 of one. It may be missing.
	Field string
	// Lost makes the best of the record at key when nobody can open its value any
	// more. It can be repeated. Default: the record is removed.
	Lost func(ctx context.Context, key string) error
}

// has reports whether the record at key is one of the place's.
func (p *SealedPlace) has(key string) bool {
	if strings.HasSuffix(p.Key, "/") {
		return strings.HasPrefix(key, p.Key) && len(key) > len(p.Key)
	}
	return key == p.Key
}

// sealedPlaces are those of this package, and of the others that seal by it.
func (c *Config) sealedPlaces() []SealedPlace {
	return append([]SealedPlace{
		{Kind: "account key", Key: accountKeyRecord, Field: "key"},
		{Kind: "delegation secret", Key: delegationRecord, Field: "secret"},
		{Kind: "ticket keys", Key: ticketRecord, Field: "keys"},
		{Kind: "orders", Key: journalKey(""), Field: "key"},
		{Kind: "certificates", Key: certKey(""), Field: "key"},
	}, c.Sealed...)
}

// mayHold reports whether something may be sealed in the record at key.
func mayHold(places []SealedPlace, key string) bool {
	return slices.ContainsFunc(places, func(p SealedPlace) bool { return p.has(key) })
}

// sealedRecord is a record with a sealed value, of whose other members nothing need be known.
type sealedRecord struct {
	members map[string]json.RawMessage
	value   Sealed // its KeyID is empty when there is none
	text    bool   // the member is a string
}

// read takes in the record's value.
func (p *SealedPlace) read(key string, value []byte) (r sealedRecord, err error) {
	if err := json.Unmarshal(value, &r.members); err != nil {
		return r, shingle.UnreadableError(key, err)
	}
	member := r.members[p.Field]
	if len(member) > 0 && member[0] == '"' {
		r.text = true
		var inner []byte
		if err := json.Unmarshal(member, &inner); err != nil {
			return r, fmt.Errorf("decode %s of %s: not base64", p.Field, key)
		}
		member = inner
	}
	if len(member) == 0 {
		return r, nil
	}
	if json.Unmarshal(member, &r.value) != nil {
		return r, fmt.Errorf("decode %s of %s: not a sealed value", p.Field, key)
	}
	return r, nil
}

// with returns the record with another value in its place.
func (p *SealedPlace) with(r sealedRecord, s Sealed) (map[string]json.RawMessage, error) {
	member, err := json.Marshal(s)
	if err == nil && r.text {
		member, err = json.Marshal(member) // of bytes: base64
	}
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", p.Field, err)
	}
	r.members[p.Field] = member
	return r.members, nil
}
