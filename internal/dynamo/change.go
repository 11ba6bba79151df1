package dynamo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/shingle-proxy/shingle"
)

// changeLog is one of the logs of changes, as this process knows it. A change
// takes the number behind the last one, which the head holds, and is written
// together with the next head: so no reader that has seen a number can miss a
// smaller one. The writers of one process take turns, or they would only cancel
// each other's transactions; those of several meet rarely, and try again.
type changeLog struct {
	turn  chan struct{} // held by the writer that is at work
	last  head
	known bool // whether last has been read
}

// head is the end of one log.
type head struct {
	number int64 // of the last change; 0: there was none yet
	at     int64 // when it was made, Unix microseconds; grows with the number
}

// author is who makes a change, and when by their clock.
type author struct {
	by string
	at time.Time
}

const changeAttempts = 40

// Outcomes of a commit, after which it is tried again.
var (
	errRowChanged  = errors.New("the domain was changed meanwhile")
	errHeadChanged = errors.New("another process took the number")
	errHeadBehind  = errors.New("the log goes on behind its head")
	errBusy        = errors.New("another transaction is at work on the same items")
)

// change replaces the row of host by what edit makes of it: nil for none, both
// ways. It returns the row that was written. edit may be called several times.
func (s *Store) change(ctx context.Context, host string, who author, edit func(old *shingle.Domain) (*shingle.Domain, error)) (shingle.Domain, error) {
	if err := checkHost(host); err != nil {
		return shingle.Domain{}, err
	}
	var last error
	for try := range changeAttempts {
		old, err := s.domain(ctx, s.home, host)
		if err != nil {
			return shingle.Domain{}, err
		}
		next, err := edit(old)
		if err != nil {
			return shingle.Domain{}, err
		}
		last = s.append(ctx, host, who, old, next)
		switch {
		case last == nil && next == nil:
			return shingle.Domain{}, nil
		case last == nil:
			return *next, nil
		case !errors.Is(last, errRowChanged) && !errors.Is(last, errHeadChanged) && !errors.Is(last, errBusy) && !errors.Is(last, shingle.ErrThrottled):
			return shingle.Domain{}, last
		}
		if err := pause(ctx, try); err != nil {
			return shingle.Domain{}, s.home.translate("TransactWriteItems", err)
		}
	}
	if errors.Is(last, shingle.ErrThrottled) {
		return shingle.Domain{}, last
	}
	return shingle.Domain{}, &shingle.Error{Code: shingle.CodeUnavailable, Message: "too many writes at once, try again in a moment", Err: last}
}

// append writes one row with its change, in its turn.
func (s *Store) append(ctx context.Context, host string, who author, old, next *shingle.Domain) error {
	shard := shardOf(host, shards)
	log := &s.logs[shard]
	select {
	case log.turn <- struct{}{}:
		defer func() { <-log.turn }()
	case <-ctx.Done():
		return s.home.translate("TransactWriteItems", ctx.Err())
	}
	if !log.known {
		var err error
		if log.last, err = s.head(ctx, shard); err != nil {
			return err
		}
		log.known = true
	}
	end := head{number: log.last.number + 1, at: s.tick(log.last.at)}
	entry, err := s.writeChange(shard, end, log.last.at, host, who, old, next)
	if err != nil {
		return err
	}
	err = s.commit(ctx, append([]types.TransactWriteItem{s.writeRow(host, old, next), entry, s.writeHead(shard, log.last, end)}, s.writePlaces(old, next)...))
	switch {
	case err == nil:
		log.last = end
		s.cfg.OnChange()
	case !errors.Is(err, errRowChanged):
		log.known = false
	}
	if errors.Is(err, errHeadBehind) {
		if err := s.mendHead(ctx, shard, end.number-1); err != nil {
			return err
		}
		return errHeadChanged
	}
	return err
}

// mendHead puts a log's head behind its last change. A replica that becomes home
// when the old one is lost may have got a change and not its head; that change is
// told of with the next one in its log.
func (s *Store) mendHead(ctx context.Context, shard int, from int64) error {
	behind, err := s.query(ctx, s.home, logQuery{shard: shard, from: from, limit: 100, consistent: true})
	if err != nil || len(behind) == 0 {
		return err
	}
	last := behind[len(behind)-1]
	return s.commit(ctx, []types.TransactWriteItem{s.writeHead(shard, head{number: from}, head{number: last.number, at: last.at})})
}

// tick is the time of a change: later than the last of its log and than every
// other of this process, whatever the clock does.
func (s *Store) tick(after int64) int64 {
	for {
		last := s.lastAt.Load()
		at := max(s.cfg.Now().UnixMicro(), last+1, after+1)
		if s.lastAt.CompareAndSwap(last, at) {
			return at
		}
	}
}

// commit runs the transaction of row, change and head. The SDK gives it a token
// under which its attempts are one, so a lost reply does no harm.
func (s *Store) commit(ctx context.Context, items []types.TransactWriteItem) error {
	var cancelled *types.TransactionCanceledException
	_, err := s.home.call(ctx, "TransactWriteItems", func(ctx context.Context) error {
		_, err := s.home.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: items})
		cancelled, _ = errors.AsType[*types.TransactionCanceledException](err)
		return err
	})
	if cancelled == nil {
		return err
	}
	reasons := make([]string, len(items))
	for i := range min(len(reasons), len(cancelled.CancellationReasons)) {
		reasons[i] = aws.ToString(cancelled.CancellationReasons[i].Code)
	}
	const failed = "ConditionalCheckFailed"
	switch {
	case reasons[0] == failed:
		return errRowChanged
	case len(items) > 1 && reasons[1] == failed && reasons[2] != failed:
		return errHeadBehind
	case slices.Contains(reasons, failed):
		return errHeadChanged
	}
	for _, reason := range reasons {
		switch reason {
		case "TransactionConflict":
			return errBusy
		case "ThrottlingError", "ProvisionedThroughputExceeded":
			return throttling(err)
		}
	}
	return err
}

// writeRow replaces the row if it is still old.
func (s *Store) writeRow(host string, old, next *shingle.Domain) types.TransactWriteItem {
	condition, values := "attribute_not_exists(pk)", item(nil)
	if old != nil {
		condition = "version = :version AND created = :created" // a row made anew counts from 1 again
		values = item{":version": number(old.Version), ":created": number(old.CreatedAt.UnixMicro())}
	}
	k := domainKey(host)
	if next == nil {
		return types.TransactWriteItem{Delete: &types.Delete{
			TableName: &s.home.table, Key: k, ConditionExpression: &condition, ExpressionAttributeValues: values,
		}}
	}
	k.setDomain(next)
	return types.TransactWriteItem{Put: &types.Put{
		TableName: &s.home.table, Item: k, ConditionExpression: &condition, ExpressionAttributeValues: values,
	}}
}

// writeChange appends to the log: who made the change and when, the row as it
// left it, as JSON the row before, and when the last change of the log was made, by
// which a replica tells one that is late from one that was removed.
func (s *Store) writeChange(shard int, end head, last int64, host string, who author, old, next *shingle.Domain) (types.TransactWriteItem, error) {
	i := key(partition("change", shard), changeNumber(end.number))
	i["host"], i["at"], i["made"], i["prev"] = text(host), number(end.at), number(who.at.UnixMicro()), number(last)
	i["ttl"] = expiry(s.cfg.Now().Add(s.cfg.Retention))
	if next != nil {
		i.setDomain(next)
	} else if who.by != "" {
		i["by"] = text(who.by)
	}
	if old != nil {
		before, err := json.Marshal(old)
		if err != nil {
			return types.TransactWriteItem{}, fmt.Errorf("encode row before: %w", err)
		}
		i["before"] = text(string(before))
	}
	return types.TransactWriteItem{Put: &types.Put{
		TableName: &s.home.table, Item: i, ConditionExpression: aws.String("attribute_not_exists(pk)"),
	}}, nil
}

func (s *Store) writeHead(shard int, from, to head) types.TransactWriteItem {
	i := key("head", fmt.Sprintf("%02d", shard))
	i["last"], i["at"] = number(to.number), number(to.at)
	put := &types.Put{TableName: &s.home.table, Item: i, ConditionExpression: aws.String("attribute_not_exists(pk)")}
	if from.number > 0 {
		put.ConditionExpression = aws.String("#last = :from")
		put.ExpressionAttributeNames = map[string]string{"#last": "last"}
		put.ExpressionAttributeValues = item{":from": number(from.number)}
	}
	return types.TransactWriteItem{Put: put}
}

// changeNumber is a number as a sort key.
func changeNumber(n int64) string { return fmt.Sprintf("%012d", n) }

// head reads the end of one log.
func (s *Store) head(ctx context.Context, shard int) (head, error) {
	i, err := s.get(ctx, s.home, key("head", fmt.Sprintf("%02d", shard)))
	if errors.Is(err, shingle.ErrNotFound) {
		return head{}, nil
	}
	if err != nil {
		return head{}, err
	}
	return i.head()
}

func (i item) head() (h head, err error) {
	if h.number, err = i.number("last"); err == nil {
		h.at, err = i.number("at")
	}
	return h, err
}

func checkHost(host string) error {
	if host == "" || len(host) > shingle.MaxHost {
		return &shingle.Error{Code: shingle.CodeInvalid, Field: "host", Message: "a host has 1 to 253 bytes"}
	}
	return nil
}
