package dynamo

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/shingle-proxy/shingle"
	"golang.org/x/sync/errgroup"
)

const (
	indexPasses = 2         // the second is for what older versions wrote during the first
	indexPause  = time.Hour // before the second: by then the update of the fleet has ended
)

// errIndexing is what a question hears that needs the places of all domains.
var errIndexing = shingle.Errorf(shingle.CodeUnavailable, "the domains are being put in order, as after an update from a version that did not: try again in a minute; the list of all domains by host can be had now")

// indexed is how far the rows that were written without their places have got them.
type indexed struct {
	passes int       // that have ended
	after  string    // the last host of the one that is under way
	ended  time.Time // the last pass
	exists bool      // it is in the table
}

func indexKey() item { return key("index", "places") }

func (s *Store) indexed(ctx context.Context, c *client) (at indexed, err error) {
	i, err := s.get(ctx, c, indexKey())
	if errors.Is(err, shingle.ErrNotFound) {
		return indexed{}, nil
	}
	if err != nil {
		return indexed{}, err
	}
	passes, err := i.number("passes")
	if err != nil {
		return indexed{}, err
	}
	at = indexed{passes: int(passes), after: i.text("after"), exists: true}
	at.ended, err = i.time("ended")
	return at, err
}

// Index gives some domains, a step, their places in the orders of [Store.FindDomains]: those
// that were written by a version that knew no places. It goes on where the last call
// ended, by whichever process, can be repeated at any point, and returns when it wants to
// be called again; zero: never.
func (s *Store) Index(ctx context.Context) (again time.Time, err error) {
	was, err := s.indexed(ctx, s.home)
	switch {
	case err != nil:
		return time.Time{}, err
	case was.passes >= indexPasses:
		return time.Time{}, nil
	case was.passes > 0 && s.cfg.Now().Before(was.ended.Add(indexPause)):
		return was.ended.Add(indexPause), nil
	}
	rows, err := s.domains(ctx, s.home, was.after, s.cfg.IndexStep)
	if err != nil {
		return time.Time{}, err
	}
	if err := s.place(ctx, rows); err != nil {
		return time.Time{}, err
	}
	is := was
	if len(rows) == s.cfg.IndexStep {
		is.after = rows[len(rows)-1].Host
		again = s.cfg.Now()
	} else {
		is.after, is.ended = "", s.cfg.Now()
		if is.passes++; is.passes < indexPasses {
			again = is.ended.Add(indexPause)
		}
	}
	return again, s.setIndexed(ctx, was, is)
}

// place writes the places of rows that have none. A row that is deleted meanwhile may
// leave one behind, which nobody believes.
func (s *Store) place(ctx context.Context, rows []shingle.Domain) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(loaders)
	for i := range rows {
		for _, k := range places(&rows[i]) {
			group.Go(func() error {
				if _, err := s.get(ctx, s.home, k); !errors.Is(err, shingle.ErrNotFound) {
					return err
				}
				return s.put(ctx, &dynamodb.PutItemInput{TableName: &s.home.table, Item: k})
			})
		}
	}
	return group.Wait()
}

// setIndexed notes a step, unless another process has noted one since was: that one
// counts, then.
func (s *Store) setIndexed(ctx context.Context, was, is indexed) error {
	i := indexKey()
	i["passes"], i["after"], i["ended"] = number(int64(is.passes)), text(is.after), number(is.ended.UnixMicro())
	in := &dynamodb.PutItemInput{TableName: &s.home.table, Item: i, ConditionExpression: aws.String("attribute_not_exists(pk)")}
	if was.exists {
		in.ConditionExpression = aws.String("passes = :passes AND #after = :after")
		in.ExpressionAttributeNames = map[string]string{"#after": "after"}
		in.ExpressionAttributeValues = item{":passes": number(int64(was.passes)), ":after": text(was.after)}
	}
	if err := s.put(ctx, in); !errors.Is(err, errChanged) {
		return err
	}
	return nil
}

func (s *Store) put(ctx context.Context, in *dynamodb.PutItemInput) error {
	_, err := s.home.call(ctx, "PutItem", func(ctx context.Context) error {
		_, err := s.home.PutItem(ctx, in)
		return err
	})
	return err
}

// placed returns nil when all domains have their places, as far as c is told. A small
// table gets what is missing at once.
func (s *Store) placed(ctx context.Context, c *client) error {
	if s.ready.Load() {
		return nil
	}
	at, err := s.indexed(ctx, c)
	if err == nil && at.passes == 0 {
		if _, err = s.Index(ctx); err == nil {
			at, err = s.indexed(ctx, c)
		}
	}
	switch {
	case err != nil:
		return err
	case at.passes == 0:
		return errIndexing
	}
	s.ready.Store(true)
	return nil
}
