package aws

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/shingle-proxy/shingle"
)

// ensureMasterKey makes the parameter with the master key, which CloudFormation
// cannot, the same in each region. One that is there stays as it is.
func (x *Deployer) ensureMasterKey(ctx context.Context) error {
	if x.Deployment.MasterKey != MasterKeyParameter {
		return nil
	}
	name, text := x.Deployment.keyParameter(), ""
	var missing []string
	for _, r := range x.Deployment.Regions {
		there, err := x.parameter(ctx, r.Name, name)
		if err != nil {
			return err
		}
		if there == "" {
			missing = append(missing, r.Name)
		}
		text = cmp.Or(text, there)
	}
	if text == "" {
		if err := x.noData(ctx, "the parameter "+name); err != nil {
			return err
		}
		key := make([]byte, shingle.MasterKeySize)
		_, _ = rand.Read(key) // never fails
		text = shingle.FormatMasterKeys([][]byte{key})
	}
	for _, region := range missing {
		_, err := x.Account.ssm(region).PutParameter(ctx, &ssm.PutParameterInput{
			Name: &name, Value: &text, Type: ssmtypes.ParameterTypeSecureString, Overwrite: aws.Bool(false),
			Description: aws.String("Shingle, stage " + x.Deployment.Stage + ": protects the private keys in the table. Without it they are lost."),
			Tags:        []ssmtypes.Tag{{Key: aws.String("shingle:stage"), Value: &x.Deployment.Stage}},
		})
		if err != nil {
			return fmt.Errorf("write parameter %s in %s: %w", name, region, err)
		}
	}
	return nil
}

// parameter returns what is in an encrypted parameter; empty when it is not there, as none
// can be empty.
func (x *Deployer) parameter(ctx context.Context, region, name string) (string, error) {
	out, err := x.Account.ssm(region).GetParameter(ctx, &ssm.GetParameterInput{Name: &name, WithDecryption: aws.Bool(true)})
	if _, none := errors.AsType[*ssmtypes.ParameterNotFound](err); none {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read parameter %s in %s: %w", name, region, err)
	}
	return aws.ToString(out.Parameter.Value), nil
}

// noData returns an error when the table has records: a new master key would open
// nothing in them. key names the one that is missing. An empty table is what a first
// deployment that failed may leave, for its protection outlives a rollback.
func (x *Deployer) noData(ctx context.Context, key string) error {
	table := x.Deployment.table()
	out, err := dynamodb.NewFromConfig(x.Account.in(x.Deployment.Home())).Scan(ctx, &dynamodb.ScanInput{
		TableName: &table, Limit: aws.Int32(1), ConsistentRead: aws.Bool(true), Select: ddbtypes.SelectCount,
	})
	if _, none := errors.AsType[*ddbtypes.ResourceNotFoundException](err); none || err == nil && out.Count == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look into table %s: %w", table, err)
	}
	return shingle.Errorf(shingle.CodeConflict, "the table %s has records, but %s, its master key, is not there, without which no private key in it can be read: put it back. If it is lost: delete the table with shingle remove --delete-data, and begin anew", table, key)
}

// Token has the control plane make an API token for whoever may call its function.
func (x *Deployer) Token(ctx context.Context) (string, error) {
	out, err := lambda.NewFromConfig(x.Account.in(x.Deployment.Home())).Invoke(ctx, &lambda.InvokeInput{
		FunctionName: aws.String(x.Deployment.name("control")), Payload: []byte(`{"shingle":"token"}`),
	})
	if err != nil {
		return "", fmt.Errorf("ask the control plane for a token: %w", err)
	}
	var answer struct {
		Token        string `json:"token"`
		ErrorMessage string `json:"errorMessage"`
	}
	if err := json.Unmarshal(out.Payload, &answer); err != nil || answer.Token == "" {
		return "", shingle.Errorf(shingle.CodeUnavailable, "the control plane gave no token: %s", answer.ErrorMessage)
	}
	return answer.Token, nil
}
