package s3

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/awsconfig"
)

// Config says where the records are. Bucket is required; a zero elsewhere takes
// the default.
type Config struct {
	// Bucket must exist, and must be of the general purpose kind.
	Bucket string
	// Prefix is the folder of this store within the bucket. Default: none, the
	// bucket is ours alone.
	Prefix string
	// Region is the bucket's. Default: that of the environment.
	Region string
	// Endpoint is the URL of a server other than AWS's own.
	Endpoint string
	// PathStyle has the bucket in the path and not in the host name, as most
	// servers but AWS want it.
	PathStyle bool

	// Encryption is what the server is told to encrypt each object with: AES256,
	// aws:kms or aws:kms:dsse. Default: nothing, so that the bucket's own setting
	// holds, which is AES256 at least.
	Encryption string
	// KMSKey is the key for aws:kms. Default: the account's own for S3.
	KMSKey string

	// Timeout bounds one attempt. Default: 3 s.
	Timeout time.Duration
	// Attempts is how often a request is made before its failure is reported.
	// Default: 3.
	Attempts int

	// Credentials sign the requests. Default: those of the environment, of the
	// shared files or of the machine's role.
	Credentials aws.CredentialsProvider
	// Transport carries the requests. Default: one of the store's own.
	Transport http.RoundTripper
}

var bucketPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// maxPrefix leaves an object's name its 1024 bytes: the key, and what names.go
// adds to it.
const maxPrefix = 400

func (c *Config) validate() error {
	c.Prefix = strings.Trim(c.Prefix, "/")
	switch {
	case !bucketPattern.MatchString(c.Bucket):
		return invalid("bucket", "%q is not the name of a bucket", c.Bucket)
	case strings.HasSuffix(c.Bucket, "--x-s3"):
		return invalid("bucket", "%s is a directory bucket, which lists in no order: name a general purpose bucket", c.Bucket)
	case c.Prefix != "" && shingle.CheckBlob(c.Prefix, nil) != nil, len(c.Prefix) > maxPrefix:
		return invalid("prefix", "a prefix has at most %d letters, digits and .-_@* in segments joined by single slashes", maxPrefix)
	case c.Timeout < 0 || c.Attempts < 0:
		return invalid("", "Timeout and Attempts cannot be negative")
	}
	for segment := range strings.SplitSeq(c.Prefix, "/") {
		if segment == "." || segment == ".." {
			return invalid("prefix", "a prefix has no segments of dots alone")
		}
	}
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return invalid("endpoint", "%q is not a URL such as https://s3.example.com", c.Endpoint)
		}
	}
	switch types.ServerSideEncryption(c.Encryption) {
	case "", types.ServerSideEncryptionAes256:
		if c.KMSKey != "" {
			return invalid("encryption", "a KMS key is for the encryption aws:kms")
		}
	case types.ServerSideEncryptionAwsKms, types.ServerSideEncryptionAwsKmsDsse:
	default:
		return invalid("encryption", "%q is none of AES256, aws:kms and aws:kms:dsse", c.Encryption)
	}
	if c.Transport == nil {
		c.Transport = awshttp.NewBuildableClient().
			WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).
			WithTransportOptions(func(t *http.Transport) {
				t.MaxConnsPerHost, t.MaxIdleConnsPerHost, t.MaxIdleConns = maxConns, maxConns, maxConns
				t.IdleConnTimeout = time.Minute
			}).GetTransport()
	}
	c.Timeout = cmp.Or(c.Timeout, 3*time.Second)
	c.Attempts = cmp.Or(c.Attempts, 3)
	return nil
}

// Bounds on connections.
const (
	dialTimeout = time.Second
	maxConns    = 256
)

// client reads what the environment says of AWS. It reaches out to nobody.
func (c *Config) client(ctx context.Context) (*s3.Client, error) {
	options := []func(*config.LoadOptions) error{config.WithLogger(logging.Nop{})} // what it would say is in the errors
	if c.Region != "" {
		options = append(options, config.WithRegion(c.Region))
	}
	if c.Credentials != nil {
		options = append(options, config.WithCredentialsProvider(c.Credentials))
	}
	loaded, err := awsconfig.Load(ctx, options...)
	if err != nil {
		return nil, &shingle.Error{Code: shingle.CodeInvalid, Message: "the AWS settings of this machine cannot be read", Err: err}
	}
	if loaded.Region == "" {
		if c.Endpoint == "" {
			return nil, invalid("region", "name the bucket's region, or set AWS_REGION")
		}
		loaded.Region = "us-east-1" // what other servers than AWS take
	}
	c.Region = loaded.Region
	return s3.NewFromConfig(loaded, func(o *s3.Options) {
		o.Retryer = aws.NopRetryer{} // a repeated write needs more thought: see Store.Put
		o.UsePathStyle = c.PathStyle
		if c.Endpoint != "" {
			o.BaseEndpoint = &c.Endpoint
			// Not every server knows the checksums that AWS introduced.
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		}
		o.HTTPClient = &http.Client{Transport: c.Transport}
	}), nil
}

func invalid(field, format string, args ...any) error {
	e := shingle.Errorf(shingle.CodeInvalid, format, args...)
	e.Field = field
	return e
}
