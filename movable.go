package shingle

import "context"

// MovableStore is a [DomainStore] that can be moved to another place as it is.
type MovableStore interface {
	DomainStore

	// LoadDomains writes rows as they are, with their versions and times, over
	// those that are there. It tells no change: it is for a store that nobody
	// follows yet. It can be repeated, and may have written a part when it fails.
	LoadDomains(ctx context.Context, rows []Domain) error
}
