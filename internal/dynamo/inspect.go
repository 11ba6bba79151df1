package dynamo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/shingle-proxy/shingle"
)

// Inspect looks at the table as it is set up, and tries what is DynamoDB's own. It
// leaves nothing behind. What only it needs the permission for is unknown without.
func (s *Store) Inspect(ctx context.Context) []shingle.StoreFinding {
	list := []shingle.StoreFinding{s.inspectClock(ctx), s.inspectTransactions(ctx)}
	if !s.atHome() {
		list = append(list, s.inspectReplica(ctx))
	}
	list = append(list, s.inspectTable(ctx)...)
	return append(list, s.inspectTTL(ctx), s.inspectBackups(ctx))
}

func (s *Store) inspectClock(ctx context.Context) shingle.StoreFinding {
	var server time.Time
	asked := time.Now()
	_, err := s.home.call(ctx, "Query", func(ctx context.Context) error {
		asked = time.Now()
		out, err := s.home.Query(ctx, &dynamodb.QueryInput{
			TableName: &s.home.table, KeyConditionExpression: aws.String("pk = :p"), ExpressionAttributeValues: item{":p": text("head")},
		})
		if err == nil {
			server, _ = awsmiddleware.GetServerTime(out.ResultMetadata)
		}
		return err
	})
	if err != nil {
		return failed("clock", err)
	}
	return shingle.ClockFinding(asked, time.Now(), server)
}

// inspectTransactions writes two items at once, and then two of which one must
// not be: a domain and its change are written so.
func (s *Store) inspectTransactions(ctx context.Context) shingle.StoreFinding {
	f := shingle.StoreFinding{Check: "transactions", Severity: shingle.SeverityOK, Message: "all or nothing"}
	a, b := checkItem(s.cfg.Now()), checkItem(s.cfg.Now())
	defer func() {
		end := context.WithoutCancel(ctx)
		for _, i := range []item{a, b} {
			_, _ = s.home.call(end, "DeleteItem", func(ctx context.Context) error { // else its TTL does
				_, err := s.home.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: &s.home.table, Key: key(i.text("pk"), i.text("sk"))})
				return err
			})
		}
	}()
	if err := s.transact(ctx, a); err != nil {
		return failed(f.Check, err)
	}
	if err := s.transact(ctx, b, a); !errors.Is(err, errChanged) {
		return failed(f.Check, errors.Join(errors.New("a condition that does not hold was ignored"), err))
	}
	if _, err := s.get(ctx, s.home, key(b.text("pk"), b.text("sk"))); !errors.Is(err, shingle.ErrNotFound) {
		return failed(f.Check, errors.Join(errors.New("half of a transaction was written"), err))
	}
	return f
}

// checkItem is an item that only an inspection writes.
func checkItem(now time.Time) item {
	i := key("check", rand.Text())
	i["ttl"] = expiry(now.Add(day))
	return i
}

// transact writes items that must not be there yet. It returns errChanged when one
// is.
func (s *Store) transact(ctx context.Context, items ...item) error {
	in := &dynamodb.TransactWriteItemsInput{}
	for _, i := range items {
		in.TransactItems = append(in.TransactItems, types.TransactWriteItem{Put: &types.Put{
			TableName: &s.home.table, Item: i, ConditionExpression: aws.String("attribute_not_exists(pk)"),
		}})
	}
	_, err := s.home.call(ctx, "TransactWriteItems", func(ctx context.Context) error {
		_, err := s.home.TransactWriteItems(ctx, in)
		return err
	})
	if e, ok := errors.AsType[*types.TransactionCanceledException](err); ok {
		for _, r := range e.CancellationReasons {
			if aws.ToString(r.Code) == "ConditionalCheckFailed" {
				return errChanged
			}
		}
	}
	return err
}

// replicaWait bounds how long a write is waited for in our own region.
const replicaWait = 20 * time.Second

// inspectReplica writes at home and looks when it can be read here.
func (s *Store) inspectReplica(ctx context.Context) shingle.StoreFinding {
	f := shingle.StoreFinding{Check: "replication", Severity: shingle.SeverityOK}
	i := checkItem(s.cfg.Now())
	k := key(i.text("pk"), i.text("sk"))
	began := time.Now()
	if _, err := s.home.call(ctx, "PutItem", func(ctx context.Context) error {
		_, err := s.home.PutItem(ctx, &dynamodb.PutItemInput{TableName: &s.home.table, Item: i})
		return err
	}); err != nil {
		return failed(f.Check, err)
	}
	defer func() {
		_, _ = s.home.call(context.WithoutCancel(ctx), "DeleteItem", func(ctx context.Context) error {
			_, err := s.home.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: &s.home.table, Key: k})
			return err
		})
	}()
	for try := 0; ; try++ {
		_, err := s.get(ctx, s.local, k)
		switch {
		case err == nil:
			f.Message = fmt.Sprintf("%s from %s to %s", time.Since(began).Round(10*time.Millisecond), s.home.region, s.local.region)
			return f
		case !errors.Is(err, shingle.ErrNotFound) && ctx.Err() == nil:
			return failed(f.Check, err)
		case ctx.Err() != nil || time.Since(began) > replicaWait || pause(ctx, try) != nil:
			f.Severity = shingle.SeverityFailed
			f.Message = fmt.Sprintf("a write in %s was not seen in %s within %s", s.home.region, s.local.region, time.Since(began).Round(100*time.Millisecond))
			f.Do = "see whether the table in " + s.local.region + " is a replica of the one in " + s.home.region
			return f
		}
	}
}

// inspectTable looks at what DescribeTable tells.
func (s *Store) inspectTable(ctx context.Context) []shingle.StoreFinding {
	var t *types.TableDescription
	_, err := s.home.call(ctx, "DescribeTable", func(ctx context.Context) error {
		out, err := s.home.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &s.home.table})
		if err == nil {
			t = out.Table
		}
		return err
	})
	if err != nil || t == nil {
		return []shingle.StoreFinding{unseen("settings", err)}
	}
	return []shingle.StoreFinding{s.key(t), s.billing(t), s.encryption(t), s.deletion(t)}
}

func (s *Store) key(t *types.TableDescription) shingle.StoreFinding {
	f := shingle.StoreFinding{Check: "key", Severity: shingle.SeverityOK, Message: "pk and sk"}
	var names []string
	for _, k := range t.KeySchema {
		names = append(names, aws.ToString(k.AttributeName))
	}
	if strings.Join(names, " ") != "pk sk" {
		f.Severity, f.Message = shingle.SeverityFailed, "the key is "+strings.Join(names, " and ")+", not pk and sk: it is another program's table"
		f.Do = "name another table with --table"
	}
	return f
}

func (s *Store) billing(t *types.TableDescription) shingle.StoreFinding {
	f := shingle.StoreFinding{Check: "billing", Severity: shingle.SeverityOK, Message: "by request"}
	if b := t.BillingModeSummary; b != nil && b.BillingMode == types.BillingModePayPerRequest {
		return f
	}
	f.Severity, f.Message = shingle.SeverityWarning, "provisioned capacity: an import or a wave of renewals is throttled beyond it"
	f.Do = s.aws("update-table", "--billing-mode PAY_PER_REQUEST")
	return f
}

// encryption: DynamoDB encrypts everything, with a key of its own unless another
// is named.
func (s *Store) encryption(t *types.TableDescription) shingle.StoreFinding {
	f := shingle.StoreFinding{Check: "encryption at rest", Severity: shingle.SeverityOK, Message: "by a key of DynamoDB"}
	d := t.SSEDescription
	switch {
	case d == nil || d.SSEType != types.SSETypeKms:
	case d.InaccessibleEncryptionDateTime != nil:
		f.Severity, f.Message = shingle.SeverityFailed, "by a KMS key that DynamoDB cannot use since "+d.InaccessibleEncryptionDateTime.UTC().Format(time.RFC3339)
		f.Do = "enable the key " + aws.ToString(d.KMSMasterKeyArn) + " in KMS again within a week, or the table is archived"
	default:
		f.Message = "by the KMS key " + aws.ToString(d.KMSMasterKeyArn)
	}
	return f
}

func (s *Store) deletion(t *types.TableDescription) shingle.StoreFinding {
	f := shingle.StoreFinding{Check: "deletion protection", Severity: shingle.SeverityOK, Message: "on"}
	if !aws.ToBool(t.DeletionProtectionEnabled) {
		f.Severity, f.Message = shingle.SeverityWarning, "off: one wrong command deletes the table"
		f.Do = s.aws("update-table", "--deletion-protection-enabled")
	}
	return f
}

func (s *Store) inspectTTL(ctx context.Context) shingle.StoreFinding {
	f := shingle.StoreFinding{Check: "TTL", Severity: shingle.SeverityOK, Message: "on, by ttl"}
	var d *types.TimeToLiveDescription
	_, err := s.home.call(ctx, "DescribeTimeToLive", func(ctx context.Context) error {
		out, err := s.home.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: &s.home.table})
		if err == nil {
			d = out.TimeToLiveDescription
		}
		return err
	})
	if err != nil {
		return unseen(f.Check, err)
	}
	if d == nil || d.TimeToLiveStatus != types.TimeToLiveStatusEnabled && d.TimeToLiveStatus != types.TimeToLiveStatusEnabling || aws.ToString(d.AttributeName) != "ttl" {
		f.Severity, f.Message = shingle.SeverityWarning, "off: old changes are never deleted, and the table grows for ever"
		f.Do = s.aws("update-time-to-live", "--time-to-live-specification Enabled=true,AttributeName=ttl")
	}
	return f
}

func (s *Store) inspectBackups(ctx context.Context) shingle.StoreFinding {
	f := shingle.StoreFinding{Check: "point-in-time recovery", Severity: shingle.SeverityOK, Message: "on"}
	var d *types.ContinuousBackupsDescription
	_, err := s.home.call(ctx, "DescribeContinuousBackups", func(ctx context.Context) error {
		out, err := s.home.DescribeContinuousBackups(ctx, &dynamodb.DescribeContinuousBackupsInput{TableName: &s.home.table})
		if err == nil {
			d = out.ContinuousBackupsDescription
		}
		return err
	})
	if err != nil {
		return unseen(f.Check, err)
	}
	if d == nil || d.PointInTimeRecoveryDescription == nil || d.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus != types.PointInTimeRecoveryStatusEnabled {
		f.Severity, f.Message = shingle.SeverityWarning, "off: what is overwritten or deleted by mistake is lost"
		f.Do = s.aws("update-continuous-backups", "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true")
	}
	return f
}

// aws is a command for the operator.
func (s *Store) aws(command, options string) string {
	return fmt.Sprintf("aws dynamodb %s --region %s --table-name %s %s", command, s.home.region, s.home.table, options)
}

func failed(check string, err error) shingle.StoreFinding {
	return shingle.StoreFinding{Check: check, Severity: shingle.SeverityFailed, Message: said(err)}
}

// unseen is about what the running processes do not need.
func unseen(check string, err error) shingle.StoreFinding {
	f := shingle.StoreFinding{Check: check, Severity: shingle.SeverityUnknown, Message: "the server does not tell"}
	e, ok := errors.AsType[smithy.APIError](err)
	if err != nil && (!ok || e.ErrorCode() != "UnknownOperationException") { // DynamoDB Local knows not all
		f.Message = said(err)
	}
	return f
}

// said is a message for the operator, who may see what happened.
func said(err error) string {
	if e, ok := errors.AsType[*shingle.Error](err); ok {
		return e.Message
	}
	return err.Error()
}
