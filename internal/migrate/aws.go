package migrate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"github.com/shingle-proxy/shingle/internal/awsconfig"
)

// awsTimeout bounds one attempt of a request; the SDK makes three.
const awsTimeout = 10 * time.Second

// load reads what this machine knows of AWS. It reaches out to nobody.
func (o Options) load(ctx context.Context) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{
		config.WithLogger(logging.Nop{}), config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(awsTimeout)),
	}
	if o.Region != "" {
		options = append(options, config.WithRegion(o.Region))
	}
	if o.Endpoint != "" {
		options = append(options, config.WithBaseEndpoint(o.Endpoint))
	}
	cfg, err := awsconfig.Load(ctx, options...)
	if err != nil {
		return cfg, fmt.Errorf("the AWS settings of this machine cannot be read: %w", err)
	}
	if cfg.Region == "" && o.Endpoint == "" {
		return cfg, errors.New("--region: name the region, or set AWS_REGION")
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1" // what other servers than AWS take
	}
	return cfg, nil
}

// awsError says what kept a request from being answered.
func awsError(what string, err error) error {
	var denied smithy.APIError
	var answer *awshttp.ResponseError
	switch {
	case !errors.As(err, &denied):
		return fmt.Errorf("%s: no answer: %w", what, err)
	case errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusForbidden, denied.ErrorCode() == "AccessDeniedException":
		return fmt.Errorf("%s: AWS does not allow it: %s", what, denied.ErrorMessage())
	}
	return fmt.Errorf("%s: %s: %s", what, denied.ErrorCode(), denied.ErrorMessage())
}
