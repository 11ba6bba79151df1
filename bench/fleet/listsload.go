package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/sync/errgroup"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/sqlite"
)

// The domains of the lists are created a second after each other, out of step with their
// names, and each status changed when its domain was created. Every 2000th waits for its
// customer, every 5000th for the operator.
const (
	stride       = 7919 // a prime
	listsTenants = 1000
)

var listsBegan = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// nthCreated is which domain was created nth.
func (b *bench) nthCreated(n int) int { return n * stride % b.domains }

func (b *bench) createdAt(nth int) time.Time { return listsBegan.Add(time.Duration(nth) * time.Second) }

// listed is the domain that was created nth, with its status.
func (b *bench) listed(nth int) (shingle.Domain, shingle.Status) {
	i, at := b.nthCreated(nth), b.createdAt(nth)
	d := shingle.Domain{Host: hostOf(i), Tenant: fmt.Sprintf("tenant%04d", i%listsTenants), Paused: i%10_000 == 9999, Version: 1, CreatedAt: at, UpdatedAt: at}
	if i%1000 == 999 {
		d.Settings = `{"tags":["rare"]}`
	}
	s := shingle.Status{
		Host: d.Host, Tenant: d.Tenant, State: shingle.StateActive, Reason: shingle.ReasonServed, Message: "The domain is served.", Who: shingle.WhoNobody,
		Since: at, Changed: at, Checked: time.Now().UTC(), Next: time.Now().UTC().AddDate(0, 0, 2).Truncate(time.Second),
	}
	switch {
	case i%5000 == 1:
		s.State, s.Who = shingle.StateDrifting, shingle.WhoOperator
	case i%2000 == 1:
		s.State, s.Who = shingle.StatePending, shingle.WhoCustomer
	}
	return d, s
}

// record is one as a store keeps it.
type record struct {
	key   string
	value []byte
}

// records are a status and its entry in the index, as internal/check has them. What the
// lists show tells whether it still has.
func statusRecords(s *shingle.Status) ([]record, error) {
	left := int64(1e16-1) - s.Changed.UnixMicro()
	entry := fmt.Sprintf("checks/listed/%s/%s/%016d/%s/%s/%s", s.Who, s.State, left, s.Host, s.Tenant, rand.Text()[:10])
	value, err := json.Marshal(struct {
		*shingle.Status
		Listed string `json:"listed"`
		Seq    int64  `json:"seq"`
	}{s, entry, 1})
	return []record{{"statuses/" + s.Host, value}, {entry, []byte("{}")}}, err
}

// rested has the parts of a control process believe that they have seen all domains.
func rested(ctx context.Context, domains shingle.DomainStore, blobs shingle.Blobs) error {
	head, err := domains.Head(ctx)
	if err != nil {
		return err
	}
	position, err := json.Marshal(map[string]any{"cursor": head})
	for key, value := range map[string][]byte{
		"worker/domains": position, "checks/position": position, "events/position": position, "checks/indexing": []byte(`{"done":true}`),
	} {
		if err == nil {
			_, err = blobs.Put(ctx, key, value, shingle.NoVersion)
		}
	}
	return err
}

func (b *bench) listsInSQLite(ctx context.Context, data string) (table string, err error) {
	path := filepath.Join(data, "shingle.db")
	made, err := sqlite.Open(ctx, sqlite.Config{Path: path})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, made.Close()) }()
	if err := rested(ctx, made, made); err != nil {
		return "", err
	}
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	const page = 10_000
	for from := 0; from < b.domains; from += page {
		rows, statuses := b.some(from, min(from+page, b.domains))
		if err := errors.Join(made.LoadDomains(ctx, rows), insertRecords(ctx, db, statuses)); err != nil {
			return "", err
		}
	}
	return "", nil
}

func (b *bench) some(from, to int) (rows []shingle.Domain, statuses []shingle.Status) {
	for n := from; n < to; n++ {
		d, s := b.listed(n)
		rows, statuses = append(rows, d), append(statuses, s)
	}
	return rows, statuses
}

func insertRecords(ctx context.Context, db *sql.DB, statuses []shingle.Status) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing is left to undo after a commit
	q, err := tx.PrepareContext(ctx, "INSERT INTO blobs (key, value, version) VALUES (?, ?, 1)")
	if err != nil {
		return err
	}
	defer q.Close()
	for i := range statuses {
		list, err := statusRecords(&statuses[i])
		if err != nil {
			return err
		}
		for _, r := range list {
			if _, err := q.ExecContext(ctx, r.key, r.value); err != nil {
				return err
			}
		}
	}
	return tx.Commit()
}

func (b *bench) listsInTable(ctx context.Context, _ string) (table string, err error) {
	if table, err = b.newTable(ctx); err != nil {
		return "", err
	}
	s, err := b.store(ctx, table)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for again := time.Now(); !again.IsZero() && !again.After(time.Now()); { // the table's own marks
		if again, err = s.Index(ctx); err != nil {
			return "", err
		}
	}
	if err := rested(ctx, s, s); err != nil {
		return "", err
	}
	c := dynamodb.New(dynamodb.Options{Region: region, BaseEndpoint: &b.endpoint, Credentials: identity})
	group, writing := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	const each = 4 // of six items a domain
	for from := 0; from < b.domains && writing.Err() == nil; from += each {
		group.Go(func() error {
			var puts []types.WriteRequest
			for n := from; n < min(from+each, b.domains); n++ {
				items, err := b.items(n)
				if err != nil {
					return err
				}
				for _, item := range items {
					puts = append(puts, types.WriteRequest{PutRequest: &types.PutRequest{Item: item}})
				}
			}
			out, err := c.BatchWriteItem(writing, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{table: puts}})
			if err == nil && len(out.UnprocessedItems) > 0 {
				err = errors.New("some rows were not taken")
			}
			return err
		})
	}
	return table, group.Wait()
}

// items are a domain, its places, its status and its entry in the index of statuses, as
// internal/dynamo has them.
func (b *bench) items(nth int) ([]map[string]types.AttributeValue, error) {
	d, s := b.listed(nth)
	text := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
	number := func(n int64) types.AttributeValue {
		return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
	}
	key := func(pk, sk string) map[string]types.AttributeValue {
		return map[string]types.AttributeValue{"pk": text(pk), "sk": text(sk)}
	}
	row := key(fmt.Sprintf("domain#%02d", shard(d.Host)), d.Host)
	row["tenant"], row["version"] = text(d.Tenant), number(1)
	row["created"], row["updated"] = number(d.CreatedAt.UnixMicro()), number(d.UpdatedAt.UnixMicro())
	if d.Settings != "" {
		row["settings"] = text(string(d.Settings))
	}
	if d.Paused {
		row["paused"] = &types.AttributeValueMemberBOOL{Value: true}
	}
	made := fmt.Sprintf("%016d/%s", d.CreatedAt.UnixMicro(), d.Host)
	items := []map[string]types.AttributeValue{
		row, key(fmt.Sprintf("made#%02d", shard(d.Host)), made), key("of#"+d.Tenant, d.Host), key("madeof#"+d.Tenant, made),
	}
	list, err := statusRecords(&s)
	for _, r := range list {
		pk := "blob#00"
		if strings.HasPrefix(r.key, "statuses/") {
			pk = fmt.Sprintf("blob#%02d", shard(r.key))
		}
		item := key(pk, r.key)
		item["value"], item["version"] = &types.AttributeValueMemberB{Value: r.value}, text(rand.Text())
		items = append(items, item)
	}
	return items, err
}

// shard is of which of 16 partitions a key is.
func shard(key string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key)) // never fails
	sum := h.Sum64()
	return (sum ^ sum>>32) % 16
}
