package memory

import (
	"slices"
	"strings"
)

// keys is an ordered set of keys, in chunks of bounded size, so that neither a
// change nor a list costs what the set holds. Its zero value is empty and ready.
type keys struct {
	chunks [][]string // none is empty; each is in order, as are they
}

const maxChunk = 512

// find returns the chunk in which key is or belongs, and where in it.
func (k *keys) find(key string) (chunk, at int, found bool) {
	chunk, _ = slices.BinarySearchFunc(k.chunks, key, func(c []string, key string) int {
		if c[len(c)-1] < key {
			return -1
		}
		return 1
	})
	if chunk == len(k.chunks) {
		return chunk, 0, false
	}
	at, found = slices.BinarySearch(k.chunks[chunk], key)
	return chunk, at, found
}

func (k *keys) add(key string) {
	chunk, at, found := k.find(key)
	switch {
	case found:
		return
	case len(k.chunks) == 0:
		k.chunks = [][]string{{key}}
		return
	case chunk == len(k.chunks):
		chunk--
		at = len(k.chunks[chunk])
	}
	c := slices.Insert(k.chunks[chunk], at, key)
	k.chunks[chunk] = c
	if len(c) > maxChunk {
		half := len(c) / 2
		k.chunks[chunk] = slices.Clone(c[:half])
		k.chunks = slices.Insert(k.chunks, chunk+1, slices.Clone(c[half:]))
	}
}

func (k *keys) remove(key string) {
	chunk, at, found := k.find(key)
	if !found {
		return
	}
	if c := slices.Delete(k.chunks[chunk], at, at+1); len(c) > 0 {
		k.chunks[chunk] = c
	} else {
		k.chunks = slices.Delete(k.chunks, chunk, chunk+1)
	}
}

// list returns the first keys that begin with prefix and sort after `after`.
func (k *keys) list(prefix, after string, limit int) (list []string) {
	chunk, at, _ := k.find(max(prefix, after))
	for ; chunk < len(k.chunks); chunk, at = chunk+1, 0 {
		for _, key := range k.chunks[chunk][at:] {
			switch {
			case key <= after:
			case !strings.HasPrefix(key, prefix), len(list) == limit:
				return list
			default:
				list = append(list, key)
			}
		}
	}
	return list
}
