package files

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// List implements [shingle.Blobs]. It reads the names in the whole folder each
// time, and holds no more of them than a few pages.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if limit < 1 || limit > 1000 {
		return nil, &shingle.Error{Code: shingle.CodeInvalid, Field: "limit", Message: "a limit is 1 to 1000"}
	}
	d, err := os.Open(s.dir)
	if err != nil {
		return nil, unavailable("list", err)
	}
	defer d.Close() //nolint:errcheck // only read
	p := page{prefix: prefix, after: after, limit: limit}
	for {
		if err := ctx.Err(); err != nil {
			return nil, unavailable("list", err)
		}
		entries, err := d.ReadDir(256)
		for _, e := range entries {
			if err := s.listOne(e.Name(), &p); err != nil {
				return nil, err
			}
		}
		if errors.Is(err, io.EOF) {
			return p.result(), nil
		}
		if err != nil {
			return nil, unavailable("list", err)
		}
	}
}

func (s *Store) listOne(name string, p *page) error {
	key, isRecord := keyOf(name)
	if !isRecord {
		return nil
	}
	if key == "" {
		f, err := readFile(filepath.Join(s.dir, name))
		if errors.Is(err, shingle.ErrNotFound) {
			return nil // deleted since
		}
		if err != nil {
			return err
		}
		key = f.key
	}
	if shingle.CheckBlob(key, nil) == nil { // else it is not a file of ours
		p.add(key)
	}
	return nil
}

// page collects the first limit of the keys that it is given in any order.
type page struct {
	prefix, after string
	limit         int
	keys          []string
}

func (p *page) add(key string) {
	if !strings.HasPrefix(key, p.prefix) || key <= p.after {
		return
	}
	if p.keys = append(p.keys, key); len(p.keys) >= 4*p.limit {
		p.keys = p.result()
	}
}

// result returns the page. A folder that changes may name a file twice.
func (p *page) result() []string {
	slices.Sort(p.keys)
	p.keys = slices.Compact(p.keys)
	return p.keys[:min(len(p.keys), p.limit)]
}
