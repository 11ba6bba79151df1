package dynamo

import (
	"context"
	"math"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"golang.org/x/sync/errgroup"
)

// listing is a question for the items of several partitions, in the order of
// their sort keys, of which each partition has a share at random.
type listing struct {
	partitions    []string
	prefix, after string // of the sort key
	backwards     bool   // from the largest sort key; without a prefix
	limit         int
	attributes    string // to return, as a projection; empty: all
}

// list answers a listing. It reads from each partition its share of the page and
// a little more, so that few have to be asked twice.
func (s *Store) list(ctx context.Context, c *client, l listing) ([]item, error) {
	if !l.backwards && l.after >= l.prefix && !strings.HasPrefix(l.after, l.prefix) {
		return nil, nil // behind all that have the prefix
	}
	streams := make([]*stream, len(l.partitions))
	for i, p := range l.partitions {
		streams[i] = &stream{partition: p, after: l.after}
	}
	var page []item
	for {
		if err := s.fill(ctx, c, l, streams, share(l.limit-len(page), len(streams))); err != nil {
			return nil, err
		}
		for len(page) < l.limit {
			first := l.next(streams)
			if first == nil {
				return page, nil
			}
			page = append(page, first.items[0])
			first.items = first.items[1:]
			if len(first.items) == 0 && !first.ended {
				break
			}
		}
		if len(page) == l.limit {
			return page, nil
		}
	}
}

// share is how many of n items one of several partitions probably has at most:
// two standard deviations above the mean.
func share(n, partitions int) int {
	mean := float64(n) / float64(partitions)
	return min(n, int(math.Ceil(mean+2*math.Sqrt(mean))))
}

// stream is a partition as far as it was read.
type stream struct {
	partition string
	after     string // the last sort key that was read
	items     []item // read and not yet taken
	ended     bool
}

// next returns the stream with the first item, nil when all have ended.
func (l *listing) next(streams []*stream) *stream {
	var first *stream
	for _, s := range streams {
		if len(s.items) > 0 && (first == nil || (s.items[0].text("sk") < first.items[0].text("sk")) != l.backwards) {
			first = s
		}
	}
	return first
}

// fill reads up to n items into each stream that has none and has not ended.
func (s *Store) fill(ctx context.Context, c *client, l listing, streams []*stream, n int) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, st := range streams {
		if len(st.items) == 0 && !st.ended {
			group.Go(func() error { return s.read(ctx, c, l, st, n) })
		}
	}
	return group.Wait()
}

// read reads on in one partition. An answer may be short of n, or even empty,
// before the end.
func (s *Store) read(ctx context.Context, c *client, l listing, st *stream, n int) error {
	if st.ended = len(l.prefix) >= maxSortKey; st.ended { // behind such a prefix nothing can be
		return nil
	}
	in := l.query(c.table, st, n)
	for len(st.items) == 0 && !st.ended {
		var out *dynamodb.QueryOutput
		if _, err := c.call(ctx, "Query", func(ctx context.Context) (err error) { out, err = c.Query(ctx, in); return err }); err != nil {
			return err
		}
		for _, i := range out.Items {
			if i := item(i); i.text("sk") != st.after {
				st.items = append(st.items, i)
			}
		}
		st.ended, in.ExclusiveStartKey = len(out.LastEvaluatedKey) == 0, out.LastEvaluatedKey
	}
	if len(st.items) > 0 {
		st.after = st.items[len(st.items)-1].text("sk")
	}
	return nil
}

// query asks for up to n items behind those of a partition that were read.
func (l *listing) query(table string, st *stream, n int) *dynamodb.QueryInput {
	values, condition := item{":p": text(st.partition)}, "pk = :p"
	in := &dynamodb.QueryInput{TableName: &table, ConsistentRead: aws.Bool(true), Limit: aws.Int32(int32(n))}
	if l.backwards {
		in.ScanIndexForward = aws.Bool(false)
	}
	if l.attributes != "" {
		in.ProjectionExpression = &l.attributes
	}
	switch {
	case l.prefix != "":
		// There is room for one condition on the sort key only, and none says both.
		condition += " AND sk BETWEEN :from AND :end"
		values[":from"], values[":end"] = text(max(l.prefix, st.after)), text(l.prefix+"\x7f")
		if st.after >= l.prefix {
			in.Limit = aws.Int32(int32(n) + 1) // with the one that is left out
		}
	case st.after != "" && l.backwards:
		condition += " AND sk < :after"
		values[":after"] = text(st.after)
	case st.after != "":
		condition += " AND sk > :after"
		values[":after"] = text(st.after)
	}
	in.KeyConditionExpression, in.ExpressionAttributeValues = &condition, values
	return in
}

const maxSortKey = 1024 // bytes; DynamoDB's own limit
