// Package awsconfig is where all that calls AWS gets its configuration from.
package awsconfig

import (
	"context"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Load reads the AWS configuration of the environment, as [config.LoadDefaultConfig] does.
// Clients made of it lose no reply by their own fault; see [plainBodies].
func Load(ctx context.Context, options ...func(*config.LoadOptions) error) (aws.Config, error) {
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return loaded, fmt.Errorf("read AWS configuration: %w", err)
	}
	loaded.APIOptions = append(loaded.APIOptions, plainBodies)
	return loaded, nil
}

// plainBodies hides from net/http that a request's body can write itself. The SDK closes the
// body when the reply's header has come, and a body that is closed answers Read by io.EOF, as
// it should, but WriteTo as well, where that is an error. When the reply is quicker than
// net/http's last look whether the body has ended, as from a server on this machine, or
// when this process had to wait for its turn, net/http would break the connection off, and
// with it the reply: the SDK would try again what had been done.
func plainBodies(stack *middleware.Stack) error {
	return stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("PlainBodies", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
		if r, ok := in.Request.(*smithyhttp.Request); ok {
			var err error
			if in.Request, err = plain(r); err != nil {
				return middleware.FinalizeOutput{}, middleware.Metadata{}, fmt.Errorf("prepare body: %w", err)
			}
		}
		return next.HandleFinalize(ctx, in)
	}), middleware.After)
}

func plain(r *smithyhttp.Request) (*smithyhttp.Request, error) {
	body := r.GetStream()
	if _, writes := body.(io.WriterTo); !writes {
		return r, nil
	}
	if seeker, ok := body.(io.ReadSeeker); ok {
		return r.SetStream(struct{ io.ReadSeeker }{seeker})
	}
	return r.SetStream(struct{ io.Reader }{body})
}
