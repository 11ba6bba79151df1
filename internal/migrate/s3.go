package migrate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/crypto/nacl/secretbox"
)

// bucket is a storage of CertMagic in an S3 bucket, as the plugins of the name
// certmagic-s3 keep it: an object a key, below a prefix. Some seal each object with a
// key of theirs: a nonce, and a NaCl secretbox.
type bucket struct {
	name, prefix string
	key          *[32]byte // nil: the objects are plain
	client       func(ctx context.Context) (*s3.Client, error)
}

func openBucket(place string, o Options) (Source, error) {
	name, prefix, _ := strings.Cut(place, "/")
	b := &bucket{name: name, prefix: strings.Trim(prefix, "/")}
	if o.EncryptionKey != nil {
		if len(o.EncryptionKey) != 32 {
			return nil, fmt.Errorf("the encryption key must have 32 bytes, and has %d", len(o.EncryptionKey))
		}
		b.key = (*[32]byte)(o.EncryptionKey)
	}
	b.client = once(func(ctx context.Context) (*s3.Client, error) {
		cfg, err := o.load(ctx)
		return s3.NewFromConfig(cfg, func(c *s3.Options) {
			if o.Endpoint != "" { // not every server knows what AWS has introduced
				c.UsePathStyle = true
				c.RequestChecksumCalculation, c.ResponseChecksumValidation = aws.RequestChecksumCalculationWhenRequired, aws.ResponseChecksumValidationWhenRequired
			}
		}), err
	})
	return &certmagicStore{b}, nil
}

func (b *bucket) keys(ctx context.Context) ([]string, error) {
	client, err := b.client(ctx)
	if err != nil {
		return nil, err
	}
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{
		Bucket: &b.name, Prefix: aws.String(path.Join(b.prefix, certificatesPrefix) + "/"),
	})
	var list []string
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, awsError("list of bucket "+b.name, err)
		}
		for _, o := range page.Contents {
			if key := aws.ToString(o.Key); strings.HasSuffix(key, ".crt") {
				list = append(list, strings.TrimPrefix(strings.TrimPrefix(key, b.prefix), "/"))
			}
		}
	}
	return list, nil
}

func (b *bucket) load(ctx context.Context, keys []string) ([][]byte, error) {
	client, err := b.client(ctx)
	if err != nil {
		return nil, err
	}
	values := make([][]byte, len(keys))
	for i, key := range keys {
		if values[i], err = b.get(ctx, client, path.Join(b.prefix, key)); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// get returns the object, or nil when there is none.
func (b *bucket) get(ctx context.Context, client *s3.Client, key string) ([]byte, error) {
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: &key})
	if _, ok := errors.AsType[*types.NoSuchKey](err); ok {
		return nil, nil
	}
	if err != nil {
		return nil, awsError("read of bucket "+b.name, err)
	}
	defer out.Body.Close()
	data, err := io.ReadAll(io.LimitReader(out.Body, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read of bucket %s: %w", b.name, err)
	}
	if len(data) > maxFile {
		return nil, &problem{key + " is too large"}
	}
	return b.open(key, data)
}

const nonceBytes = 24

// open opens an object that is sealed.
func (b *bucket) open(key string, data []byte) ([]byte, error) {
	plain := bytes.HasPrefix(data, []byte("-----BEGIN ")) || bytes.HasPrefix(data, []byte("{"))
	switch {
	case plain:
		return data, nil
	case b.key == nil:
		return nil, &problem{key + " is encrypted: name the file with its key by --encryption-key-file"}
	case len(data) < nonceBytes:
		return nil, &problem{key + " is cut short"}
	}
	opened, ok := secretbox.Open(nil, data[nonceBytes:], (*[nonceBytes]byte)(data), b.key)
	if !ok {
		return nil, &problem{key + " does not open with this encryption key"}
	}
	return opened, nil
}
