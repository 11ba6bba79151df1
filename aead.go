package shingle

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
)

// NewAEAD returns AES-256-GCM under a key of 32 bytes, as Shingle seals by it: with a
// random nonce, which is in front of the ciphertext. So a key is good for 2^32 messages
// (NIST SP 800-38D, section 8.3).
func NewAEAD(key []byte) (cipher.AEAD, error) {
	if len(key) != 32 {
		return nil, errors.New("not a key of 32 bytes")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
