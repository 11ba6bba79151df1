package certs

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
)

// Sealer encrypts private keys for storage. Its methods are safe for concurrent
// use and honour ctx.
type Sealer interface {
	// Seal encrypts plain for the record with that store key. The key is
	// authenticated: a value moved to another record does not open.
	Seal(ctx context.Context, plain []byte, record string) (Sealed, error)

	// Open reverses Seal. No error carries a part of the plaintext.
	Open(ctx context.Context, s Sealed, record string) (plain []byte, err error)
}

// Sealed is an encrypted value.
type Sealed struct {
	KeyID string `json:"key_id"` // of the master key; tells what must be re-sealed after a rotation
	Data  []byte `json:"data"`   // the Sealer's own format
}

// sealKey seals a private key in PKCS #8.
func (s *store) sealKey(ctx context.Context, key crypto.Signer, record string) (Sealed, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Sealed{}, fmt.Errorf("encode key: %w", err)
	}
	sealed, err := s.sealer.Seal(ctx, der, record)
	if err != nil {
		return Sealed{}, fmt.Errorf("seal key: %w", err)
	}
	return sealed, nil
}

// openKey reverses sealKey.
func (s *store) openKey(ctx context.Context, sealed Sealed, record string) (crypto.Signer, error) {
	der, err := s.sealer.Open(ctx, sealed, record)
	if err != nil {
		return nil, fmt.Errorf("open key: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("parse key: not PKCS #8") // the parser's error could quote the key
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("parse key: it cannot sign")
	}
	return signer, nil
}
