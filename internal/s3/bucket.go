package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/shingle-proxy/shingle"
)

// EnsureBucket makes the bucket if it is not there, and blocks public access to
// one that it made. One that is there is left as it is: see [Store.Settings].
func (s *Store) EnsureBucket(ctx context.Context) (made bool, err error) {
	_, err = s.retry(ctx, func(ctx context.Context) error { // not HEAD, whose refusal has no reason
		_, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, MaxKeys: new(int32(1))})
		return s.translate(err, "list", "s3:ListBucket")
	})
	if e, ok := errors.AsType[smithy.APIError](err); err == nil || !ok || e.ErrorCode() != "NoSuchBucket" {
		return false, err
	}
	if err := s.makeBucket(ctx); err != nil {
		return false, err
	}
	_, err = s.retry(ctx, func(ctx context.Context) error {
		_, err := s.client.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{
			Bucket: &s.cfg.Bucket, PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
				BlockPublicAcls: new(true), BlockPublicPolicy: new(true), IgnorePublicAcls: new(true), RestrictPublicBuckets: new(true),
			},
		})
		if unknownTo(err) {
			return nil
		}
		return s.translate(err, "block public access to", "s3:PutBucketPublicAccessBlock")
	})
	return true, err
}

func (s *Store) makeBucket(ctx context.Context) error {
	in := &s3.CreateBucketInput{Bucket: &s.cfg.Bucket}
	if s.cfg.Region != "us-east-1" { // which S3 does not take as a constraint
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(s.cfg.Region)}
	}
	_, err := s.retry(ctx, func(ctx context.Context) error {
		_, err := s.client.CreateBucket(ctx, in)
		if _, ours := errors.AsType[*types.BucketAlreadyOwnedByYou](err); ours {
			return nil // an attempt whose reply was lost, or somebody else of the team
		}
		if _, taken := errors.AsType[*types.BucketAlreadyExists](err); taken {
			return s.setup(err, "the bucket %s is another AWS account's: choose another name", s.cfg.Bucket)
		}
		return s.translate(err, "create", "s3:CreateBucket")
	})
	return err
}

// Inspect looks at the server's clock and at [Store.Settings].
func (s *Store) Inspect(ctx context.Context) []shingle.StoreFinding {
	return append([]shingle.StoreFinding{s.clock(ctx)}, s.Settings(ctx)...)
}

func (s *Store) clock(ctx context.Context) shingle.StoreFinding {
	var server, asked time.Time
	_, err := s.retry(ctx, func(ctx context.Context) error {
		asked = time.Now()
		out, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, Prefix: new(s.folder + "!probe/"), MaxKeys: new(int32(1))})
		if err == nil {
			server, _ = awsmiddleware.GetServerTime(out.ResultMetadata)
		}
		return s.translate(err, "list", "s3:ListBucket")
	})
	if err != nil {
		return shingle.StoreFinding{Check: "clock", Severity: shingle.SeverityUnknown, Message: shingle.MessageOf(err)}
	}
	return shingle.ClockFinding(asked, time.Now(), server)
}

// Settings says how the bucket is set up.
func (s *Store) Settings(ctx context.Context) []shingle.StoreFinding {
	return []shingle.StoreFinding{s.publicAccess(ctx), s.encryption(ctx), s.versioning(ctx)}
}

func (s *Store) publicAccess(ctx context.Context) shingle.StoreFinding {
	f := shingle.StoreFinding{
		Check: "public access", Severity: shingle.SeverityWarning, Message: "the bucket could be opened to the public",
		Do: fmt.Sprintf("aws s3api put-public-access-block --bucket %s --public-access-block-configuration BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true", s.cfg.Bucket),
	}
	out, err := s.client.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: &s.cfg.Bucket})
	if err != nil {
		return s.unseen(f, err, "NoSuchPublicAccessBlockConfiguration", "s3:GetBucketPublicAccessBlock")
	}
	c := out.PublicAccessBlockConfiguration
	if c != nil && aws.ToBool(c.BlockPublicAcls) && aws.ToBool(c.BlockPublicPolicy) && aws.ToBool(c.IgnorePublicAcls) && aws.ToBool(c.RestrictPublicBuckets) {
		return shingle.StoreFinding{Check: f.Check, Severity: shingle.SeverityOK, Message: "blocked"}
	}
	return f
}

func (s *Store) encryption(ctx context.Context) shingle.StoreFinding {
	f := shingle.StoreFinding{
		Check: "encryption at rest", Severity: shingle.SeverityWarning, Message: "the server does not encrypt what it stores; private keys are sealed in any case",
		Do: fmt.Sprintf(`aws s3api put-bucket-encryption --bucket %s --server-side-encryption-configuration '{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"AES256"}}]}'`, s.cfg.Bucket),
	}
	out, err := s.client.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: &s.cfg.Bucket})
	if err != nil {
		return s.unseen(f, err, "ServerSideEncryptionConfigurationNotFoundError", "s3:GetEncryptionConfiguration")
	}
	if c := out.ServerSideEncryptionConfiguration; c != nil {
		for _, rule := range c.Rules {
			if d := rule.ApplyServerSideEncryptionByDefault; d != nil && d.SSEAlgorithm != "" {
				return shingle.StoreFinding{Check: f.Check, Severity: shingle.SeverityOK, Message: string(d.SSEAlgorithm)}
			}
		}
	}
	return f
}

// versioning warns of what leases cost in a bucket that keeps all versions.
func (s *Store) versioning(ctx context.Context) shingle.StoreFinding {
	f := shingle.StoreFinding{Check: "versioning"}
	out, err := s.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &s.cfg.Bucket})
	switch {
	case err != nil:
		return s.unseen(f, err, "", "s3:GetBucketVersioning")
	case out.Status != types.BucketVersioningStatusEnabled:
		f.Severity, f.Message = shingle.SeverityOK, "off"
	default:
		f.Severity, f.Message = shingle.SeverityWarning, "on: each lease that is renewed leaves a version, some 17,000 a day"
		f.Do = "have a lifecycle rule expire versions that are no longer current after a few days"
	}
	return f
}

// unseen is f when err says that the setting is not there, and else that it
// could not be looked at, which the running processes do not need.
func (s *Store) unseen(f shingle.StoreFinding, err error, absent, action string) shingle.StoreFinding {
	e, ok := errors.AsType[smithy.APIError](err)
	if ok && absent != "" && e.ErrorCode() == absent {
		return f
	}
	f.Severity, f.Do = shingle.SeverityUnknown, ""
	if unknownTo(err) {
		f.Message = "this server has no such setting"
		return f
	}
	err = s.translate(err, "look at", action)
	f.Message = shingle.MessageOf(err)
	return f
}

// unknownTo reports whether the server does not know a request at all.
func unknownTo(err error) bool {
	e, ok := errors.AsType[*awshttp.ResponseError](err)
	if ok && (e.HTTPStatusCode() == http.StatusNotImplemented || e.HTTPStatusCode() == http.StatusMethodNotAllowed) {
		return true
	}
	a, ok := errors.AsType[smithy.APIError](err)
	return ok && (a.ErrorCode() == "NotImplemented" || a.ErrorCode() == "MethodNotAllowed")
}
