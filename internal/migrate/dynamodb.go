package migrate

import (
	"context"
	"encoding/base64"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// table is a storage of CertMagic in a DynamoDB table, as certmagic-storage-dynamodb
// keeps it: an item a key, with PrimaryKey and Contents, which is a string in base64.
type table struct {
	name    string
	options Options
	client  func(ctx context.Context) (*dynamodb.Client, error)
}

// Attributes of an item.
const (
	primaryKey = "PrimaryKey"
	contents   = "Contents"
)

func openTable(name string, o Options) (Source, error) {
	t := &table{name: name, options: o}
	t.client = once(func(ctx context.Context) (*dynamodb.Client, error) {
		cfg, err := o.load(ctx)
		return dynamodb.NewFromConfig(cfg), err
	})
	return &certmagicStore{t}, nil
}

// once makes a client the first time that it is asked for.
func once[C any](open func(context.Context) (C, error)) func(context.Context) (C, error) {
	var mu sync.Mutex
	var client C
	var opened bool
	return func(ctx context.Context) (C, error) {
		mu.Lock()
		defer mu.Unlock()
		if opened {
			return client, nil
		}
		c, err := open(ctx)
		if err == nil {
			client, opened = c, true
		}
		return c, err
	}
}

// keys implements storage. The table has no index: it is read as a whole, once,
// which costs what its size costs.
func (t *table) keys(ctx context.Context) ([]string, error) {
	client, err := t.client(ctx)
	if err != nil {
		return nil, err
	}
	pages := dynamodb.NewScanPaginator(client, &dynamodb.ScanInput{
		TableName: &t.name, ProjectionExpression: aws.String(primaryKey),
		FilterExpression: aws.String("begins_with(PrimaryKey, :p) AND contains(PrimaryKey, :crt)"),
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":p": &types.AttributeValueMemberS{Value: certificatesPrefix + "/"}, ":crt": &types.AttributeValueMemberS{Value: ".crt"},
		},
	})
	var list []string
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, awsError("scan of table "+t.name, err)
		}
		for _, item := range page.Items {
			if key, ok := item[primaryKey].(*types.AttributeValueMemberS); ok {
				list = append(list, key.Value)
			}
		}
	}
	return list, nil
}

// batchPause is the wait before what a table has not answered is asked for again.
const batchPause = 200 * time.Millisecond

func (t *table) load(ctx context.Context, keys []string) ([][]byte, error) {
	client, err := t.client(ctx)
	if err != nil {
		return nil, err
	}
	ask := types.KeysAndAttributes{ConsistentRead: aws.Bool(true)}
	for _, key := range keys {
		ask.Keys = append(ask.Keys, map[string]types.AttributeValue{primaryKey: &types.AttributeValueMemberS{Value: key}})
	}
	found := map[string][]byte{}
	for request := map[string]types.KeysAndAttributes{t.name: ask}; len(request) > 0; {
		out, err := client.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: request})
		if err != nil {
			return nil, awsError("read of table "+t.name, err)
		}
		for _, item := range out.Responses[t.name] {
			key, _ := item[primaryKey].(*types.AttributeValueMemberS)
			if key == nil {
				continue
			}
			if found[key.Value], err = value(item[contents]); err != nil {
				return nil, &problem{fmt.Sprintf("the item %s is not one of certmagic-storage-dynamodb: %v", key.Value, err)}
			}
		}
		if request = out.UnprocessedKeys; len(request) > 0 {
			select {
			case <-time.After(batchPause):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
	values := make([][]byte, len(keys))
	for i, key := range keys {
		values[i] = found[key]
	}
	return values, nil
}

// value returns the contents of an item. Old versions wrote bytes.
func value(a types.AttributeValue) ([]byte, error) {
	switch a := a.(type) {
	case *types.AttributeValueMemberS:
		return base64.StdEncoding.DecodeString(a.Value)
	case *types.AttributeValueMemberB:
		return a.Value, nil
	}
	return nil, fmt.Errorf("%s is missing", contents)
}
