package files

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounded is a [shingle.Blobs] in a folder that takes at most a number of bytes
// on the disk: when there is too much, the records that were put longest ago go.
// To put what is there already counts, so a caller keeps what it uses. One
// process at a time uses the folder.
type Bounded struct {
	*Store
	max    int64
	prefix string // of the names of files that may go

	mu   sync.Mutex // held by a writer
	size int64      // of all files that may go; what others do is found by the next sweep
}

// touchEvery is how exactly the time of the last Put is kept: to touch a file is
// a write.
const touchEvery = time.Hour

// sweepTo is how much of the bound is left full when records go, in tenths: to
// find the oldest means to look at all.
const sweepTo = 9

// OpenBounded returns the store in the folder dir, which it makes, for the owner
// alone, when it is not there. Only records whose keys begin with prefix are
// counted, and may go. The caller closes it.
func OpenBounded(dir, prefix string, maxBytes int64) (*Bounded, error) {
	s, err := Open(dir)
	if err != nil {
		return nil, err
	}
	b := &Bounded{Store: s, max: maxBytes, prefix: escaper.Replace(prefix)}
	if err := b.sweep(); err != nil {
		return nil, errors.Join(unavailable("count", err), s.Close())
	}
	return b, nil
}

// Put implements [shingle.Blobs].
func (b *Bounded) Put(ctx context.Context, key string, value []byte, ifVersion string) (version string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old, err := b.Get(ctx, key)
	if err == nil && old.Version == ifVersion && bytes.Equal(old.Value, value) {
		return ifVersion, b.touch(key)
	}
	version, err = b.Store.Put(ctx, key, value, ifVersion)
	if err != nil || !b.counts(fileName(key)) {
		return version, err
	}
	if old.Version != "" {
		b.size -= blocks(int64(len(old.Value)))
	}
	if b.size += blocks(int64(len(value))); b.size <= b.max {
		return version, nil
	}
	if err := b.sweep(); err != nil {
		return "", unavailable("remove", err)
	}
	return version, nil
}

// Delete implements [shingle.Blobs].
func (b *Bounded) Delete(ctx context.Context, key, ifVersion string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	old, _ := b.Get(ctx, key) // the real deletion tells of a failure
	err := b.Store.Delete(ctx, key, ifVersion)
	if err == nil && b.counts(fileName(key)) {
		b.size -= blocks(int64(len(old.Value)))
	}
	return err
}

// touch makes a record one that was just put.
func (b *Bounded) touch(key string) error {
	path, now := b.path(key), time.Now()
	info, err := os.Stat(path)
	if err == nil && now.Sub(info.ModTime()) >= touchEvery {
		err = os.Chtimes(path, now, now)
	}
	if err != nil {
		return unavailable("touch", err)
	}
	return nil
}

func (b *Bounded) counts(name string) bool {
	return strings.HasPrefix(name, b.prefix) && strings.HasSuffix(name, suffix)
}

// aged is a record's file.
type aged struct {
	name string
	put  time.Time
	size int64
}

// sweep counts the files, and removes the oldest when there is too much. It is
// no loss when a crash of the machine brings some of them back.
func (b *Bounded) sweep() error {
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return err
	}
	var list []aged
	b.size = 0
	for _, e := range entries {
		if !b.counts(e.Name()) {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		list = append(list, aged{e.Name(), info.ModTime(), blocks(info.Size())})
		b.size += blocks(info.Size())
	}
	if b.size <= b.max {
		return nil
	}
	slices.SortFunc(list, func(x, y aged) int { return cmp.Or(x.put.Compare(y.put), strings.Compare(x.name, y.name)) })
	for _, f := range list {
		if b.size <= b.max/10*sweepTo {
			break
		}
		if err := os.Remove(filepath.Join(b.dir, f.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		b.size -= f.size
	}
	return nil
}

// blocks is what a file takes on a disk that gives it whole blocks of 4 KiB.
func blocks(size int64) int64 {
	const block = 4 << 10
	return (size + block - 1) / block * block
}
