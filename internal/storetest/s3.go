package storetest

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

// S3Server is as much of an S3 server as a store needs, with one bucket. It
// verifies no signature; the real servers of `make test` do. A test may touch its
// fields while no request is under way, in Before and After, and in Between.
type S3Server struct {
	URL string

	mu      sync.Mutex
	Objects map[string][]byte // by name
	// Settings are those of the bucket, such as "publicAccessBlock" and
	// "encryption": the XML that is answered to a GET of it. What is not there is
	// answered as S3 does; nil says that the server knows no such requests.
	Settings map[string]string
	Missing  bool // there is no bucket
	// Ignores is a condition that it does not heed, "If-Match on DELETE".
	Ignores string
	Vague   bool // says of the deletion of nothing what it says of one
	// Before, when set, may answer a request in the server's place; After may take
	// its answer away.
	Before, After func(w http.ResponseWriter, r *http.Request) (done bool)
	Requests      map[string]int // by method
}

// S3Bucket is the bucket of an [S3Server].
const S3Bucket = "shingle-test"

// NewS3Server starts a server that the test's end stops.
func NewS3Server(t testing.TB) *S3Server {
	f := &S3Server{Objects: map[string][]byte{}, Settings: map[string]string{}, Requests: map[string]int{}}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.URL = server.URL
	return f
}

// Between runs a function between two requests, which may touch the fields.
func (f *S3Server) Between(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// ServeHTTP implements http.Handler.
func (f *S3Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Requests[r.Method]++
	if f.Before != nil && f.Before(w, r) {
		return
	}
	answer := httptest.NewRecorder()
	f.serve(answer, r, body)
	if f.After != nil && f.After(w, r) {
		return
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

func (f *S3Server) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	name, inBucket := strings.CutPrefix(r.URL.Path, "/"+S3Bucket)
	if name = strings.TrimPrefix(name, "/"); name == "" && inBucket && r.Method == http.MethodPut && r.URL.RawQuery == "" {
		if !f.Missing {
			RefuseS3(w, http.StatusConflict, "BucketAlreadyOwnedByYou")
		}
		f.Missing = false
		return
	}
	if !inBucket || f.Missing {
		RefuseS3(w, http.StatusNotFound, "NoSuchBucket")
		return
	}
	if name == "" {
		f.bucket(w, r, body)
		return
	}
	content, exists := f.Objects[name]
	if !f.holds(w, r, content, exists) {
		return
	}
	switch {
	case r.Method == http.MethodPut:
		f.Objects[name] = body
		w.Header().Set("ETag", etag(body))
	case !exists:
		RefuseS3(w, http.StatusNotFound, "NoSuchKey")
	case r.Method == http.MethodDelete:
		delete(f.Objects, name)
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("ETag", etag(content))
		_, _ = w.Write(content)
	}
}

func (f *S3Server) holds(w http.ResponseWriter, r *http.Request, content []byte, exists bool) bool {
	heeds := func(header string) bool {
		return r.Header.Get(header) != "" && f.Ignores != header+" on "+r.Method
	}
	switch {
	case heeds("If-None-Match") && exists, heeds("If-Match") && exists && r.Header.Get("If-Match") != etag(content):
		RefuseS3(w, http.StatusPreconditionFailed, "PreconditionFailed")
	case f.Vague && r.Method == http.MethodDelete && !exists:
		w.WriteHeader(http.StatusNoContent)
	case heeds("If-Match") && !exists:
		RefuseS3(w, http.StatusNotFound, "NoSuchKey")
	default:
		return true
	}
	return false
}

// bucketSettings are the settings of a bucket that the server knows, with the
// code of S3 for one that is not set.
var bucketSettings = map[string]string{
	"publicAccessBlock": "NoSuchPublicAccessBlockConfiguration", "encryption": "ServerSideEncryptionConfigurationNotFoundError",
	"versioning": "",
}

// bucket answers a request for the bucket itself.
func (f *S3Server) bucket(w http.ResponseWriter, r *http.Request, body []byte) {
	q := r.URL.Query()
	for name, absent := range bucketSettings {
		if !q.Has(name) {
			continue
		}
		set, is := f.Settings[name]
		switch {
		case f.Settings == nil:
			RefuseS3(w, http.StatusNotImplemented, "NotImplemented")
		case r.Method == http.MethodPut:
			f.Settings[name] = string(body)
		case is:
			_, _ = io.WriteString(w, set)
		case absent != "":
			RefuseS3(w, http.StatusNotFound, absent)
		default:
			_, _ = io.WriteString(w, "<VersioningConfiguration/>")
		}
		return
	}
	if r.Method == http.MethodGet {
		f.list(w, r)
	}
}

func (f *S3Server) list(w http.ResponseWriter, r *http.Request) {
	type object struct{ Key string }
	var out struct {
		XMLName     xml.Name `xml:"ListBucketResult"`
		IsTruncated bool
		Contents    []object
	}
	q := r.URL.Query()
	limit, _ := strconv.Atoi(q.Get("max-keys"))
	for _, name := range slices.Sorted(maps.Keys(f.Objects)) {
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

// RefuseS3 answers with an error of S3.
func RefuseS3(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, code)
}

func etag(content []byte) string {
	sum := md5.Sum(content)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}
