// Package ssm reads secrets from encrypted parameters of AWS Systems Manager, which cost
// nothing.
package ssm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/awsconfig"
)

const (
	attemptTimeout = 2 * time.Second
	callTimeout    = 10 * time.Second // with all its attempts
)

// Config says which parameter.
type Config struct {
	Name     string // such as /shingle/prd/master-key
	Region   string // default: that of the environment
	Endpoint string // for tests: a URL in place of AWS's
}

// Parameter is an encrypted parameter.
type Parameter struct {
	name   string
	client *ssm.Client
}

// Open reads the AWS configuration. It makes no call.
func Open(ctx context.Context, cfg Config) (*Parameter, error) {
	options := []func(*config.LoadOptions) error{
		config.WithLogger(logging.Nop{}), config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(attemptTimeout)),
	}
	if cfg.Region != "" {
		options = append(options, config.WithRegion(cfg.Region))
	}
	loaded, err := awsconfig.Load(ctx, options...)
	if err != nil {
		return nil, err
	}
	return &Parameter{cfg.Name, ssm.NewFromConfig(loaded, func(o *ssm.Options) {
		if cfg.Endpoint != "" {
			o.BaseEndpoint = &cfg.Endpoint
		}
	})}, nil
}

// Text returns what is in the parameter. Its errors are [shingle.ErrInvalid] for what
// the operator must mend, and [shingle.ErrUnavailable] when it may work later.
func (p *Parameter) Text(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := p.client.GetParameter(ctx, &ssm.GetParameterInput{Name: &p.name, WithDecryption: aws.Bool(true)})
	if err != nil {
		return "", p.translate(err)
	}
	return aws.ToString(out.Parameter.Value), nil
}

// Keys returns the master keys that [shingle.FormatMasterKeys] made the text of, the
// oldest first. Its errors are those of Text.
func (p *Parameter) Keys(ctx context.Context) ([][]byte, error) {
	text, err := p.Text(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := shingle.ParseMasterKeys(text)
	if err != nil {
		return nil, shingle.Errorf(shingle.CodeInvalid, "the parameter %s: %s", p.name, shingle.MessageOf(err))
	}
	return keys, nil
}

func (p *Parameter) translate(err error) error {
	if _, missing := errors.AsType[*types.ParameterNotFound](err); missing {
		return &shingle.Error{Code: shingle.CodeInvalid, Message: fmt.Sprintf("there is no parameter %s in this region: shingle deploy makes it", p.name), Err: err}
	}
	if e, ok := errors.AsType[smithy.APIError](err); ok && e.ErrorCode() == "AccessDeniedException" {
		return &shingle.Error{Code: shingle.CodeInvalid, Message: fmt.Sprintf("AWS does not allow ssm:GetParameter on %s: add it to the policy of the role", p.name), Err: err}
	}
	return &shingle.Error{Code: shingle.CodeUnavailable, Message: fmt.Sprintf("the parameter %s cannot be read now", p.name), Err: err}
}
