package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Replication plays what a DynamoDB global table does between the region in which
// it is written and another one: what is written through the home table's proxy is
// in the replica some time later, the items in any order. Of several writes to one
// item the replica may see the last one alone, and never goes back to an earlier.
type Replication struct {
	// URL is the home table's endpoint for all who write: what passes by it
	// unseen is not copied.
	URL string

	home, replica *dynamodb.Client
	table         string
	delay         time.Duration // at most; each copy has its own

	ctx    context.Context
	copies sync.WaitGroup

	mu     sync.Mutex
	idle   *sync.Cond
	held   func(pk, sk string) bool
	parked map[itemKey]bool
	moving map[itemKey]bool // on their way; true: written again meanwhile
	failed error
}

type itemKey struct{ pk, sk string }

// ReplicationConfig says what is copied. Both tables must exist, on one DynamoDB
// Local, which keeps those of two regions apart.
type ReplicationConfig struct {
	Endpoint, AccessKey, Table string
	HomeRegion, Region         string
	Delay                      time.Duration // at most
}

// Replicate starts a replication, and ends it with the test.
func Replicate(t testing.TB, cfg ReplicationConfig) *Replication {
	t.Helper()
	client := func(region string) *dynamodb.Client {
		return dynamodb.New(dynamodb.Options{
			Region: region, BaseEndpoint: &cfg.Endpoint, Credentials: credentials.NewStaticCredentialsProvider(cfg.AccessKey, "any", ""),
		})
	}
	ctx, end := context.WithCancel(context.Background())
	r := &Replication{
		home: client(cfg.HomeRegion), replica: client(cfg.Region), table: cfg.Table, delay: cfg.Delay, ctx: ctx,
		parked: map[itemKey]bool{}, moving: map[itemKey]bool{},
	}
	r.idle = sync.NewCond(&r.mu)
	t.Cleanup(func() {
		end()
		r.copies.Wait()
		if r.failed != nil {
			t.Errorf("replication: %v", r.failed)
		}
	})
	p := NewProxy(t, cfg.Endpoint)
	p.Inject(r.tee)
	r.URL = p.URL
	return r
}

// Hold keeps back the items for which held is true; nil lets all go on. What is on
// its way already arrives.
func (r *Replication) Hold(held func(pk, sk string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = held
	for k := range r.parked {
		if held == nil || !held(k.pk, k.sk) {
			delete(r.parked, k)
			r.begin(k)
		}
	}
}

// Cut keeps back everything.
func (r *Replication) Cut() { r.Hold(func(string, string) bool { return true }) }

// Heal lets everything go on.
func (r *Replication) Heal() { r.Hold(nil) }

// Settle waits until all that is not held back has arrived.
func (r *Replication) Settle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.moving) > 0 {
		r.idle.Wait()
	}
}

// tee notes what a request has written before the writer hears of it.
func (r *Replication) tee(w http.ResponseWriter, req *http.Request, forward func() (*http.Response, []byte, error)) {
	written, err := writtenBy(req)
	if err != nil {
		r.fail(err)
	}
	pass(w, req, func() (*http.Response, []byte, error) {
		resp, body, err := forward()
		if err == nil && resp.StatusCode == http.StatusOK {
			r.note(written)
		}
		return resp, body, err
	})
}

// writtenBy returns the keys of the items that a request would write.
func writtenBy(req *http.Request) ([]itemKey, error) {
	type attributes map[string]struct{ S string }
	type write struct{ Item, Key attributes }
	var in struct {
		write
		TransactItems []struct{ Put, Delete write }
	}
	_, operation, _ := strings.Cut(req.Header.Get("X-Amz-Target"), ".")
	switch operation {
	case "PutItem", "DeleteItem", "TransactWriteItems":
	case "UpdateItem", "BatchWriteItem", "ExecuteStatement", "ExecuteTransaction", "BatchExecuteStatement":
		return nil, fmt.Errorf("%s is not replicated", operation)
	default:
		return nil, nil
	}
	if err := json.NewDecoder(req.Body).Decode(&in); err != nil {
		return nil, fmt.Errorf("decode %s: %w", operation, err)
	}
	writes := []write{in.write}
	for _, i := range in.TransactItems {
		writes = append(writes, i.Put, i.Delete)
	}
	var keys []itemKey
	for _, w := range writes {
		for _, a := range []attributes{w.Item, w.Key} {
			if len(a) > 0 {
				keys = append(keys, itemKey{a["pk"].S, a["sk"].S})
			}
		}
	}
	return keys, nil
}

func (r *Replication) note(written []itemKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range written {
		if r.held != nil && r.held(k.pk, k.sk) {
			r.parked[k] = true
		} else {
			r.begin(k)
		}
	}
}

// begin has an item copied. The caller holds mu.
func (r *Replication) begin(k itemKey) {
	if _, ok := r.moving[k]; ok {
		r.moving[k] = true
		return
	}
	r.moving[k] = false
	r.copies.Go(func() { r.move(k) })
}

// move copies an item until nothing was written to it meanwhile.
func (r *Replication) move(k itemKey) {
	for again := true; again; {
		select {
		case <-time.After(rand.N(r.delay + 1)):
			if err := r.copy(k); err != nil && r.ctx.Err() == nil {
				r.fail(err)
			}
		case <-r.ctx.Done():
		}
		r.mu.Lock()
		again = r.moving[k] && r.ctx.Err() == nil
		if r.moving[k] = false; !again {
			delete(r.moving, k)
			r.idle.Broadcast()
		}
		r.mu.Unlock()
	}
}

// copy makes the replica's item what the home table has.
func (r *Replication) copy(k itemKey) error {
	at := map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: k.pk}, "sk": &types.AttributeValueMemberS{Value: k.sk}}
	out, err := r.home.GetItem(r.ctx, &dynamodb.GetItemInput{TableName: &r.table, Key: at, ConsistentRead: aws.Bool(true)})
	switch {
	case err != nil:
	case len(out.Item) == 0:
		_, err = r.replica.DeleteItem(r.ctx, &dynamodb.DeleteItemInput{TableName: &r.table, Key: at})
	default:
		_, err = r.replica.PutItem(r.ctx, &dynamodb.PutItemInput{TableName: &r.table, Item: out.Item})
	}
	return err
}

func (r *Replication) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = err
	}
}
