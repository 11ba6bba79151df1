package dynamo

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"

	"github.com/shingle-proxy/shingle/internal/awsconfig"
)

// Bounds on a call. A caller's own deadline may be earlier.
const (
	attemptTimeout = 2 * time.Second // unless Config.Timeout says otherwise
	callAttempts   = 5               // so many times that for a call with all its attempts
	dialTimeout    = time.Second
	maxAttempts    = 4
	maxBackoff     = 500 * time.Millisecond
	maxConns       = 256 // to one region
)

// client talks to the table in one region.
type client struct {
	*dynamodb.Client
	table, region string
	http          *awshttp.BuildableClient
	retryer       *retry.Standard
	timeout       time.Duration // of a call
}

func newClient(ctx context.Context, cfg Config, region, endpoint string) (*client, error) {
	c := &client{table: cfg.Table, region: region, timeout: callAttempts * cfg.Timeout, http: awshttp.NewBuildableClient().
		WithTimeout(cfg.Timeout).
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).
		WithTransportOptions(func(t *http.Transport) {
			t.MaxConnsPerHost, t.MaxIdleConnsPerHost, t.MaxIdleConns = maxConns, maxConns, maxConns
			t.IdleConnTimeout = time.Minute
		})}
	options := []func(*config.LoadOptions) error{config.WithRegion(region), config.WithHTTPClient(c.http),
		config.WithLogger(logging.Nop{})} // what it would say is in the errors
	if cfg.Credentials != nil {
		options = append(options, config.WithCredentialsProvider(cfg.Credentials))
	}
	loaded, err := awsconfig.Load(ctx, options...)
	if err != nil {
		return nil, err
	}
	c.retryer = retry.NewStandard(func(r *retry.StandardOptions) {
		r.MaxAttempts, r.MaxBackoff = maxAttempts, maxBackoff
	})
	c.Client = dynamodb.NewFromConfig(loaded, func(o *dynamodb.Options) {
		if endpoint != "" {
			o.BaseEndpoint = aws.String(endpoint)
		}
		o.Retryer = c.retryer
		o.APIOptions = append(o.APIOptions, watchAttempts)
		if cfg.Middleware != nil {
			cfg.Middleware(o)
		}
	})
	return c, nil
}

func (c *client) close() {
	if t := c.http.GetTransport(); t != nil {
		t.CloseIdleConnections()
	}
}

// call runs one call within its bounds, and translates its error. doubtful
// reports that an attempt ended without an answer: it may have been carried out
// although a later attempt found otherwise.
func (c *client) call(ctx context.Context, operation string, do func(ctx context.Context) error) (doubtful bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	ctx = context.WithValue(ctx, doubtKey{}, &doubtful)
	err = do(ctx)
	return doubtful, c.translate(operation, err)
}

type doubtKey struct{}

// watchAttempts notes each attempt that ended without an answer.
func watchAttempts(stack *middleware.Stack) error {
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("shingle:attempts",
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			out, metadata, err := next.HandleFinalize(ctx, in)
			if doubtful, ok := ctx.Value(doubtKey{}).(*bool); ok && err != nil && !refused(err) {
				*doubtful = true
			}
			return out, metadata, err
		}), "Retry", middleware.After)
}

// refused reports whether the service certainly did not carry out the request.
func refused(err error) bool {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorFault() == smithy.FaultClient
	}
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "dial" // it never left
}

// unlessDoubtful has a call repeated only while no attempt can have been carried
// out.
func (c *client) unlessDoubtful(o *dynamodb.Options) { o.Retryer = sureRetryer{c.retryer} }

type sureRetryer struct{ *retry.Standard }

func (r sureRetryer) IsErrorRetryable(err error) bool {
	return refused(err) && r.Standard.IsErrorRetryable(err)
}

// pause waits between two tries of the same, longer from try to try.
func pause(ctx context.Context, try int) error {
	wait := rand.N(min(5*time.Millisecond<<min(try, 8), maxBackoff))
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
