package dynamo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// createTimeout bounds how long a new table is waited for.
const createTimeout = 2 * time.Minute

// EnsureTable creates the table in the store's own region if it is not there,
// billed by request, and has expired items deleted. In production CloudFormation
// makes it.
func (s *Store) EnsureTable(ctx context.Context) error {
	_, err := s.local.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: &s.cfg.Table, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("sk"), AttributeType: types.ScalarAttributeTypeS},
		},
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash},
			{AttributeName: aws.String("sk"), KeyType: types.KeyTypeRange},
		},
	})
	if _, exists := errors.AsType[*types.ResourceInUseException](err); err != nil && !exists {
		return fmt.Errorf("create table: %w", s.local.translate("CreateTable", err))
	}
	err = dynamodb.NewTableExistsWaiter(s.local).Wait(ctx, &dynamodb.DescribeTableInput{TableName: &s.cfg.Table}, createTimeout,
		func(o *dynamodb.TableExistsWaiterOptions) {
			o.MinDelay, o.MaxDelay = 100*time.Millisecond, 5*time.Second
		})
	if err != nil {
		return fmt.Errorf("wait for table: %w", s.local.translate("DescribeTable", err))
	}
	return s.ensureTTL(ctx)
}

func (s *Store) ensureTTL(ctx context.Context) error {
	if on, err := s.hasTTL(ctx); err != nil || on {
		return err
	}
	_, err := s.local.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
		TableName:               &s.cfg.Table,
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("ttl"), Enabled: aws.Bool(true)},
	})
	if err != nil {
		if on, look := s.hasTTL(ctx); look == nil && on {
			return nil // by an attempt whose reply was lost
		}
		return fmt.Errorf("set TTL of table: %w", s.local.translate("UpdateTimeToLive", err))
	}
	return nil
}

func (s *Store) hasTTL(ctx context.Context) (bool, error) {
	now, err := s.local.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: &s.cfg.Table})
	if err != nil {
		return false, fmt.Errorf("read TTL of table: %w", s.local.translate("DescribeTimeToLive", err))
	}
	d := now.TimeToLiveDescription
	return d != nil && (d.TimeToLiveStatus == types.TimeToLiveStatusEnabled || d.TimeToLiveStatus == types.TimeToLiveStatusEnabling), nil
}
