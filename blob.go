package shingle

import "context"

// NoVersion, given to [Blobs.Put], means that the key must not exist yet.
const NoVersion = ""

// MaxBlobKey and MaxBlobValue bound a key and a value, in bytes. An S3 object's
// name must fit in 1024 bytes together with the store's own prefix, and a
// DynamoDB item in 400 KB together with its key.
const (
	MaxBlobKey   = 512
	MaxBlobValue = 384 << 10
)

// Blob is one record of a [Blobs] store.
type Blob struct {
	Key   string
	Value []byte
	// Version identifies this state of the record. It is opaque, never empty,
	// and good only for the next conditional write. Two writes of the same
	// bytes may share a version (the stores we have see to it that they do not),
	// so a record that must never look unchanged after a change, such as a lease,
	// carries a nonce.
	Version string
}

// Blobs is an ordered key-value store with compare-and-swap. Certificates,
// leases, ACME accounts, challenge tokens and budgets are kept in one.
//
// Keys are valid UTF-8 made of segments joined by "/": letters, digits and
// ".-_@*" in each, no empty segment, ordered by bytes. All methods are safe for
// concurrent use, honour ctx, and are linearizable on one key.
//
// Any error other than [ErrNotFound], [ErrConflict] and [ErrInvalid] leaves
// open whether a write happened: the caller reads again to learn.
type Blobs interface {
	// Get returns the record, or [ErrNotFound]. The value belongs to the caller.
	Get(ctx context.Context, key string) (Blob, error)

	// Put writes value if the record's version is still ifVersion ([NoVersion]:
	// if there is no such record) and returns the new version. It returns
	// [ErrConflict] when the record differs, and [ErrInvalid] for a key or a
	// value out of bounds. The value is not kept.
	Put(ctx context.Context, key string, value []byte, ifVersion string) (version string, err error)

	// Delete removes the record if its version is still ifVersion. It returns
	// [ErrConflict] when the record differs and [ErrNotFound] when it is gone.
	Delete(ctx context.Context, key, ifVersion string) error

	// List returns the keys that begin with prefix and sort after `after`, in
	// byte order, at most limit (1 to 1000) of them. An empty prefix lists all.
	List(ctx context.Context, prefix, after string, limit int) ([]string, error)
}

// CheckBlob returns [ErrInvalid] for a key or a value that no [Blobs] takes.
// Every implementation calls it before a write, so that all refuse alike.
func CheckBlob(key string, value []byte) error {
	switch {
	case key == "" || len(key) > MaxBlobKey:
		return &Error{Code: CodeInvalid, Field: "key", Message: "a key has 1 to 512 bytes"}
	case len(value) > MaxBlobValue:
		return &Error{Code: CodeInvalid, Field: "value", Message: "a value has at most 393216 bytes"}
	}
	segment := 0
	for i := range len(key) {
		c := key[i]
		switch {
		case c == '/' && segment > 0 && i < len(key)-1:
			segment = 0
			continue
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '.', c == '-', c == '_', c == '@', c == '*':
			segment++
		default:
			return &Error{Code: CodeInvalid, Field: "key", Message: "a key is made of segments of letters, digits and .-_@* joined by single slashes"}
		}
	}
	return nil
}
