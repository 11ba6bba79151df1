package dynamo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/shingle-proxy/shingle"
	"golang.org/x/sync/errgroup"
)

// position is a place in the feed: the number of the last change taken, in each
// log.
type position [shards]int64

// Head implements [shingle.DomainStore].
func (s *Store) Head(ctx context.Context) (shingle.Cursor, error) {
	heads, err := s.heads(ctx, s.home, true)
	if err != nil {
		return "", err
	}
	var p position
	for i, h := range heads {
		p[i] = h.number
	}
	return p.cursor(), nil
}

// Changes implements [shingle.DomainStore]. The changes of one host come in
// their order, and all others by the time of their making, as far as the clocks
// of the fleet agree. It costs one request when nothing has changed.
func (s *Store) Changes(ctx context.Context, after shingle.Cursor, limit int) ([]shingle.Change, shingle.Cursor, error) {
	return s.changes(ctx, s.home, after, limit)
}

func (s *Store) changes(ctx context.Context, c *client, after shingle.Cursor, limit int) ([]shingle.Change, shingle.Cursor, error) {
	if err := checkLimit(limit); err != nil {
		return nil, "", err
	}
	from, err := parsePosition(after)
	if err != nil {
		return nil, "", err
	}
	heads, err := s.heads(ctx, c, false)
	if err == nil && behind(heads, from) { // an eventually consistent answer may be an old one
		if heads, err = s.heads(ctx, c, true); err == nil && behind(heads, from) {
			err = shingle.ErrNotFound // the cursor is of another table, or of a time before a restore
		}
	}
	if err != nil {
		return nil, "", err
	}
	var list []shingle.Change
	for end := from; len(list) == 0; {
		logs, err := s.entries(ctx, c, end, heads, limit)
		if err != nil {
			return nil, "", err
		}
		next, to := merge(logs, end, limit)
		if len(next) == 0 {
			break
		}
		if list, err = s.tell(ctx, next); err != nil {
			return nil, "", err
		}
		end, after = to, to.cursor()
	}
	return list, after, nil
}

// tell makes changes of entries. Where one cannot be read, the domain as it is now, at
// home, takes its place, so that whoever follows misses nothing.
func (s *Store) tell(ctx context.Context, entries []entry) ([]shingle.Change, error) {
	list := make([]shingle.Change, 0, len(entries))
	for _, e := range entries {
		if e.fault != nil {
			s.cfg.Unreadable.Note("change "+strconv.FormatInt(e.number, 10)+" of "+e.log, e.fault)
			var err error
			if e.Change, err = shingle.PresentState(ctx, s, &e.Change); errors.Is(err, shingle.ErrUnreadable) {
				continue
			} else if err != nil {
				return nil, err
			}
		}
		list = append(list, e.Change)
	}
	return list, nil
}

// heads reads the ends of all logs.
func (s *Store) heads(ctx context.Context, c *client, consistent bool) (heads [shards]head, err error) {
	var out *dynamodb.QueryOutput
	_, err = c.call(ctx, "Query", func(ctx context.Context) (err error) {
		out, err = c.Query(ctx, &dynamodb.QueryInput{
			TableName: &c.table, ConsistentRead: &consistent,
			KeyConditionExpression: aws.String("pk = :p"), ExpressionAttributeValues: item{":p": text("head")},
		})
		return err
	})
	if err != nil {
		return heads, err
	}
	for _, i := range out.Items {
		sk := item(i).text("sk")
		shard, err := strconv.Atoi(sk)
		if err != nil || shard < 0 || shard >= shards {
			s.cfg.Unreadable.Note("head "+sk, shingle.RecordFault("there is no such log"))
			continue
		}
		if heads[shard], err = item(i).head(); err != nil {
			s.cfg.Unreadable.Note("head "+sk, err)
			if heads[shard], err = s.lastOf(ctx, c, shard); err != nil {
				return heads, err
			}
		}
	}
	return heads, nil
}

// lastOf returns the end of a log by what is in it: for who reads it when its head cannot
// be read. Nobody writes on in such a log.
func (s *Store) lastOf(ctx context.Context, c *client, shard int) (head, error) {
	last, err := s.query(ctx, c, logQuery{shard: shard, limit: 1, consistent: true, backwards: true})
	if err != nil || len(last) == 0 {
		return head{}, err
	}
	return head{number: last[0].number, at: last[0].at}, nil
}

func behind(heads [shards]head, p position) bool {
	for i := range p {
		if heads[i].number < p[i] {
			return true
		}
	}
	return false
}

// entry is a change with its place in the feed.
type entry struct {
	shingle.Change
	number int64
	at     int64 // when it was made, Unix microseconds
	prev   int64 // when the one before it in its log was
	log    string
	fault  error // it cannot be read: of the change only Host is set, if at all
}

// log is a part of one log, without a gap.
type log struct {
	entries []entry
	more    bool // others follow
}

// entries reads what each log has behind from: its share of the limit, if they
// are all alike.
func (s *Store) entries(ctx context.Context, c *client, from position, heads [shards]head, limit int) (logs [shards]log, err error) {
	changed := 0
	for i := range heads {
		if heads[i].number > from[i] {
			changed++
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for i := range heads {
		if heads[i].number > from[i] {
			group.Go(func() (err error) {
				logs[i], err = s.entriesOf(ctx, c, i, from[i], heads[i], min(limit, share(limit, changed)+1))
				return err
			})
		}
	}
	return logs, group.Wait()
}

// entriesOf reads one log behind the number from, up to where one is missing. The
// first of all that is missing was removed by its TTL, which makes
// [shingle.ErrNotFound], or has not come to a replica yet.
func (s *Store) entriesOf(ctx context.Context, c *client, shard int, from int64, end head, limit int) (log, error) {
	q := logQuery{shard: shard, from: from, limit: limit}
	entries, err := s.query(ctx, c, q)
	if err == nil && (len(entries) == 0 || entries[0].number != from+1) {
		q.consistent = true
		entries, err = s.query(ctx, c, q)
	}
	if err != nil {
		return log{}, err
	}
	n := 0
	for n < len(entries) && entries[n].number == from+int64(n)+1 {
		n++
	}
	switch {
	case n > 0:
		return log{entries: entries[:n], more: entries[n-1].number < end.number}, nil
	case c != s.home && s.late(entries, end):
		return log{}, nil
	}
	return log{}, shingle.ErrNotFound
}

// late reports whether the change in front of the first that is there, or else the
// last of the log, is too young to have been removed: a replica gets items in any
// order. Until that one has come nothing is known of those before it.
func (s *Store) late(there []entry, end head) bool {
	missing := end.at
	if len(there) > 0 {
		missing = there[0].prev
	}
	return s.cfg.Now().Sub(time.UnixMicro(missing)) < s.cfg.Retention
}

// logQuery is a question for changes of one log.
type logQuery struct {
	shard      int
	from       int64 // those behind this number
	limit      int
	consistent bool
	backwards  bool // the last ones, the newest first
}

func (s *Store) query(ctx context.Context, c *client, q logQuery) ([]entry, error) {
	var out *dynamodb.QueryOutput
	_, err := c.call(ctx, "Query", func(ctx context.Context) (err error) {
		out, err = c.Query(ctx, &dynamodb.QueryInput{
			TableName: &c.table, ConsistentRead: &q.consistent, Limit: aws.Int32(int32(q.limit)), ScanIndexForward: aws.Bool(!q.backwards),
			KeyConditionExpression:    aws.String("pk = :p AND sk > :from"),
			ExpressionAttributeValues: item{":p": text(partition("change", q.shard)), ":from": text(changeNumber(q.from))},
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	list := make([]entry, 0, len(out.Items))
	for _, i := range out.Items {
		if e, ok := item(i).entry(); ok {
			list = append(list, e)
		} else {
			s.cfg.Unreadable.Note("change "+item(i).text("sk")+" of "+item(i).text("pk"), shingle.RecordFault("its number is none"))
		}
	}
	return list, nil
}

// entry reads an entry of a log. One whose change cannot be read has its place all the
// same, if its number can be.
func (i item) entry() (e entry, ok bool) {
	var err error
	if e.number, err = strconv.ParseInt(i.text("sk"), 10, 64); err != nil || e.number < 1 {
		return e, false
	}
	e.log = i.text("pk")
	if _, ok := i["prev"]; ok { // an earlier version wrote none
		e.prev, e.fault = i.number("prev")
	}
	if e.at, err = i.number("at"); err != nil {
		e.at, e.fault = e.prev+1, err
	}
	if e.fault == nil {
		e.fault = i.change(&e.Change)
	}
	if e.fault != nil {
		e.Change = shingle.Change{Host: i.text("host"), At: time.UnixMicro(e.at).UTC(), By: i.text("by")}
	}
	return e, true
}

// change reads the change in an entry of a log.
func (i item) change(c *shingle.Change) (err error) {
	if c.At, err = i.time("made"); err != nil {
		return err
	}
	c.Host, c.By = i.text("host"), i.text("by")
	if before := i.text("before"); before != "" {
		if err := json.Unmarshal([]byte(before), &c.Before); err != nil {
			return fmt.Errorf("decode row before: %w", err)
		}
	}
	_, row := i["version"]
	if _, left := i["created"]; left && !row {
		return shingle.RecordFault("it has a row without a version")
	}
	if !row {
		c.Deleted, c.Domain = true, shingle.Domain{Host: c.Host}
	} else if c.Domain, err = i.domain(c.Host); err != nil {
		return err
	}
	return c.Readable()
}

// merge takes changes from the logs by their time, up to limit and up to where a
// log that has more was read. It takes at least one if there is one.
func merge(logs [shards]log, from position, limit int) (list []entry, to position) {
	to = from
	until := int64(math.MaxInt64)
	for _, l := range logs {
		if l.more && len(l.entries) > 0 {
			until = min(until, l.entries[len(l.entries)-1].at)
		}
	}
	for len(list) < limit {
		first := -1
		for i, l := range logs {
			if len(l.entries) > 0 && l.entries[0].at <= until && (first < 0 || l.entries[0].at < logs[first].entries[0].at) {
				first = i
			}
		}
		if first < 0 {
			break
		}
		e := logs[first].entries[0]
		logs[first].entries = logs[first].entries[1:]
		list, to[first] = append(list, e), e.number
	}
	return list, to
}

const cursorPrefix = "d1."

// cursor writes the position as "d1.N.N...", each number in base 36.
func (p position) cursor() shingle.Cursor {
	b := []byte(cursorPrefix)
	for i, n := range p {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendInt(b, n, 36)
	}
	return shingle.Cursor(b)
}

func parsePosition(c shingle.Cursor) (p position, err error) {
	if c == "" {
		return p, nil
	}
	rest, ours := strings.CutPrefix(string(c), cursorPrefix)
	part := strings.Split(rest, ".")
	if !ours || len(part) != shards {
		return p, shingle.ErrNotFound
	}
	var errs [shards]error
	for i := range p {
		if p[i], errs[i] = strconv.ParseInt(part[i], 36, 64); errs[i] == nil && p[i] < 0 {
			errs[i] = strconv.ErrRange
		}
	}
	if errors.Join(errs[:]...) != nil {
		return p, shingle.ErrNotFound
	}
	return p, nil
}
