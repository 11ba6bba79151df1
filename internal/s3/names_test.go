package s3

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
)

// FuzzNames holds names to what List and Get need of them.
func FuzzNames(f *testing.F) {
	long := strings.Repeat("k", 250)
	for _, seed := range [][2]string{
		{"a", "a/b"}, {"..", "../a"}, {"a-b/1", "a/1"}, {"-a/.b", ".a/-b"}, {"a/*", "a/-"},
		{long, long + "/a"}, {long + "/a", long + "a"}, {long + "-", long + "/-"}, {long + long, long + "/" + long}, {long + "/" + long + "x", long + "/" + long},
	} {
		f.Add(seed[0], seed[1])
	}
	s := &Store{folder: "p/"}
	f.Fuzz(func(t *testing.T, a, b string) {
		if shingle.CheckBlob(a, nil) != nil || shingle.CheckBlob(b, nil) != nil {
			return
		}
		x, y := s.encode(a)+string(end), s.encode(b)+string(end)
		if cmp.Compare(x, y) != cmp.Compare(a, b) {
			t.Errorf("%q and %q sort otherwise than %q and %q", x, y, a, b)
		}
		if back, ok := s.decode(x); !ok || back != a {
			t.Errorf("%q came back as %q, %v", a, back, ok)
		}
		if strings.HasPrefix(y, s.encode(a)) != strings.HasPrefix(b, a) {
			t.Errorf("the prefix %q: %q of %q", a, y, b)
		}
		if len(x) > maxPrefix+1+shingle.MaxBlobKey+8 {
			t.Errorf("%d bytes", len(x))
		}
		for part := range strings.SplitSeq(x, "/") {
			if part == "" || part == "." || part == ".." || len(part) > 255 {
				t.Errorf("the segment %q in %q", part, x)
			}
		}
	})
}

func TestStartAfter_IsNotTooLate(t *testing.T) {
	s := &Store{folder: "p/"}
	keys := []string{"a", "a*", "a-", "a.", "a/-", "a/-x", "a/.", "a/0", "a0", "b"}
	for _, after := range append([]string{"a/", "a/,", "a/+", "a ", "a\xff", "\x00", "a/-/", ""}, keys...) {
		for _, k := range keys {
			if k > after && s.encode(k)+string(end) <= s.startAfter(after) {
				t.Errorf("after %q, %q is not listed", after, k)
			}
		}
	}
	if !slices.IsSorted(keys) {
		t.Error("the test's own keys are out of order")
	}
}
