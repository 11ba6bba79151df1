package dynamo_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/dynamo"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

const jsonType = "application/x-amz-json-1.0"

func awsError(status int, code, message string) storetest.Wound {
	return storetest.Answer(status, jsonType, fmt.Sprintf(`{"__type":"com.amazonaws.dynamodb.v20120810#%s","message":%q}`, code, message))
}

// isCall matches the requests of one operation.
func isCall(operation string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return strings.HasSuffix(r.Header.Get("X-Amz-Target"), "."+operation)
	}
}

// throughProxy opens an empty table behind a proxy.
func throughProxy(t *testing.T) (*dynamo.Store, *storetest.Proxy) {
	t.Helper()
	cfg := config(t, storetest.DynamoDB)
	newStore(t, cfg)
	p := storetest.NewProxy(t, cfg.Endpoint)
	cfg.Endpoint = p.URL
	return open(t, cfg), p
}

// anything is what a network and a service do to a request on a bad day.
func anything() storetest.Wound {
	return storetest.AnyOf(0.2,
		storetest.Reset(), storetest.LoseAnswer(), storetest.LoseAnswer(), storetest.CutAnswer(), storetest.Delay(20*time.Millisecond),
		awsError(500, "InternalServerError", "The request processing has failed"), storetest.Answer(503, "text/html", "<h1>Service Unavailable</h1>"),
		awsError(400, "ThrottlingException", "Throughput exceeds the current capacity"))
}

func TestBlobs_LinearizableBehindABrokenNetwork(t *testing.T) {
	s, p := throughProxy(t)
	p.Inject(anything())
	storetest.CheckLinearizable(t, s)
}

func TestBlobs_CreatedOnce(t *testing.T) {
	cfg := config(t, storetest.DynamoDB)
	near := newStore(t, cfg)
	p := storetest.NewProxy(t, cfg.Endpoint)
	cfg.Endpoint = p.URL
	storetest.CheckCreatedOnce(t, open(t, cfg), near, p, isCall("PutItem"))
}

// TestEnsureTable_RepliesThatAreLost makes tables with the reply to each call lost.
func TestEnsureTable_RepliesThatAreLost(t *testing.T) {
	for _, server := range servers {
		t.Run(server, func(t *testing.T) {
			p := storetest.NewProxy(t, storetest.Endpoint(t, server))
			for _, operation := range []string{"CreateTable", "DescribeTable", "DescribeTimeToLive", "UpdateTimeToLive"} {
				cfg := config(t, server)
				var lost atomic.Bool
				cfg.Endpoint = p.URL
				p.Inject(storetest.Once(isCall(operation), storetest.LoseAnswerAfter(func() { lost.Store(true) })))
				s := open(t, cfg)
				for range 2 {
					if err := s.EnsureTable(t.Context()); err != nil {
						t.Errorf("%s: %v", operation, err)
					}
				}
				if _, err := s.Put(t.Context(), "k", []byte("v"), shingle.NoVersion); err != nil || !lost.Load() {
					t.Errorf("%s: lost %v; the table: %v", operation, lost.Load(), err)
				}
			}
		})
	}
}

// A reply that is lost is made good by the attempt that follows: the caller
// learns nothing of it.
func TestStore_LostReplyIsMadeGood(t *testing.T) {
	s, p := throughProxy(t)
	ctx := t.Context()
	lose := func(operation string) { p.Inject(storetest.Once(isCall(operation), storetest.LoseAnswer())) }

	lose("PutItem")
	v1, err := s.Put(ctx, "k", []byte("one"), shingle.NoVersion)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := s.Get(ctx, "k"); err != nil || b.Version != v1 {
		t.Errorf("version %q, stored is %q, %v", v1, b.Version, err)
	}
	lose("TransactWriteItems")
	d, err := s.CreateDomain(ctx, shingle.Domain{Host: "a.example.com"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	lose("TransactWriteItems")
	if d, err = s.UpdateDomain(ctx, d, time.Now()); err != nil || d.Version != 2 {
		t.Errorf("version %d, %v", d.Version, err)
	}
	lose("TransactWriteItems")
	if err := s.DeleteDomain(ctx, d.Host, d.Version, "", time.Now()); err != nil {
		t.Error(err)
	}
	if list, _, err := s.Changes(ctx, "", 10); err != nil || len(list) != 3 {
		t.Errorf("%d changes, %v", len(list), err)
	}
	// Whether it was this deletion or another cannot be known.
	lose("DeleteItem")
	if err := s.Delete(ctx, "k", v1); !errors.Is(err, shingle.ErrUnavailable) {
		t.Errorf("a deletion: %v", err)
	}
	if _, err := s.Get(ctx, "k"); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("after it: %v", err)
	}
}

// TestDomains_FeedIsCompleteBehindABrokenNetwork has writers try until they
// know, while a reader follows.
func TestDomains_FeedIsCompleteBehindABrokenNetwork(t *testing.T) {
	s, p := throughProxy(t)
	p.Inject(anything())
	ctx := t.Context()
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			for i := range 8 {
				host := fmt.Sprintf("h%d-%d.example.com", n, i)
				for {
					_, err := s.CreateDomain(ctx, shingle.Domain{Host: host}, time.Now())
					if err == nil || errors.Is(err, shingle.ErrExists) {
						break
					}
					if code := shingle.CodeOf(err); code != shingle.CodeUnavailable && code != shingle.CodeThrottled {
						t.Errorf("create %s: %v", host, err)
						return
					}
				}
			}
		})
	}
	written := make(chan struct{})
	go func() { all.Wait(); close(written) }()
	seen, cursor, ended := map[string]int{}, shingle.Cursor(""), false
	for {
		list, next, err := s.Changes(ctx, cursor, 7)
		if err != nil {
			if shingle.CodeOf(err) == shingle.CodeNotFound {
				t.Fatal(err)
			}
			continue
		}
		for _, c := range list {
			seen[c.Host]++
		}
		cursor = next
		if len(list) == 0 && ended {
			break
		}
		select {
		case <-written:
			ended = true
		default:
		}
	}
	for n := range 4 {
		for i := range 8 {
			if host := fmt.Sprintf("h%d-%d.example.com", n, i); seen[host] != 1 {
				t.Errorf("%s: %d changes, want 1", host, seen[host])
			}
		}
	}
}

func TestErrors(t *testing.T) {
	s, p := throughProxy(t)
	denied := "User: arn:aws:sts::1:assumed-role/edge/i-1 is not authorized to perform: dynamodb:PutItem on resource: arn:aws:dynamodb:eu-central-1:1:table/x because no identity-based policy allows the dynamodb:PutItem action"
	for _, tt := range []struct {
		name  string
		wound storetest.Wound
		code  shingle.Code
		setup bool
		says  string
	}{
		{"throttled", awsError(400, "ThrottlingException", "slow"), shingle.CodeThrottled, false, "no more requests now"},
		{"throughput", awsError(400, "ProvisionedThroughputExceededException", "slow"), shingle.CodeThrottled, false, ""},
		{"fault of AWS", awsError(500, "InternalServerError", "oh"), shingle.CodeUnavailable, false, "cannot be used now"},
		{"reset", storetest.Reset(), shingle.CodeUnavailable, false, "cannot be reached now"},
		{"denied", awsError(400, "AccessDeniedException", denied), shingle.CodeUnavailable, true, "AWS does not allow dynamodb:PutItem on the table"},
		{"denied without a name", awsError(400, "AccessDeniedException", "no"), shingle.CodeUnavailable, true, "dynamodb:GetItem"},
		{"no table", awsError(400, "ResourceNotFoundException", "Requested resource not found"), shingle.CodeUnavailable, true, "shingle store create --table"},
		{"credentials", awsError(400, "UnrecognizedClientException", "The security token included in the request is invalid."), shingle.CodeUnavailable, true, "credentials"},
		{"other schema", awsError(400, "ValidationException", "The provided key element does not match the schema"), shingle.CodeUnavailable, true, "pk and sk"},
	} {
		p.Inject(tt.wound)
		_, err := s.Get(t.Context(), "k")
		if shingle.CodeOf(err) != tt.code || errors.Is(err, shingle.ErrSetup) != tt.setup || !strings.Contains(shingle.MessageOf(err), tt.says) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestStore_EveryCallEnds has a server that takes requests and never answers.
func TestStore_EveryCallEnds(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for time-outs")
	}
	s, p := throughProxy(t)
	p.Inject(storetest.Hang())
	var all sync.WaitGroup
	for name, call := range map[string]func() error{
		"Get":     func() error { _, err := s.Get(t.Context(), "k"); return err },
		"Put":     func() error { _, err := s.Put(t.Context(), "k", nil, shingle.NoVersion); return err },
		"List":    func() error { _, err := s.List(t.Context(), "due/", "", 10); return err },
		"Changes": func() error { _, _, err := s.Changes(t.Context(), "", 10); return err },
		"CreateDomain": func() error {
			_, err := s.CreateDomain(t.Context(), shingle.Domain{Host: "a.example.com"}, time.Now())
			return err
		},
	} {
		all.Go(func() {
			start := time.Now()
			if err := call(); !errors.Is(err, shingle.ErrUnavailable) {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("%s took %s", name, took)
			}
		})
	}
	all.Wait()
}
