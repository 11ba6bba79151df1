package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"path/filepath"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/sync/errgroup"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/dynamo"
	"github.com/shingle-proxy/shingle/internal/sqlite"
)

const region = "eu-central-1"

var identity = credentials.NewStaticCredentialsProvider("bench", "bench", "")

func (b *bench) store(ctx context.Context, table string) (*dynamo.Store, error) {
	return dynamo.Open(ctx, dynamo.Config{Table: table, Region: region, Endpoint: b.endpoint, Credentials: identity})
}

func hostOf(i int) string { return fmt.Sprintf("shop%07d.customer.example", i) }

// Bounds of a load.
const (
	batch   = 25 // DynamoDB's own
	writers = 16
)

// loadTable writes domains straight into a table, as rows whose changes were
// removed long ago: a transaction for each would take an hour for a million.
func (b *bench) loadTable(ctx context.Context, table string) error {
	c := dynamodb.New(dynamodb.Options{Region: region, BaseEndpoint: &b.endpoint, Credentials: identity})
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for from := 0; from < b.domains && ctx.Err() == nil; from += batch {
		group.Go(func() error {
			var puts []types.WriteRequest
			for i := from; i < min(from+batch, b.domains); i++ {
				puts = append(puts, types.WriteRequest{PutRequest: &types.PutRequest{Item: row(hostOf(i))}})
			}
			out, err := c.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{table: puts}})
			if err == nil && len(out.UnprocessedItems) > 0 {
				err = errors.New("some rows were not taken")
			}
			return err
		})
	}
	return group.Wait()
}

// row is a domain as internal/dynamo has it. The edge that reads it tells whether
// it still is.
func row(host string) map[string]types.AttributeValue {
	h := fnv.New64a()
	_, _ = h.Write([]byte(host)) // never fails
	sum := h.Sum64()
	now := &types.AttributeValueMemberN{Value: strconv.FormatInt(time.Now().UnixMicro(), 10)}
	return map[string]types.AttributeValue{
		"pk": &types.AttributeValueMemberS{Value: fmt.Sprintf("domain#%02d", (sum^sum>>32)%16)}, "sk": &types.AttributeValueMemberS{Value: host},
		"tenant":  &types.AttributeValueMemberS{Value: "acme"},
		"version": &types.AttributeValueMemberN{Value: "1"}, "created": now, "updated": now,
	}
}

// loadSQLite writes domains into the database of one machine, by its store.
func (b *bench) loadSQLite(ctx context.Context, data string) error {
	db, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(data, "shingle.db")})
	if err != nil {
		return err
	}
	group, loading := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for i := 0; i < b.domains && loading.Err() == nil; i++ {
		group.Go(func() error {
			_, err := db.CreateDomain(loading, shingle.Domain{Host: hostOf(i), Tenant: "acme"}, time.Now())
			return err
		})
	}
	return errors.Join(group.Wait(), db.Close())
}
