package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/shingle-proxy/shingle"
)

// TestBlobs checks the sentences of [shingle.Blobs]. open returns an empty
// store that the test's end closes.
func TestBlobs(t *testing.T, open func(t *testing.T) shingle.Blobs) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, shingle.Blobs)
	}{
		{"PutComparesVersions", testPut},
		{"DeleteComparesVersions", testDelete},
		{"NoVersionReturns", testVersions},
		{"ValuesComeBackWhole", testValues},
		{"ValuesAreCopied", testValuesAreCopied},
		{"KeysAreNotPaths", testKeys},
		{"List", testList},
		{"ListWalksAll", testListWalksAll},
		{"Bounds", testBounds},
		{"NoLostUpdate", testNoLostUpdate},
		{"OneWriterWins", testOneBlobWriterWins},
		{"OneDeleterWins", testOneBlobDeleterWins},
		{"EndedContext", testBlobsEndedContext},
		{"CancelledInFlight", testBlobsCancelledInFlight},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

func testPut(t *testing.T, s shingle.Blobs) {
	ctx := t.Context()
	_, err := s.Get(ctx, "a/b")
	is(t, err, shingle.ErrNotFound)
	v1 := put(t, s, "a/b", "one", shingle.NoVersion)
	_, err = s.Put(ctx, "a/b", []byte("x"), shingle.NoVersion)
	is(t, err, shingle.ErrConflict)
	holds(t, s, "a/b", "one", v1)

	v2 := put(t, s, "a/b", "two", v1)
	if v1 == v2 {
		t.Errorf("two values share the version %q", v1)
	}
	_, err = s.Put(ctx, "a/b", []byte("x"), v1)
	is(t, err, shingle.ErrConflict)
	holds(t, s, "a/b", "two", v2)

	_, err = s.Put(ctx, "a/c", []byte("x"), v2)
	is(t, err, shingle.ErrConflict) // there is no such record
	_, err = s.Get(ctx, "a/c")
	is(t, err, shingle.ErrNotFound)
}

func testDelete(t *testing.T, s shingle.Blobs) {
	ctx := t.Context()
	v1 := put(t, s, "a/b", "one", shingle.NoVersion)
	is(t, s.Delete(ctx, "a/c", v1), shingle.ErrNotFound)
	v2 := put(t, s, "a/b", "two", v1)
	is(t, s.Delete(ctx, "a/b", v1), shingle.ErrConflict)
	is(t, s.Delete(ctx, "a/b", shingle.NoVersion), shingle.ErrConflict)
	holds(t, s, "a/b", "two", v2)

	check(t, s.Delete(ctx, "a/b", v2))
	_, err := s.Get(ctx, "a/b")
	is(t, err, shingle.ErrNotFound)
	is(t, s.Delete(ctx, "a/b", v2), shingle.ErrNotFound)
	_, err = s.Put(ctx, "a/b", []byte("x"), v2)
	is(t, err, shingle.ErrConflict)
	v3 := put(t, s, "a/b", "three", shingle.NoVersion)
	is(t, s.Delete(ctx, "a/b", v1), shingle.ErrConflict)
	holds(t, s, "a/b", "three", v3)
}

// testVersions writes values that differ: each version is good once.
func testVersions(t *testing.T, s shingle.Blobs) {
	old := []string{shingle.NoVersion}
	for i := range 12 {
		old = append(old, put(t, s, "k", fmt.Sprint(i), old[i]))
		for _, version := range old[:i+1] {
			_, err := s.Put(t.Context(), "k", []byte("x"), version)
			is(t, err, shingle.ErrConflict)
		}
	}
}

func testValues(t *testing.T, s shingle.Blobs) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	version := shingle.NoVersion
	for _, value := range []string{"", "\x00", string(all), "é\r\n\xff", strings.Repeat("\x00\xff", shingle.MaxBlobValue/2), ""} {
		version = put(t, s, "k", value, version)
		holds(t, s, "k", value, version)
	}
	_, err := s.Put(t.Context(), "nil", nil, shingle.NoVersion)
	check(t, err)
	b, err := s.Get(t.Context(), "nil")
	check(t, err)
	if len(b.Value) != 0 {
		t.Errorf("no bytes came back as %q", b.Value)
	}
	// The same bytes again are a write like any other. The version may stay.
	version = put(t, s, "nil", "", b.Version)
	holds(t, s, "nil", "", version)
}

func testValuesAreCopied(t *testing.T, s shingle.Blobs) {
	value := []byte("mine")
	version, err := s.Put(t.Context(), "k", value, shingle.NoVersion)
	check(t, err)
	copy(value, "xxxx")
	b, err := s.Get(t.Context(), "k")
	check(t, err)
	same(t, string(b.Value), "mine")
	copy(b.Value, "xxxx")
	holds(t, s, "k", "mine", version)

	keys, err := s.List(t.Context(), "", "", 10)
	check(t, err)
	keys[0] = "x"
	keys, err = s.List(t.Context(), "", "", 10)
	check(t, err)
	same(t, keys, []string{"k"})
}

// testKeys has what trips a store that maps keys to files or URLs: a key that
// is another one's folder, dot segments, and names that differ in case only.
func testKeys(t *testing.T, s shingle.Blobs) {
	keys := []string{
		"*.example.com", ".", "..", "../a", "A", "A/B", "_", "a", "a/.", "a/..", "a/../b", "a/./b",
		"a/B", "a/b", "b", "user@example.com", strings.Repeat("k", shingle.MaxBlobKey),
	}
	versions := map[string]string{}
	for _, k := range keys {
		versions[k] = put(t, s, k, "value of "+k, shingle.NoVersion)
	}
	for _, k := range keys {
		holds(t, s, k, "value of "+k, versions[k])
	}
	got, err := s.List(t.Context(), "", "", pageLimit)
	check(t, err)
	slices.Sort(keys)
	same(t, got, keys)
	check(t, s.Delete(t.Context(), "a", versions["a"]))
	holds(t, s, "a/b", "value of a/b", versions["a/b"])
}

func testList(t *testing.T, s shingle.Blobs) {
	for _, k := range []string{"a/2", "b", "a/10", "gone", "a/1", "A/1", "a-b/1", "a/1.x", "ab/1", "a/*", "a@/1", "a_/1"} {
		version := put(t, s, k, k, shingle.NoVersion)
		if k == "gone" {
			check(t, s.Delete(t.Context(), k, version))
		}
	}
	for _, tt := range []struct {
		prefix, after string
		limit         int
		want          string
	}{
		{"", "", 1000, "A/1 a-b/1 a/* a/1 a/1.x a/10 a/2 a@/1 a_/1 ab/1 b"},
		{"", "a/1.x", 3, "a/10 a/2 a@/1"},
		{"", "b", 10, ""}, // behind the last
		{"a/", "", 10, "a/* a/1 a/1.x a/10 a/2"},
		{"a", "", 2, "a-b/1 a/*"},         // a prefix need not end at a slash
		{"a/1", "", 10, "a/1 a/1.x a/10"}, // a prefix that is a key
		{"b", "", 10, "b"},
		{"A", "", 10, "A/1"}, // case counts
		{"c", "", 10, ""},
		{"a/", "a/1", 2, "a/1.x a/10"}, // behind a key, which is left out
		{"a/", "a/1.x0", 1, "a/10"},    // behind a key that is not there
		{"a/", "A/1", 2, "a/* a/1"},    // behind a key before the prefix
		{"a/", "b", 10, ""},            // behind a key after the prefix
		{"a/2", "a/2", 10, ""},         // behind the prefix itself
	} {
		keys, err := s.List(t.Context(), tt.prefix, tt.after, tt.limit)
		check(t, err)
		if got := strings.Join(keys, " "); got != tt.want {
			t.Errorf("List(%q, %q, %d) = %q, want %q", tt.prefix, tt.after, tt.limit, got, tt.want)
		}
	}
}

// testListWalksAll has more keys than one page may have, S3's own page too.
func testListWalksAll(t *testing.T, s shingle.Blobs) {
	const keys, writers = pageLimit + 5, 16
	race(writers, func(w int) bool {
		for i := w; i < keys; i += writers {
			if _, err := s.Put(t.Context(), fmt.Sprintf("w/%04d", i), nil, shingle.NoVersion); err != nil {
				t.Error(err)
				return false
			}
		}
		return true
	})
	for _, limit := range []int{pageLimit, 300} {
		var got []string
		for after := ""; ; after = got[len(got)-1] {
			page, err := s.List(t.Context(), "w/", after, limit)
			check(t, err)
			if len(page) > limit {
				t.Fatalf("a page of %d, the limit was %d", len(page), limit)
			}
			if got = append(got, page...); len(page) == 0 || len(got) > keys {
				break
			}
		}
		if len(got) != keys || !slices.IsSorted(got) || len(slices.Compact(got)) != keys {
			t.Errorf("pages of %d: %d keys instead of %d, or out of order", limit, len(got), keys)
		}
	}
}

func testBounds(t *testing.T, s shingle.Blobs) {
	ctx := t.Context()
	for _, key := range []string{"", "/", "/a", "a/", "a//b", "a b", "a\x00", "a\n", "é", "a\\b", "a%2f", strings.Repeat("k", shingle.MaxBlobKey+1)} {
		_, err := s.Put(ctx, key, nil, shingle.NoVersion)
		is(t, err, shingle.ErrInvalid)
	}
	_, err := s.Put(ctx, "k", make([]byte, shingle.MaxBlobValue+1), shingle.NoVersion)
	is(t, err, shingle.ErrInvalid)
	keys, err := s.List(ctx, "", "", 10)
	check(t, err)
	if len(keys) != 0 {
		t.Errorf("refused writes left %q", keys)
	}
	key, large := strings.Repeat("k", shingle.MaxBlobKey), strings.Repeat("\xfe", shingle.MaxBlobValue)
	holds(t, s, key, large, put(t, s, key, large, shingle.NoVersion))
}

// testNoLostUpdate counts up from several goroutines, while readers check that
// they never see the count go back.
func testNoLostUpdate(t *testing.T, s shingle.Blobs) {
	const writers, readers, rounds = 8, 2, 10
	put(t, s, "counter", "0", shingle.NoVersion)
	reading, stop := context.WithCancel(t.Context())
	defer stop()
	var watching sync.WaitGroup
	for range readers {
		watching.Go(func() {
			for last := 0; reading.Err() == nil; {
				n, _, err := count(t.Context(), s)
				if err != nil || n < last {
					t.Errorf("read %d after %d: %v", n, last, err)
					return
				}
				last = n
			}
		})
	}
	race(writers, func(int) bool {
		for done := 0; done < rounds; {
			n, version, err := count(t.Context(), s)
			if err == nil {
				runtime.Gosched() // let others in between, in a fast store too
				_, err = s.Put(t.Context(), "counter", fmt.Append(nil, n+1), version)
			}
			if won(t, err, shingle.ErrConflict) {
				done++
			} else if !errors.Is(err, shingle.ErrConflict) {
				return false
			}
		}
		return true
	})
	stop()
	watching.Wait()
	n, _, err := count(t.Context(), s)
	check(t, err)
	same(t, n, writers*rounds)
}

func count(ctx context.Context, s shingle.Blobs) (n int, version string, err error) {
	b, err := s.Get(ctx, "counter")
	if err != nil {
		return 0, "", err
	}
	n, err = strconv.Atoi(string(b.Value))
	return n, b.Version, err
}

// testOneBlobWriterWins lets writers race from the same version, the absent
// record first.
func testOneBlobWriterWins(t *testing.T, s shingle.Blobs) {
	const writers = 8
	before := shingle.NoVersion
	for round := range 5 {
		var winner shingle.Blob // written by one goroutine, unless the store is broken
		var mu sync.Mutex
		wins := race(writers, func(i int) bool {
			value := fmt.Sprintf("round %d, writer %d", round, i)
			version, err := s.Put(t.Context(), "k", []byte(value), before)
			if !won(t, err, shingle.ErrConflict) {
				return false
			}
			mu.Lock()
			defer mu.Unlock()
			winner = shingle.Blob{Value: []byte(value), Version: version}
			return true
		})
		if wins != 1 {
			t.Fatalf("round %d: %d writers won", round, wins)
		}
		holds(t, s, "k", string(winner.Value), winner.Version)
		before = winner.Version
	}
}

func testOneBlobDeleterWins(t *testing.T, s shingle.Blobs) {
	for round := range 5 {
		version := put(t, s, "k", fmt.Sprint(round), shingle.NoVersion)
		wins := race(8, func(i int) bool {
			if i%2 == 0 {
				_, err := s.Put(t.Context(), "k", fmt.Append(nil, "by ", i), version)
				return won(t, err, shingle.ErrConflict)
			}
			return won(t, s.Delete(t.Context(), "k", version), shingle.ErrConflict, shingle.ErrNotFound)
		})
		if wins != 1 {
			t.Fatalf("round %d: %d writers and deleters won", round, wins)
		}
		if b, err := s.Get(t.Context(), "k"); err == nil {
			check(t, s.Delete(t.Context(), "k", b.Version))
		}
	}
}

func testBlobsEndedContext(t *testing.T, s shingle.Blobs) {
	version := put(t, s, "k", "v", shingle.NoVersion)
	ctx := ended(t)
	_, errGet := s.Get(ctx, "k")
	_, errPut := s.Put(ctx, "k", nil, version)
	_, errList := s.List(ctx, "", "", 10)
	refusals(t, map[string]error{"Get": errGet, "Put": errPut, "List": errList, "Delete": s.Delete(ctx, "k", version)})
	put(t, s, "after", "v", shingle.NoVersion)
}

// testBlobsCancelledInFlight ends the context in the middle of writes. What was
// acknowledged must be there, and the store goes on working.
func testBlobsCancelledInFlight(t *testing.T, s shingle.Blobs) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var acknowledged sync.Map
	race(8, func(w int) bool {
		for i := range 100 {
			key := fmt.Sprintf("w%d/%d", w, i)
			version, err := s.Put(ctx, key, []byte(key), shingle.NoVersion)
			if err != nil {
				return false
			}
			acknowledged.Store(key, version)
			if i == 3 {
				cancel()
			}
		}
		return true
	})
	if ctx.Err() == nil {
		t.Fatal("no writer got far enough")
	}
	for key, version := range acknowledged.Range {
		holds(t, s, key.(string), key.(string), version.(string))
	}
	put(t, s, "after", "v", shingle.NoVersion)
}

// put writes a value and returns its version.
func put(t *testing.T, s shingle.Blobs, key, value, ifVersion string) string {
	t.Helper()
	version, err := s.Put(t.Context(), key, []byte(value), ifVersion)
	check(t, err)
	if version == shingle.NoVersion {
		t.Fatalf("the version of %s is empty", key)
	}
	return version
}

// holds checks what the record is.
func holds(t *testing.T, s shingle.Blobs, key, value, version string) {
	t.Helper()
	b, err := s.Get(t.Context(), key)
	check(t, err)
	if b.Key != key || b.Version != version || !bytes.Equal(b.Value, []byte(value)) {
		t.Errorf("%.40s: got key %.40q, version %q, %d bytes %.60q; want version %q, %d bytes %.60q",
			key, b.Key, b.Version, len(b.Value), b.Value, version, len(value), value)
	}
}
