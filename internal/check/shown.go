package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Shown reads statuses for people, who may see one of a moment ago: from a replica
// nearby, which may be late. [Keeper.Status] is for those who decide.
type Shown struct {
	From interface {
		Get(ctx context.Context, key string) (shingle.Blob, error)
	}
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
	var st shingle.Status
	if err := json.Unmarshal(b.Value, &st); err != nil {
		return st, fmt.Errorf("decode status of %s: %w", host, err)
	}
	return st, nil
}
