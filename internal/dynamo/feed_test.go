package dynamo_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/dynamo"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// raw is a client of the table itself.
func raw(cfg dynamo.Config) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{Region: cfg.Region, BaseEndpoint: &cfg.Endpoint, Credentials: cfg.Credentials})
}

// expire deletes every change, as their TTL does in time, and returns how many.
func expire(t *testing.T, cfg dynamo.Config) (n int) {
	t.Helper()
	c := raw(cfg)
	for shard := range 16 {
		out, err := c.Query(t.Context(), &dynamodb.QueryInput{
			TableName: &cfg.Table, KeyConditionExpression: aws.String("pk = :p"),
			ExpressionAttributeValues: map[string]types.AttributeValue{":p": &types.AttributeValueMemberS{Value: fmt.Sprintf("change#%02d", shard)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range out.Items {
			if _, ok := item["ttl"].(*types.AttributeValueMemberN); !ok {
				t.Errorf("a change has no TTL: %v", item)
			}
			n++
			if _, err := c.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{
				TableName: &cfg.Table, Key: map[string]types.AttributeValue{"pk": item["pk"], "sk": item["sk"]},
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return n
}

func TestChanges_ReaderBehindTheTTLReadsAgain(t *testing.T) {
	cfg := config(t, storetest.DynamoDB)
	s := newStore(t, cfg)
	ctx := t.Context()
	for i := range 20 {
		create(t, s, fmt.Sprintf("h%d.example.com", i))
	}
	_, old, err := s.Changes(ctx, "", 5)
	check(t, err)
	head, err := s.Head(ctx)
	check(t, err)
	if n := expire(t, cfg); n != 20 {
		t.Fatalf("%d changes", n)
	}
	for _, cursor := range []shingle.Cursor{"", old} {
		if _, _, err := s.Changes(ctx, cursor, 10); !errors.Is(err, shingle.ErrNotFound) {
			t.Errorf("from %q: %v", cursor, err)
		}
	}
	// Who was at the end goes on from there, in this process and in a new one:
	// numbers do not begin again.
	create(t, s, "new.example.com")
	create(t, open(t, cfg), "newer.example.com")
	list, _, err := s.Changes(ctx, head, 10)
	check(t, err)
	if len(list) != 2 || list[0].Host != "new.example.com" || list[1].Host != "newer.example.com" {
		t.Errorf("got %+v", list)
	}
}

// A cursor of another store, or of a table before it was restored from a backup,
// has its reader read all again.
func TestChanges_ForeignCursors(t *testing.T) {
	s := newStore(t, config(t, storetest.DynamoDB))
	create(t, s, "a.example.com")
	other := newStore(t, config(t, storetest.DynamoDB))
	for i := range 30 {
		create(t, other, fmt.Sprintf("h%d.example.com", i))
	}
	ahead, err := other.Head(t.Context())
	check(t, err)
	for _, cursor := range []shingle.Cursor{"17", "d1.", "d1.1.2", "d1.-1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0", ahead} {
		if _, _, err := s.Changes(t.Context(), cursor, 10); !errors.Is(err, shingle.ErrNotFound) {
			t.Errorf("from %q: %v", cursor, err)
		}
	}
}

// Two processes write at once, each with its own idea of where the logs end.
func TestChanges_TwoProcessesWriteTheSameLogs(t *testing.T) {
	cfg := config(t, storetest.DynamoDB)
	stores := []*dynamo.Store{newStore(t, cfg), open(t, cfg)}
	for i := range 64 {
		create(t, stores[i%2], fmt.Sprintf("h%d.example.com", i))
	}
	seen := map[string]bool{}
	for cursor := shingle.Cursor(""); ; {
		list, next, err := stores[0].Changes(t.Context(), cursor, 9)
		check(t, err)
		if len(list) == 0 {
			break
		}
		for i, c := range list {
			if seen[c.Host] {
				t.Errorf("%s twice", c.Host)
			}
			seen[c.Host] = true
			if i > 0 && list[i].Domain.UpdatedAt.Before(list[i-1].Domain.UpdatedAt) {
				t.Errorf("%s before %s", list[i-1].Host, c.Host)
			}
		}
		cursor = next
	}
	if len(seen) != 64 {
		t.Errorf("%d of 64 changes", len(seen))
	}
}

func create(t *testing.T, s shingle.DomainStore, host string) {
	t.Helper()
	_, err := s.CreateDomain(context.WithoutCancel(t.Context()), shingle.Domain{Host: host}, time.Now())
	check(t, err)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
