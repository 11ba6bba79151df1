package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/sync/errgroup"

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
	now := &types.AttributeValueMemberN{Value: strconv.FormatInt(time.Now().UnixMicro(), 10)}
	return map[string]types.AttributeValue{
		"pk": &types.AttributeValueMemberS{Value: fmt.Sprintf("domain#%02d", shard(host))}, "sk": &types.AttributeValueMemberS{Value: host},
		"tenant":  &types.AttributeValueMemberS{Value: "acme"},
		"version": &types.AttributeValueMemberN{Value: "1"}, "created": now, "updated": now,
	}
}

// loadSQLite likewise writes rows straight into the database of one machine.
func (b *bench) loadSQLite(ctx context.Context, data string) error {
	path := filepath.Join(data, "shingle.db")
	made, err := sqlite.Open(ctx, sqlite.Config{Path: path})
	if err != nil {
		return err
	}
	if err := made.Close(); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		return err
	}
	return errors.Join(b.insert(ctx, db), db.Close())
}

func (b *bench) insert(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing is left to undo after a commit
	q, err := tx.PrepareContext(ctx, "INSERT INTO domains (host, tenant, origin, redirect, paused, version, created_at, updated_at) VALUES (?, 'acme', '', '', 0, 1, ?, ?)")
	if err != nil {
		return err
	}
	defer q.Close()
	now := time.Now().UnixMicro()
	for i := range b.domains {
		if _, err := q.ExecContext(ctx, hostOf(i), now, now); err != nil {
			return err
		}
	}
	return tx.Commit()
}
