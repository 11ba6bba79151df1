package shingle

import (
	"bytes"
	"testing"
)

func TestNewAEAD_BindsTheContext(t *testing.T) {
	t.Parallel()
	aead, err := NewAEAD(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	sealed := aead.Seal(nil, nil, []byte("secret"), []byte("here"))
	if got, err := aead.Open(nil, nil, sealed, []byte("here")); err != nil || string(got) != "secret" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := aead.Open(nil, nil, sealed, []byte("elsewhere")); err == nil {
		t.Error("it opens elsewhere")
	}
	if again := aead.Seal(nil, nil, []byte("secret"), []byte("here")); bytes.Equal(again, sealed) {
		t.Error("a nonce came twice")
	}
	for _, n := range []int{0, 16, 24, 31, 33} {
		if _, err := NewAEAD(make([]byte, n)); err == nil {
			t.Errorf("a key of %d bytes is taken", n)
		}
	}
}
