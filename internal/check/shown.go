package check

import (
	"context"
	"errors"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

// Shown reads statuses for people, who may see one of a moment ago: from a replica
// nearby, which may be late. [Keeper.Status] is for those who decide.
type Shown struct {
	From interface {
		Get(ctx context.Context, key string) (shingle.Blob, error)
	}
	Unreadable *shingle.Unreadable // told of statuses that cannot be read; nil: nobody is
}

const shownTimeout = 5 * time.Second

// Status returns the status of a host, or [shingle.ErrNotFound] before there is one.
func (s Shown) Status(ctx context.Context, host string) (shingle.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, shownTimeout)
	defer cancel()
	b, err := s.From.Get(ctx, statusKey(host))
	if errors.Is(err, shingle.ErrNotFound) {
		return shingle.Status{}, shingle.Errorf(shingle.CodeNotFound, "%s has no status yet", host)
	}
	if err != nil {
		return shingle.Status{}, err
	}
	var e entry
	err = records.Decode(b, &e, s.Unreadable)
	return e.Status, err
}
