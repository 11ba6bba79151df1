package s3_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/shingle-proxy/shingle/internal/s3"
)

func makeBucket(t *testing.T, cfg s3.Config) {
	t.Helper()
	client := sdk.New(sdk.Options{Region: "us-east-1", Credentials: cfg.Credentials, BaseEndpoint: aws.String(cfg.Endpoint), UsePathStyle: true})
	_, err := client.CreateBucket(t.Context(), &sdk.CreateBucketInput{Bucket: &cfg.Bucket})
	check(t, err)
}
