package dynamo

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/shingle-proxy/shingle"
	"golang.org/x/sync/errgroup"
)

var _ shingle.MovableStore = (*Store)(nil)

// loaders is how many rows are on their way at once.
const loaders = 32

// LoadDomains implements [shingle.MovableStore]. It costs a write a row: half of
// what a domain costs that is written with its change.
func (s *Store) LoadDomains(ctx context.Context, rows []shingle.Domain) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(loaders)
	for i := range rows {
		group.Go(func() error {
			if err := checkHost(rows[i].Host); err != nil {
				return err
			}
			k := domainKey(rows[i].Host)
			k.setDomain(&rows[i])
			_, err := s.home.call(ctx, "PutItem", func(ctx context.Context) error {
				_, err := s.home.PutItem(ctx, &dynamodb.PutItemInput{TableName: &s.home.table, Item: k})
				return err
			})
			return err
		})
	}
	return group.Wait()
}

// Tokens implements [shingle.MovableStore].
func (s *Store) Tokens(ctx context.Context, after string, limit int) ([]shingle.Token, error) {
	if err := checkLimit(limit); err != nil {
		return nil, err
	}
	items, err := s.list(ctx, s.home, listing{partitions: []string{"token"}, after: after, limit: limit})
	if err != nil {
		return nil, err
	}
	var list []shingle.Token
	for _, i := range items {
		t, err := i.token()
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

func (i item) token() (t shingle.Token, err error) {
	t.ID, t.Label = i.text("sk"), i.text("label")
	if copy(t.Hash[:], i.bytes("hash")) != len(t.Hash) {
		return t, fmt.Errorf("decode token %s: its hash is too short", t.ID)
	}
	t.CreatedAt, err = i.time("created")
	return t, err
}
