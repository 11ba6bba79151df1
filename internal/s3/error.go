package s3

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/shingle-proxy/shingle"
)

// Pauses before the second attempt and at most.
const (
	firstPause = 50 * time.Millisecond
	maxPause   = time.Second
)

// retry makes attempts until one succeeds or fails for good. doubt tells that an
// attempt before the last may have done its work without our knowing.
func (s *Store) retry(ctx context.Context, try func(ctx context.Context) error) (doubt bool, err error) {
	return s.attempts(ctx, true, try)
}

// attempts is [Store.retry]; unless repeatable, the first attempt that may have done
// its work without our knowing is the last, and in doubt itself.
func (s *Store) attempts(ctx context.Context, repeatable bool, try func(ctx context.Context) error) (doubt bool, err error) {
	for n, pause := 1, firstPause; ; n, pause = n+1, min(2*pause, maxPause) {
		if err = s.attempt(ctx, try); err == nil {
			return doubt, nil
		}
		var f *failure
		marked := errors.As(err, &f)
		if marked && f.unclear && !repeatable {
			return true, err
		}
		if !marked || n == s.cfg.Attempts || ctx.Err() != nil {
			return doubt, err
		}
		doubt = doubt || f.unclear
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return doubt, err
		}
	}
}

func (s *Store) attempt(ctx context.Context, try func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	return try(ctx)
}

// failure marks the cause of an error that another attempt may not have.
type failure struct {
	error
	unclear bool // the server may have done it
}

func (f *failure) Unwrap() error { return f.error }

// translate turns an error of the SDK into one of ours. action is the IAM action
// that the request needs.
func (s *Store) translate(err error, verb, action string) error {
	if err == nil {
		return nil
	}
	code, status := "", 0
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		code = e.ErrorCode()
	}
	if e, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		status = e.HTTPStatusCode()
	}
	err = fmt.Errorf("%s object: %w", verb, err)
	switch code {
	case "NoSuchBucket":
		return s.setup(err, "there is no bucket %s: shingle store create --blobs s3://%s --blobs-region %s makes it", s.cfg.Bucket, s.cfg.Bucket, s.cfg.Region)
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "MovedPermanently", "IllegalLocationConstraintException":
		return s.setup(err, "the bucket %s is not in %s: name its region with --blobs-region", s.cfg.Bucket, s.cfg.Region)
	case "RequestTimeTooSkewed":
		return s.setup(err, "the clock of this machine is wrong: S3 takes no request that is off by 15 minutes")
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired":
		return s.setup(err, "the AWS credentials of this machine are not accepted (%s)", code)
	case "ConditionalRequestConflict", "OperationAborted": // another write was under way: nothing was done
		return s.unavailable(&failure{error: err}, "the object is being written by somebody else; try again")
	case "SlowDown", "RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequests":
		return limited(err)
	}
	switch {
	case strings.Contains(err.Error(), "get credentials"):
		return s.unavailable(&failure{error: err}, "this machine has no AWS credentials now: give it a role, or set AWS_PROFILE")
	case status == http.StatusPreconditionFailed:
		return shingle.ErrConflict
	case status == http.StatusTooManyRequests:
		return limited(err)
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return s.denied(err, action)
	case status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusConflict:
		return s.unavailable(err, "S3 refuses the request (%d %s)", status, code)
	case errors.Is(err, context.Canceled):
		return s.unavailable(err, "the request was given up")
	}
	return s.unavailable(&failure{error: err, unclear: !neverLeft(err)}, "S3 does not answer")
}

// neverLeft reports whether there was no connection to send a request over.
func neverLeft(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "dial"
}

// denied names what is missing. Who may not list is not told either that an
// object is absent.
func (s *Store) denied(err error, action string) error {
	and := ""
	if action == "s3:GetObject" {
		and = " or s3:ListBucket on the bucket (without it, S3 denies what is absent)"
	}
	resource := "arn:aws:s3:::" + s.cfg.Bucket + "/" + s.folder + "*"
	if strings.Contains(action, "Bucket") || action == "s3:GetEncryptionConfiguration" {
		resource = "arn:aws:s3:::" + s.cfg.Bucket
	}
	return s.setup(err, "AWS denies access: this machine's role lacks %s on %s%s", action, resource, and)
}

// setup is the error of what stays until somebody changes something.
func (s *Store) setup(err error, format string, args ...any) error {
	return s.unavailable(fmt.Errorf("%w: %w", shingle.ErrSetup, err), format, args...)
}

func (s *Store) unavailable(err error, format string, args ...any) error {
	e := shingle.Errorf(shingle.CodeUnavailable, format, args...)
	e.Err = err
	return e
}

func limited(err error) error {
	return &shingle.Error{Code: shingle.CodeLimited, Message: "S3 wants fewer requests; try again later", Err: &failure{error: err}}
}

// isMissing reports whether the server says that there is no such object. A
// missing bucket is another matter.
func isMissing(err error) bool {
	if err == nil {
		return false
	}
	if e, ok := errors.AsType[smithy.APIError](err); ok && (e.ErrorCode() == "NoSuchKey" || e.ErrorCode() == "NotFound") {
		return true
	}
	return false
}
