package traffic

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
)

func TestRecord_RoundTrip(t *testing.T) {
	all := map[string]shingle.Traffic{
		"a.example.com":                {Answers: [6]uint64{1, 2, 3, 4, 5, 6}, Origin5xx: 7, OriginErrors: 8, Refused: 9, BytesIn: 1 << 62, BytesOut: 1<<64 - 1},
		"*.example.com":                {},
		strings.Repeat("x", 253):       {BytesIn: 1},
		"xn--bcher-kva.example.com":    {Answers: [6]uint64{2: 1}},
		"blog.customer.com":            {Answers: [6]uint64{2: 100}, BytesOut: 12345},
		"blog.customer.com.example.de": {Answers: [6]uint64{5: 100}},
	}
	got, err := decode(encode(all))
	if err != nil || !maps.Equal(got, all) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := decode(encode(nil)); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func FuzzDecode(f *testing.F) {
	good := encode(map[string]shingle.Traffic{blog: {BytesOut: 5}})
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if counts, err := decode(data); err == nil {
			if again, err := decode(encode(counts)); err != nil || !maps.Equal(counts, again) {
				t.Errorf("%v, %v", again, err)
			}
		}
	})
}

func TestRecord_ThatCannotBeReadIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blobs := &memory.Store{}
		p := start(t, blobs, "one")
		p.add(blog, 7)
		p.end()
		for i, value := range []string{"{}", "nonsense", `{"run":"x","data":"AAAA"}`} {
			if _, err := blobs.Put(t.Context(), keyOf(allDomains, time.Now().UTC(), fmt.Sprint("other", i)), []byte(value), shingle.NoVersion); err != nil {
				t.Fatal(err)
			}
		}
		r, err := reader(t, blobs).Report(t.Context(), blog, 1)
		if err != nil || !r.Partial || r.Hours[0].Requests() != 7 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}
