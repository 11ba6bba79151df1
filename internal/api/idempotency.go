package api

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

const (
	idempotencyHeader = "Idempotency-Key"
	idempotencyPrefix = "idempotency/"
	dayLayout         = "20060102"
	maxKept           = 256 << 10 // bytes of an answer that is kept
	// A request that has not ended by then died with its process: nothing here runs
	// half as long.
	maxRun = time.Minute
	// By how much the clock of another process may be ahead.
	maxSkew = 5 * time.Minute
	// Each new key clears up so many that are too old, so that there are never many
	// more than are made in two days.
	clearedAtOnce = 20
)

// once answers POST requests with the same Idempotency-Key by one answer
// (draft-ietf-httpapi-idempotency-key-header-07), for a day at least:
//
//	idempotency/DAY/TOKEN/HASH   the hash is of the key
//
// An answer may hold a secret, so it is sealed under the token and the key, which
// the store does not have.
type once struct {
	records *records.Store
	now     func() time.Time
}

// kept is a request under a key.
type kept struct {
	Request string    `json:"request"` // hash of what was asked
	Begun   time.Time `json:"begun"`
	Answer  []byte    `json:"answer,omitempty"` // sealed; empty: it is not there yet
}

// keptAnswer is what is sealed.
type keptAnswer struct {
	Status int         `json:"status"`
	Header http.Header `json:"header"`
	Body   []byte      `json:"body"`
}

// key returns the request's key; ok is false when there is none to heed.
func (o *once) key(r *http.Request) (key string, ok bool, err error) {
	if o == nil || r.Method != http.MethodPost {
		return "", false, nil
	}
	values := r.Header.Values(idempotencyHeader)
	if len(values) == 0 {
		return "", false, nil
	}
	key = strings.Trim(values[0], `"`) // a structured field's string, or as people write it
	if len(values) > 1 || key == "" || len(key) > 255 || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }) {
		return "", false, at("header."+idempotencyHeader, shingle.Errorf(shingle.CodeInvalid, "an Idempotency-Key is one word of at most 255 ASCII characters, such as a UUID"))
	}
	return key, true, nil
}

// serve has next answer the request, unless it did already.
func (o *once) serve(w http.ResponseWriter, r *http.Request, key string, next http.Handler) error {
	text, t := bearer(r), callerOf(r.Context())
	body, err := io.ReadAll(r.Body) // readBody has the bound
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	asked := hashOf(r.Method, r.URL.String(), r.Header.Get("If-Match"), string(body))
	day := o.now().UTC()
	name := t.ID + "/" + hashOf(key)
	days := []string{day.AddDate(0, 0, -1).Format(dayLayout), day.Format(dayLayout)}
	if ahead := day.Add(maxSkew).Format(dayLayout); ahead != days[1] { // it may have been another process, for which it is tomorrow
		days = append(days, ahead)
	}
	for _, d := range days {
		if done, err := o.repeat(w, r.Context(), idempotencyPrefix+d+"/"+name, asked, text, key); done || err != nil {
			return err
		}
	}
	place := idempotencyPrefix + day.Format(dayLayout) + "/" + name
	version, err := o.reserve(r.Context(), place, asked)
	if err != nil {
		return err
	}
	o.run(w, r, next, place, version, asked, sealing(text, key))
	return nil
}

// repeat gives the answer that is kept in a place, if there is one.
func (o *once) repeat(w http.ResponseWriter, ctx context.Context, place, asked, text, key string) (done bool, err error) {
	var k kept
	_, err = o.records.Get(ctx, place, &k)
	switch {
	case errors.Is(err, shingle.ErrNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read answer of before: %w", err)
	case k.Request != asked:
		return false, at("header."+idempotencyHeader, shingle.Errorf(shingle.CodeInvalid, "this Idempotency-Key was sent with another request: take a new one for each"))
	case len(k.Answer) == 0 && o.now().Sub(k.Begun) < maxRun:
		w.Header().Set("Retry-After", "1")
		return false, shingle.Errorf(shingle.CodeExists, "a request with this Idempotency-Key is being answered: try again in a moment")
	case len(k.Answer) == 0:
		return false, nil
	}
	var a keptAnswer
	if err := open(sealing(text, key), k.Answer, place, &a); err != nil {
		return false, err
	}
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	w.Header().Set("Idempotency-Replayed", "true")
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // a client that has gone will not miss it
	return true, nil
}

// reserve takes the place, so that the same request at the same time is told to wait.
func (o *once) reserve(ctx context.Context, place, asked string) (version string, err error) {
	o.clear(ctx)
	var k kept
	version, err = o.records.Get(ctx, place, &k)
	switch {
	case errors.Is(err, shingle.ErrNotFound):
		version, err = shingle.NoVersion, nil
	case err == nil && (len(k.Answer) > 0 || o.now().Sub(k.Begun) < maxRun):
		err = shingle.ErrConflict // taken, and perhaps answered, since it was looked for
	}
	if err == nil {
		version, err = o.records.Put(ctx, place, kept{Request: asked, Begun: o.now()}, version)
	}
	if errors.Is(err, shingle.ErrConflict) {
		return "", shingle.Errorf(shingle.CodeExists, "a request with this Idempotency-Key is being answered: try again in a moment")
	}
	return version, err
}

// run has next answer, and keeps the answer. One that may be different the next
// time, as when a store is away, is not kept, nor is anything when next panics.
func (o *once) run(w http.ResponseWriter, r *http.Request, next http.Handler, place, version, asked string, seal cipher.AEAD) {
	copied := &copying{ResponseWriter: w, before: w.Header().Clone()}
	keep := false
	defer func() {
		if !keep {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), maxWait/2)
			defer cancel()
			_ = o.records.Remove(ctx, place) // after maxRun it counts no more
		}
	}()
	next.ServeHTTP(copied, r)
	if copied.status >= http.StatusInternalServerError || copied.status == http.StatusTooManyRequests || copied.tooLarge {
		return
	}
	plain, err := json.Marshal(keptAnswer{Status: copied.status, Header: copied.own(), Body: copied.body.Bytes()})
	if err != nil {
		return
	}
	k := kept{Request: asked, Begun: o.now(), Answer: seal.Seal(nil, nil, plain, []byte(place))}
	_, err = o.records.Put(context.WithoutCancel(r.Context()), place, k, version)
	keep = err == nil
}

// clear removes some of what is older than yesterday. That it fails is no matter:
// the next one goes on.
func (o *once) clear(ctx context.Context) {
	yesterday := idempotencyPrefix + o.now().UTC().AddDate(0, 0, -1).Format(dayLayout)
	keys, err := o.records.List(ctx, idempotencyPrefix, "", clearedAtOnce)
	for _, key := range keys {
		if err == nil && key < yesterday {
			err = o.records.Remove(ctx, key)
		}
	}
}

// copying is a ResponseWriter that keeps what it passes on.
type copying struct {
	http.ResponseWriter
	before   http.Header // what every answer has
	status   int
	body     bytes.Buffer
	tooLarge bool
}

// WriteHeader implements [http.ResponseWriter].
func (c *copying) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (c *copying) Write(b []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	if c.tooLarge = c.tooLarge || c.body.Len()+len(b) > maxKept; !c.tooLarge {
		c.body.Write(b)
	}
	return c.ResponseWriter.Write(b)
}

// own returns the fields that the answer itself has set.
func (c *copying) own() http.Header {
	h := http.Header{}
	for name, values := range c.Header() {
		if _, common := c.before[name]; !common {
			h[name] = values
		}
	}
	return h
}

// sealing returns the cipher of answers to who has the token's text and the key.
func sealing(text, key string) cipher.AEAD {
	sum := sha256.Sum256([]byte("shingle idempotency\x00" + text + "\x00" + key))
	seal, err := shingle.NewAEAD(sum[:])
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	return seal
}

func open(seal cipher.AEAD, sealed []byte, place string, a *keptAnswer) error {
	plain, err := seal.Open(nil, nil, sealed, []byte(place))
	if err != nil {
		return errors.New("open answer of before: it was sealed for another token")
	}
	if json.Unmarshal(plain, a) != nil {
		return errors.New("decode answer of before")
	}
	return nil
}

func hashOf(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(p), p) // a hash never fails
	}
	return hex.EncodeToString(h.Sum(nil))
}

// describe adds the header to a POST operation.
func (o *once) describe(op *huma.Operation) {
	if o == nil || op.Method != http.MethodPost {
		return
	}
	length := 257
	op.Parameters = append(op.Parameters, &huma.Param{
		Name: idempotencyHeader, In: "header", Schema: &huma.Schema{Type: huma.TypeString, MaxLength: &length},
		Description: "One of your making for each request: sent again with the same, the request is not carried out again but answered as before, for a day",
	})
	op.Errors = append(op.Errors, http.StatusConflict)
}
