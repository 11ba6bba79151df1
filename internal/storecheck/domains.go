package storecheck

import (
	"context"
	"errors"

	"github.com/shingle-proxy/shingle"
)

// Domains reads as an edge does. It reports whether the store answers.
func (r *Report) Domains(ctx context.Context, s shingle.DomainStore) (answers bool) {
	var t timer
	for range calls {
		for _, ask := range []func() error{
			func() error { _, err := s.Head(ctx); return err },
			func() error { _, err := s.Domains(ctx, "", 1); return err },
			func() error { _, err := s.Domain(ctx, "store-check.invalid"); return absent(err) },
		} {
			if err := t.time(ask); err != nil {
				return r.Fail("domains", err)
			}
		}
	}
	r.ok("domains", t.String())
	return true
}

// absent is an error unless err says that there is no such record.
func absent(err error) error {
	switch {
	case errors.Is(err, shingle.ErrNotFound):
		return nil
	case err == nil:
		return errors.New("there is what nobody has written")
	}
	return err
}
