package dynamo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/shingle-proxy/shingle"
	"golang.org/x/sync/errgroup"
)

// places are the keys of the items that say that d exists, each in an order of its own.
// They are written in the transaction of the row, and have nothing that changes with it
// but the tenant, so that most changes of a domain leave them as they are. Nobody
// believes them: who reads one reads its row.
func places(d *shingle.Domain) []item {
	if d == nil {
		return nil
	}
	made := madeKey(shingle.PlaceOf(d))
	list := []item{key(partition("made", shardOf(d.Host, shards)), made)}
	if d.Tenant != "" {
		list = append(list, key("of#"+d.Tenant, d.Host), key("madeof#"+d.Tenant, made))
	}
	return list
}

// madeKey orders by creation, and then by host.
func madeKey(p shingle.DomainPlace) string {
	return fmt.Sprintf("%016d/%s", max(0, p.Created.UnixMicro()), p.Host)
}

// writePlaces has the places of next take those of old.
func (s *Store) writePlaces(old, next *shingle.Domain) (list []types.TransactWriteItem) {
	was, is := map[string]item{}, places(next)
	for _, k := range places(old) {
		was[k.text("pk")+" "+k.text("sk")] = k
	}
	for _, k := range is {
		name := k.text("pk") + " " + k.text("sk")
		if was[name] == nil {
			list = append(list, types.TransactWriteItem{Put: &types.Put{TableName: &s.home.table, Item: k}})
		}
		delete(was, name)
	}
	for _, k := range was {
		list = append(list, types.TransactWriteItem{Delete: &types.Delete{TableName: &s.home.table, Key: k}})
	}
	return list
}

// FindDomains implements [shingle.DomainStore].
func (s *Store) FindDomains(ctx context.Context, q shingle.DomainQuery) ([]shingle.Domain, error) {
	return s.findDomains(ctx, s.home, q)
}

func (s *Store) findDomains(ctx context.Context, c *client, q shingle.DomainQuery) ([]shingle.Domain, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	if q.Order == shingle.ByHost && q.Tenant == "" {
		return s.domains(ctx, c, q.After.Host, q.Limit)
	}
	if err := s.placed(ctx, c); err != nil {
		return nil, err
	}
	l := listing{after: q.After.Host, backwards: q.Order == shingle.NewestFirst, attributes: "sk"}
	l.partitions = partitions("made", shards)
	if q.Tenant != "" {
		l.partitions = []string{"madeof#" + q.Tenant}
	}
	if q.Order == shingle.ByHost {
		l.partitions = []string{"of#" + q.Tenant}
	} else if q.After.Host != "" {
		l.after = madeKey(q.After)
	}
	var list []shingle.Domain
	for len(list) < q.Limit {
		l.limit = q.Limit - len(list)
		items, err := s.list(ctx, c, l)
		if err != nil {
			return nil, err
		}
		rows, err := s.rowsAt(ctx, c, &q, items)
		if err != nil {
			return nil, err
		}
		list = append(list, rows...)
		if len(items) < l.limit {
			break
		}
		l.after = items[len(items)-1].text("sk")
	}
	return list, nil
}

// CountDomains implements [shingle.DomainCounter]: a read unit for some eighty domains.
func (s *Store) CountDomains(ctx context.Context, tenant string, most int) (int, error) {
	return s.countDomains(ctx, s.home, tenant, most)
}

func (s *Store) countDomains(ctx context.Context, c *client, tenant string, most int) (n int, err error) {
	if err := s.placed(ctx, c); err != nil {
		return 0, err
	}
	in := &dynamodb.QueryInput{
		TableName: &c.table, Select: types.SelectCount,
		KeyConditionExpression: aws.String("pk = :p"), ExpressionAttributeValues: item{":p": text("of#" + tenant)},
	}
	for n < most {
		in.Limit = aws.Int32(int32(min(most-n, math.MaxInt32)))
		var out *dynamodb.QueryOutput
		if _, err := c.call(ctx, "Query", func(ctx context.Context) (err error) { out, err = c.Query(ctx, in); return err }); err != nil {
			return 0, err
		}
		n += int(out.Count)
		if in.ExclusiveStartKey = out.LastEvaluatedKey; len(out.LastEvaluatedKey) == 0 {
			break
		}
	}
	return n, nil
}

// rowReaders is how many rows are read at once.
const rowReaders = 32

// rowsAt reads the rows at places. One that is gone, or has moved to another place, is
// none: it was written after the place was read, or came to this region before it.
func (s *Store) rowsAt(ctx context.Context, c *client, q *shingle.DomainQuery, at []item) ([]shingle.Domain, error) {
	rows := make([]*shingle.Domain, len(at))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(rowReaders)
	for i := range at {
		group.Go(func() (err error) {
			place := at[i].text("sk")
			host := place
			if q.Order != shingle.ByHost {
				_, host, _ = strings.Cut(place, "/")
			}
			d, err := s.domain(ctx, c, host)
			if errors.Is(err, shingle.ErrUnreadable) {
				return nil // others are not
			}
			if err != nil || d == nil || q.Tenant != "" && q.Tenant != d.Tenant || q.Order != shingle.ByHost && place != madeKey(shingle.PlaceOf(d)) {
				return err
			}
			rows[i] = d
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var list []shingle.Domain
	for _, d := range rows {
		if d != nil {
			list = append(list, *d)
		}
	}
	return list, nil
}
