package app

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// playedParameter is a parameter, or the outage of one.
type playedParameter struct {
	keys [][]byte
	err  error
}

// Keys implements the interface that a parameterKey reads.
func (p *playedParameter) Keys(context.Context) ([][]byte, error) { return p.keys, p.err }

func openPlayed(t *testing.T, dir string, p *playedParameter) (*parameterKey, error) {
	t.Helper()
	k := &parameterKey{path: filepath.Join(dir, keyFileName), parameter: p, log: slog.New(slog.DiscardHandler)}
	return k, k.open(t.Context())
}

func TestParameterKey_OneMachineOpensWhatAnotherWrapped(t *testing.T) {
	p := &playedParameter{keys: [][]byte{bytes.Repeat([]byte{1}, shingle.MasterKeySize)}}
	one, err := openPlayed(t, t.TempDir(), p)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	other, err := openPlayed(t, dir, p)
	if err != nil {
		t.Fatal(err)
	}
	w, err := one.Wrap(t.Context(), []byte("secret"), "test")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := other.Unwrap(t.Context(), w, "test"); err != nil || string(got) != "secret" {
		t.Errorf("%q, %v", got, err)
	}

	// The next key wraps where it was read, and is read where it is met.
	p.keys = append(p.keys, bytes.Repeat([]byte{2}, shingle.MasterKeySize))
	one.read, other.read = time.Time{}, time.Time{}
	next, err := one.Wrap(t.Context(), []byte("secret"), "test")
	if err != nil || next.KeyID == w.KeyID {
		t.Fatalf("wrapped under %s, %v", next.KeyID, err)
	}
	if got, err := other.Unwrap(t.Context(), next, "test"); err != nil || string(got) != "secret" {
		t.Errorf("under the next key: %q, %v", got, err)
	}

	// A machine that starts while the parameter does not answer has its copy.
	p.err = &shingle.Error{Code: shingle.CodeUnavailable, Message: "away"}
	again, err := openPlayed(t, dir, p)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Unwrap(t.Context(), next, "test"); err != nil || string(got) != "secret" {
		t.Errorf("by the copy: %q, %v", got, err)
	}
	if _, err := openPlayed(t, t.TempDir(), p); !errors.Is(err, shingle.ErrUnavailable) {
		t.Errorf("without a copy: %v", err)
	}
}

func TestParameterKey_RefusesKeysOfAnotherInstallation(t *testing.T) {
	dir, p := t.TempDir(), &playedParameter{keys: [][]byte{bytes.Repeat([]byte{1}, shingle.MasterKeySize)}}
	if _, err := openPlayed(t, dir, p); err != nil {
		t.Fatal(err)
	}
	p.keys[0] = bytes.Repeat([]byte{9}, shingle.MasterKeySize)
	if _, err := openPlayed(t, dir, p); !errors.Is(err, shingle.ErrInvalid) {
		t.Errorf("another key in its place: %v", err)
	}
	p.err = shingle.Errorf(shingle.CodeInvalid, "AWS does not allow it")
	if _, err := openPlayed(t, dir, p); !errors.Is(err, shingle.ErrInvalid) {
		t.Errorf("what the operator must mend is no outage: %v", err)
	}
}
