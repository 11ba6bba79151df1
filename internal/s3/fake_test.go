package s3_test

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// fake is as much of an S3 server as a Store needs, with one bucket. It verifies
// no signature; the real servers of `make test` do.
type fake struct {
	mu      sync.Mutex
	objects map[string][]byte
	// ignores is a condition that it does not heed, "If-Match on DELETE".
	ignores string
	vague   bool // says of the deletion of nothing what it says of one
	// before, when set, may answer a request in the fake's place; after may take
	// its answer away.
	before, after func(w http.ResponseWriter, r *http.Request) (done bool)
	requests      map[string]int // by method
}

const bucket = "shingle-test"

func newFake(t *testing.T) (*fake, string) {
	f := &fake{objects: map[string][]byte{}, requests: map[string]int{}}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return f, server.URL
}

// ServeHTTP implements http.Handler.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests[r.Method]++
	if f.before != nil && f.before(w, r) {
		return
	}
	answer := httptest.NewRecorder()
	f.serve(answer, r, body)
	if f.after != nil && f.after(w, r) {
		return
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	name, inBucket := strings.CutPrefix(r.URL.Path, "/"+bucket)
	if name = strings.TrimPrefix(name, "/"); !inBucket {
		refuse(w, http.StatusNotFound, "NoSuchBucket")
		return
	}
	if name == "" {
		f.list(w, r)
		return
	}
	content, exists := f.objects[name]
	if !f.holds(w, r, content, exists) {
		return
	}
	switch {
	case r.Method == http.MethodPut:
		f.objects[name] = body
		w.Header().Set("ETag", etag(body))
	case !exists:
		refuse(w, http.StatusNotFound, "NoSuchKey")
	case r.Method == http.MethodDelete:
		delete(f.objects, name)
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("ETag", etag(content))
		_, _ = w.Write(content)
	}
}

func (f *fake) holds(w http.ResponseWriter, r *http.Request, content []byte, exists bool) bool {
	heeds := func(header string) bool {
		return r.Header.Get(header) != "" && f.ignores != header+" on "+r.Method
	}
	switch {
	case heeds("If-None-Match") && exists, heeds("If-Match") && exists && r.Header.Get("If-Match") != etag(content):
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
	case f.vague && r.Method == http.MethodDelete && !exists:
		w.WriteHeader(http.StatusNoContent)
	case heeds("If-Match") && !exists:
		refuse(w, http.StatusNotFound, "NoSuchKey")
	default:
		return true
	}
	return false
}

func (f *fake) list(w http.ResponseWriter, r *http.Request) {
	type object struct{ Key string }
	var out struct {
		XMLName     xml.Name `xml:"ListBucketResult"`
		IsTruncated bool
		Contents    []object
	}
	q := r.URL.Query()
	limit, _ := strconv.Atoi(q.Get("max-keys"))
	for _, name := range slices.Sorted(maps.Keys(f.objects)) {
		if name <= q.Get("start-after") || !strings.HasPrefix(name, q.Get("prefix")) {
			continue
		}
		if out.IsTruncated = len(out.Contents) == limit; out.IsTruncated {
			break
		}
		out.Contents = append(out.Contents, object{name})
	}
	_ = xml.NewEncoder(w).Encode(out)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, code)
}

func etag(content []byte) string {
	sum := md5.Sum(content)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}
