package dynamo

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/shingle-proxy/shingle"
	"golang.org/x/sync/errgroup"
)

var _ shingle.MovableStore = (*Store)(nil)

// loaders is how many rows are on their way at once.
const loaders = 32

// LoadDomains implements [shingle.MovableStore]. It costs a write a row, and one for
// each of its places: half of what a domain costs that is written with its change.
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
			for _, k := range append(places(&rows[i]), k) {
				if err := s.put(ctx, &dynamodb.PutItemInput{TableName: &s.home.table, Item: k}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}
