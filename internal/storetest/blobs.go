package storetest

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/shingle-proxy/shingle"
)

// TestBlobs checks the sentences of [shingle.Blobs]. open returns an empty
// store that the test's end closes.
func TestBlobs(t *testing.T, open func(*testing.T) shingle.Blobs) {
	for name, test := range map[string]func(*testing.T, shingle.Blobs){
		"PutGetDelete": testPutGetDelete, "List": testList, "Bounds": testBounds,
		"NoLostUpdate": testNoLostUpdate, "OneCreatorWins": testOneCreatorWins, "EndedContext": testBlobsEndedContext,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func testPutGetDelete(t *testing.T, s shingle.Blobs) {
	ctx := t.Context()
	_, err := s.Get(ctx, "a/b")
	is(t, err, shingle.ErrNotFound)
	is(t, s.Delete(ctx, "a/b", "1"), shingle.ErrNotFound)
	_, err = s.Put(ctx, "a/b", []byte("x"), "1")
	is(t, err, shingle.ErrConflict)

	value := []byte("one\x00\xff")
	v1, err := s.Put(ctx, "a/b", value, shingle.NoVersion)
	check(t, err)
	value[0] = 'X'
	got, err := s.Get(ctx, "a/b")
	check(t, err)
	same(t, got, shingle.Blob{Key: "a/b", Value: []byte("one\x00\xff"), Version: v1})
	got.Value[0] = 'Y'
	_, err = s.Put(ctx, "a/b", nil, shingle.NoVersion)
	is(t, err, shingle.ErrConflict)

	v2, err := s.Put(ctx, "a/b", nil, v1)
	check(t, err)
	if v2 == v1 || v2 == "" {
		t.Errorf("versions %q and %q", v1, v2)
	}
	got, err = s.Get(ctx, "a/b")
	check(t, err)
	if len(got.Value) != 0 || got.Version != v2 {
		t.Errorf("got %+v", got)
	}
	is(t, s.Delete(ctx, "a/b", v1), shingle.ErrConflict)
	check(t, s.Delete(ctx, "a/b", v2))
	_, err = s.Get(ctx, "a/b")
	is(t, err, shingle.ErrNotFound)
	_, err = s.Put(ctx, "a/b", []byte("new"), v2)
	is(t, err, shingle.ErrConflict)
}

func testList(t *testing.T, s shingle.Blobs) {
	ctx := t.Context()
	for _, k := range []string{"a/2", "b", "a/10", "a/1", "A/1", "a-b/1", "a/1.x", "ab/1"} {
		_, err := s.Put(ctx, k, []byte(k), shingle.NoVersion)
		check(t, err)
	}
	for _, tt := range []struct {
		prefix, after string
		limit         int
		want          string
	}{
		{"a/", "", 10, "a/1 a/1.x a/10 a/2"},
		{"a/", "a/1", 2, "a/1.x a/10"},
		{"a/", "a/1.x0", 1, "a/10"},
		{"a/", "b", 10, ""},
		{"", "", 3, "A/1 a-b/1 a/1"},
		{"c", "", 10, ""},
	} {
		keys, err := s.List(ctx, tt.prefix, tt.after, tt.limit)
		check(t, err)
		if got := strings.Join(keys, " "); got != tt.want {
			t.Errorf("List(%q, %q, %d) = %q, want %q", tt.prefix, tt.after, tt.limit, got, tt.want)
		}
	}
}

func testBounds(t *testing.T, s shingle.Blobs) {
	ctx := t.Context()
	for _, key := range []string{"", "/a", "a/", "a//b", "a b", "é", strings.Repeat("k", shingle.MaxBlobKey+1)} {
		_, err := s.Put(ctx, key, nil, shingle.NoVersion)
		is(t, err, shingle.ErrInvalid)
	}
	_, err := s.Put(ctx, "k", make([]byte, shingle.MaxBlobValue+1), shingle.NoVersion)
	is(t, err, shingle.ErrInvalid)
	large := bytes.Repeat([]byte{7}, shingle.MaxBlobValue)
	_, err = s.Put(ctx, strings.Repeat("k", 512), large, shingle.NoVersion)
	check(t, err)
	got, err := s.Get(ctx, strings.Repeat("k", 512))
	check(t, err)
	if !bytes.Equal(got.Value, large) {
		t.Error("a large value came back changed")
	}
}

func testNoLostUpdate(t *testing.T, s shingle.Blobs) {
	ctx := t.Context()
	const writers, rounds = 8, 10
	_, err := s.Put(ctx, "counter", []byte("0"), shingle.NoVersion)
	check(t, err)
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for done := 0; done < rounds; {
				b, err := s.Get(ctx, "counter")
				if err != nil {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(b.Value))
				if _, err = s.Put(ctx, "counter", fmt.Append(nil, n+1), b.Version); err == nil {
					done++
				} else {
					is(t, err, shingle.ErrConflict)
				}
			}
		})
	}
	all.Wait()
	b, err := s.Get(ctx, "counter")
	check(t, err)
	same(t, string(b.Value), strconv.Itoa(writers*rounds))
}

func testOneCreatorWins(t *testing.T, s shingle.Blobs) {
	ctx := t.Context()
	for round := range 5 {
		key := fmt.Sprint("k", round)
		wins := race(8, func() bool {
			_, err := s.Put(ctx, key, []byte("v"), shingle.NoVersion)
			if err != nil {
				is(t, err, shingle.ErrConflict)
			}
			return err == nil
		})
		if wins != 1 {
			t.Fatalf("%d creators won", wins)
		}
	}
}

func testBlobsEndedContext(t *testing.T, s shingle.Blobs) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Put(ctx, "k", nil, shingle.NoVersion); err == nil {
		t.Error("a write with an ended context succeeded")
	}
	_, err := s.Put(t.Context(), "k", nil, shingle.NoVersion)
	check(t, err)
}
