package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/dynamo"
	"github.com/shingle-proxy/shingle/internal/s3"
)

func (c *Config) validateStore() error {
	kind, _, err := c.blobs()
	switch {
	case err != nil:
		return err
	case c.Table == "" && (c.TableRegion != "" || c.HomeRegion != "" || c.DynamoDBEndpoint != ""):
		return errors.New("--table: name the DynamoDB table")
	case c.Table != "" && c.TableRegion == "":
		return errors.New("--table-region: name the region of the DynamoDB table, such as eu-central-1")
	case c.Table == "" && c.Role != RoleAll:
		return errors.New("--table: a process of a fleet needs a DynamoDB table; shingle serve is for one machine")
	case c.Table != "" && kind == "files":
		return errors.New("--blobs: a folder is for one machine: the other processes of the fleet would not see it; name a bucket, or leave it out and the table has all")
	case kind != "s3" && (c.BlobsRegion != "" || c.S3Endpoint != ""):
		return errors.New("--blobs: name the bucket, such as s3://my-shingle")
	}
	return nil
}

// blobs reads --blobs: "s3" and BUCKET/PREFIX, "files" and a folder, or nothing.
func (c *Config) blobs() (kind, where string, err error) {
	if c.Blobs == "" {
		return "", "", nil
	}
	if where, ok := strings.CutPrefix(c.Blobs, "s3://"); ok && strings.Trim(where, "/") != "" {
		return "s3", where, nil
	}
	if where, ok := strings.CutPrefix(c.Blobs, "files:"); ok && where != "" {
		return "files", where, nil
	}
	return "", "", fmt.Errorf("--blobs: %q is neither s3://BUCKET, s3://BUCKET/PREFIX nor files:FOLDER", c.Blobs)
}

// table opens the DynamoDB table.
func (c *Config) table(ctx context.Context, onChange func()) (*dynamo.Store, error) {
	return dynamo.Open(ctx, dynamo.Config{
		Table: c.Table, Region: c.TableRegion, HomeRegion: c.HomeRegion,
		Endpoint: c.DynamoDBEndpoint, HomeEndpoint: c.HomeDynamoDBEndpoint, OnChange: onChange, Unreadable: c.unreadable,
	})
}

// bucket opens the S3 bucket of --blobs.
func (c *Config) bucket(ctx context.Context) (*s3.Store, error) {
	_, where, err := c.blobs()
	if err != nil {
		return nil, err
	}
	name, prefix, _ := strings.Cut(where, "/")
	bucket, err := s3.Open(ctx, s3.Config{
		Bucket: name, Prefix: prefix, Region: cmp.Or(c.BlobsRegion, c.HomeRegion, c.TableRegion),
		Endpoint: c.S3Endpoint, PathStyle: c.S3Endpoint != "",
	})
	if e, ok := errors.AsType[*shingle.Error](err); ok && e.Field == "region" {
		return nil, errors.New("--blobs-region: name the region of the bucket, such as eu-central-1")
	}
	if err != nil {
		return nil, fmt.Errorf("--blobs: %w", err)
	}
	return bucket, nil
}
