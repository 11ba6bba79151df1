package aws

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"github.com/shingle-proxy/shingle/internal/awsconfig"
)

// maxAttempts is of one call: CloudFormation throttles whoever looks often.
const maxAttempts = 8

// Account is an AWS account, by the credentials that every AWS program finds.
type Account struct {
	base     aws.Config
	endpoint string // for tests: in place of AWS's

	mu    sync.Mutex
	cloud map[string]*cloudformation.Client
}

// OpenAccount reads the AWS configuration. endpoint, for tests, is a URL in place
// of AWS's own.
func OpenAccount(ctx context.Context, endpoint string) (*Account, error) {
	base, err := awsconfig.Load(ctx, config.WithLogger(logging.Nop{}), config.WithRetryer(func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = maxAttempts, 10*time.Second })
	}))
	if err != nil {
		return nil, err
	}
	if endpoint != "" {
		base.BaseEndpoint = &endpoint
	}
	return &Account{base: base, endpoint: endpoint, cloud: map[string]*cloudformation.Client{}}, nil
}

func (a *Account) in(region string) aws.Config {
	c := a.base.Copy()
	c.Region = region
	return c
}

// ID returns the number of the account.
func (a *Account) ID(ctx context.Context, region string) (string, error) {
	out, err := sts.NewFromConfig(a.in(region)).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", fmt.Errorf("ask AWS who we are: %w (set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in with `aws sso login`)", err)
	}
	return aws.ToString(out.Account), nil
}

// cloudFormation returns the client for a region; one, for what it has learned of
// throttling.
func (a *Account) cloudFormation(region string) *cloudformation.Client {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, ok := a.cloud[region]
	if !ok {
		c = cloudformation.NewFromConfig(a.in(region))
		a.cloud[region] = c
	}
	return c
}

func (a *Account) s3(region string) *s3.Client {
	return s3.NewFromConfig(a.in(region), func(o *s3.Options) { o.UsePathStyle = a.endpoint != "" })
}

func (a *Account) ssm(region string) *ssm.Client { return ssm.NewFromConfig(a.in(region)) }
