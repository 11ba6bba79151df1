package certs

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
)

// Sealed is an encrypted value.
type Sealed struct {
	// KeyID names the data key.
	KeyID string `json:"key_id"`
	// Data is a random nonce and the ciphertext of AES-256-GCM, which
	// authenticates the record's store key too: moved to another record it does
	// not open.
	Data []byte `json:"data"`
}

// sealKey seals a private key in PKCS #8.
func (s *store) sealKey(ctx context.Context, key crypto.Signer, record string) (Sealed, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Sealed{}, fmt.Errorf("encode key: %w", err)
	}
	sealed, err := s.keys.seal(ctx, der, record)
	if err != nil {
		return Sealed{}, fmt.Errorf("seal key: %w", err)
	}
	return sealed, nil
}

// openKey reverses sealKey.
func (s *store) openKey(ctx context.Context, sealed Sealed, record string) (crypto.Signer, error) {
	der, err := s.keys.open(ctx, sealed, record)
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
