package dynamo

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/shingle-proxy/shingle"
)

// family is what is known of the keys with one first segment. Their number of
// shards is part of the format and never changes.
type family struct {
	prefix string
	shards int
	// life, when set, is after how long without a write DynamoDB may delete the record:
	// what its writer removes himself unless he is killed.
	life time.Duration
}

const day = 24 * time.Hour

// families have what the parts keep that is not as all else. What is listed all the
// time, at a price for each shard, is spread less: four shards take 4,000 writes a
// second, of an import too.
var families = []family{
	{prefix: "due/", shards: 4},
	{prefix: "stopped/", shards: 4},
	{prefix: "news/", shards: 4, life: 7 * day},
	{prefix: "dropped/", shards: 4},
	{prefix: "txt/", shards: 4},
	{prefix: "checks/due/", shards: 4},
	{prefix: "checks/listed/", shards: 1}, // a page asks for some of 28 kinds, each by a request a shard
	{prefix: "events/outbox/", shards: 4},
	{prefix: "events/due/", shards: 4},
	{prefix: "webhooks/", shards: 1},
	{prefix: "edges/", shards: 1, life: 2 * day},
	{prefix: "jobqueue/", shards: 1, life: 9 * day},
	{prefix: "jobs/", shards: 1, life: 9 * day},
	{prefix: "joblines/", shards: 4, life: 9 * day},
	{prefix: "jobreports/", shards: 4, life: 9 * day},
	{prefix: "traffic/", shards: 4, life: 8 * day},
	{prefix: "challenges/", shards: shards, life: 7 * day},
	{prefix: "orders/", shards: shards, life: 7 * day},
}

// familyOf returns the family of the keys that begin with s, which may be a key.
func familyOf(s string) family {
	for _, f := range families {
		if strings.HasPrefix(s, f.prefix) {
			return f
		}
	}
	return family{shards: shards}
}

func blobKey(k string) item { return key(partition("blob", shardOf(k, familyOf(k).shards)), k) }

// Get implements [shingle.Blobs].
func (s *Store) Get(ctx context.Context, k string) (shingle.Blob, error) {
	if shingle.CheckBlob(k, nil) != nil {
		return shingle.Blob{}, shingle.ErrNotFound // no such record can be
	}
	i, err := s.get(ctx, s.home, blobKey(k))
	return i.blob(k), err
}

// Put implements [shingle.Blobs].
func (s *Store) Put(ctx context.Context, k string, value []byte, ifVersion string) (string, error) {
	if err := shingle.CheckBlob(k, value); err != nil {
		return "", err
	}
	version := rand.Text()
	i := blobKey(k)
	i["value"], i["version"] = &types.AttributeValueMemberB{Value: value}, text(version)
	if value == nil {
		i["value"] = &types.AttributeValueMemberB{Value: []byte{}}
	}
	if life := familyOf(k).life; life > 0 {
		i["ttl"] = expiry(s.cfg.Now().Add(life))
	}
	in := &dynamodb.PutItemInput{
		TableName: &s.home.table, Item: i, ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	in.ConditionExpression, in.ExpressionAttributeValues = ifStill(ifVersion)
	var options []func(*dynamodb.Options)
	if ifVersion == shingle.NoVersion {
		// Somebody may delete it between two attempts, and would see it come back.
		options = append(options, s.home.unlessDoubtful)
	}
	var now item
	doubtful, err := s.home.call(ctx, "PutItem", func(ctx context.Context) error {
		_, err := s.home.PutItem(ctx, in, options...)
		now = found(err)
		return err
	})
	switch {
	case doubtful && ifVersion == shingle.NoVersion:
		return s.created(ctx, k, version, err)
	case !errors.Is(err, errChanged):
		return version, err
	case now.text("version") == version:
		return version, nil // an attempt whose reply was lost wrote it
	case doubtful:
		return "", doubt("PutItem") // it may have written, and another after it
	}
	return "", shingle.ErrConflict
}

// created looks for a record whose creation ended in failure, and may have been done.
func (s *Store) created(ctx context.Context, k, version string, failure error) (string, error) {
	b, err := s.Get(ctx, k)
	switch {
	case err == nil && b.Version == version:
		return version, nil
	case err != nil && !errors.Is(err, shingle.ErrNotFound):
		return "", failure // no answer to either
	}
	return "", doubt("PutItem") // it may be on its way, or was there and is gone again
}

// Delete implements [shingle.Blobs].
func (s *Store) Delete(ctx context.Context, k, ifVersion string) error {
	if shingle.CheckBlob(k, nil) != nil {
		return shingle.ErrNotFound
	}
	if ifVersion == shingle.NoVersion {
		_, err := s.get(ctx, s.home, blobKey(k))
		if err == nil {
			err = shingle.ErrConflict
		}
		return err
	}
	in := &dynamodb.DeleteItemInput{
		TableName: &s.home.table, Key: blobKey(k), ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	in.ConditionExpression, in.ExpressionAttributeValues = ifStill(ifVersion)
	var now item
	doubtful, err := s.home.call(ctx, "DeleteItem", func(ctx context.Context) error {
		_, err := s.home.DeleteItem(ctx, in)
		now = found(err)
		return err
	})
	switch {
	case !errors.Is(err, errChanged):
		return err
	case doubtful:
		return doubt("DeleteItem")
	}
	if len(now) == 0 {
		return shingle.ErrNotFound
	}
	return shingle.ErrConflict
}

// List implements [shingle.Blobs]. It costs a request for each shard of the
// prefix's family, and reads little more than it returns: but records, not only
// keys, so a listing of large records costs their size.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if err := checkLimit(limit); err != nil {
		return nil, err
	}
	items, err := s.list(ctx, s.home, listing{
		partitions: partitions("blob", familyOf(prefix).shards), prefix: prefix, after: after, limit: limit, attributes: "sk",
	})
	if err != nil {
		return nil, err
	}
	keys := make([]string, len(items))
	for i := range items {
		keys[i] = items[i].text("sk")
	}
	return keys, nil
}

func (i item) blob(k string) shingle.Blob {
	if len(i) == 0 {
		return shingle.Blob{}
	}
	return shingle.Blob{Key: k, Value: i.bytes("value"), Version: i.text("version")}
}

// ifStill is the condition that a record has the version.
func ifStill(version string) (condition *string, values item) {
	if version == shingle.NoVersion {
		return aws.String("attribute_not_exists(pk)"), nil
	}
	return aws.String("version = :version"), item{":version": text(version)}
}

// found is the item that failed a condition, if there is one.
func found(err error) item {
	if e, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
		return e.Item
	}
	return nil
}
