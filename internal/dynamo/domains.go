package dynamo

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/shingle-proxy/shingle"
)

// CreateDomain implements [shingle.DomainStore].
func (s *Store) CreateDomain(ctx context.Context, d shingle.Domain, now time.Time) (shingle.Domain, error) {
	d.Version, d.CreatedAt = 1, stored(now)
	d.UpdatedAt = d.CreatedAt
	return s.change(ctx, d.Host, author{d.UpdatedBy, d.UpdatedAt}, func(old *shingle.Domain) (*shingle.Domain, error) {
		if old != nil {
			return nil, shingle.ErrExists
		}
		return &d, nil
	})
}

// Domain implements [shingle.DomainStore].
func (s *Store) Domain(ctx context.Context, host string) (shingle.Domain, error) {
	d, err := s.domain(ctx, s.home, host)
	if err == nil && d == nil {
		err = shingle.ErrNotFound
	}
	if err != nil {
		return shingle.Domain{}, err
	}
	return *d, nil
}

// UpdateDomain implements [shingle.DomainStore].
func (s *Store) UpdateDomain(ctx context.Context, d shingle.Domain, now time.Time) (shingle.Domain, error) {
	return s.change(ctx, d.Host, author{d.UpdatedBy, stored(now)}, func(old *shingle.Domain) (*shingle.Domain, error) {
		if old == nil {
			return nil, shingle.ErrNotFound
		}
		next, err := d.Replacing(*old, now)
		if err != nil {
			return nil, err
		}
		return &next, nil
	})
}

// DeleteDomain implements [shingle.DomainStore].
func (s *Store) DeleteDomain(ctx context.Context, host string, version int64, by string, now time.Time) error {
	_, err := s.change(ctx, host, author{by, stored(now)}, func(old *shingle.Domain) (*shingle.Domain, error) {
		switch {
		case old == nil:
			return nil, shingle.ErrNotFound
		case version != 0 && old.Version != version:
			return nil, shingle.ErrConflict
		}
		return nil, nil
	})
	return err
}

// Domains implements [shingle.DomainStore].
func (s *Store) Domains(ctx context.Context, after string, limit int) ([]shingle.Domain, error) {
	return s.domains(ctx, s.home, after, limit)
}

func (s *Store) domains(ctx context.Context, c *client, after string, limit int) ([]shingle.Domain, error) {
	if err := checkLimit(limit); err != nil {
		return nil, err
	}
	var list []shingle.Domain
	for {
		left := limit - len(list) // others take the places of those that cannot be read
		items, err := s.list(ctx, c, listing{partitions: partitions("domain", shards), after: after, limit: left})
		if err != nil {
			return nil, err
		}
		for _, i := range items {
			after = i.text("sk")
			if d, err := s.row(i, after); err == nil {
				list = append(list, d)
			}
		}
		if len(items) < left || len(list) == limit {
			return list, nil
		}
	}
}

// domain returns the row, nil when there is none. One that cannot be read is an error:
// nobody must decide by it, or write over it.
func (s *Store) domain(ctx context.Context, c *client, host string) (*shingle.Domain, error) {
	i, err := s.get(ctx, c, domainKey(host))
	if errors.Is(err, shingle.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d, err := s.row(i, host)
	return &d, err
}

// row returns the row in an item. One that cannot be read it notes.
func (s *Store) row(i item, host string) (shingle.Domain, error) {
	key := "domain " + host
	d, err := i.domain(host)
	if err == nil {
		err = d.Readable()
	}
	if err != nil {
		s.cfg.Unreadable.Note(key, err)
		return d, shingle.UnreadableError(key, err)
	}
	s.cfg.Unreadable.Mended(key)
	return d, nil
}

func domainKey(host string) item { return key(partition("domain", shardOf(host, shards)), host) }

// get returns an item as it is now in the client's region, or
// [shingle.ErrNotFound].
func (s *Store) get(ctx context.Context, c *client, k item) (item, error) {
	if k.text("sk") == "" || len(k.text("sk")) > maxSortKey {
		return nil, shingle.ErrNotFound // no such item can be
	}
	var out *dynamodb.GetItemOutput
	_, err := c.call(ctx, "GetItem", func(ctx context.Context) (err error) {
		out, err = c.GetItem(ctx, &dynamodb.GetItemInput{TableName: &c.table, Key: k, ConsistentRead: aws.Bool(true)})
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(out.Item) == 0 {
		return nil, shingle.ErrNotFound
	}
	return out.Item, nil
}

// stored is the form in which times are kept.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
