package memory

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestKeys_AreASortedSet compares a long random walk with the plain thing.
func TestKeys_AreASortedSet(t *testing.T) {
	var k keys
	plain := map[string]bool{}
	r := rand.New(rand.NewPCG(1, 2))
	name := func() string { return fmt.Sprintf("%c/%d", 'a'+rune(r.IntN(3)), r.IntN(3000)) }
	for step := range 20_000 {
		key := name()
		if step%20_000 > 15_000 || r.IntN(3) == 0 {
			k.remove(key)
			delete(plain, key)
		} else {
			k.add(key)
			plain[key] = true
		}
		if step%100 != 0 {
			continue
		}
		prefix, after, limit := []string{"", "a", "b/1", "c/", "d"}[r.IntN(5)], []string{"", name()}[r.IntN(2)], 1+r.IntN(1000)
		var want []string
		for key := range plain {
			if strings.HasPrefix(key, prefix) && key > after {
				want = append(want, key)
			}
		}
		slices.Sort(want)
		if got := k.list(prefix, after, limit); !slices.Equal(got, want[:min(limit, len(want))]) {
			t.Fatalf("step %d: list(%q, %q, %d) is %d keys, want %d", step, prefix, after, limit, len(got), len(want))
		}
	}
	for _, c := range k.chunks {
		if len(c) == 0 || len(c) > maxChunk {
			t.Fatalf("a chunk of %d keys", len(c))
		}
	}
}
