// Package kms is a [shingle.MasterKey] in AWS KMS, which never gives the key
// itself away.
//
// The identity that Shingle runs as needs kms:Encrypt on the configured key, and
// kms:Decrypt on that one and on each that came before it.
package kms

import (
	"cmp"
	"context"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/awsconfig"
)

// Config says which key wraps. A zero takes the default.
type Config struct {
	// Key is the ARN, the ID or the alias (alias/NAME) of a symmetric KMS key.
	// Without one the Key unwraps only. Of a multi-region key, ARN@REGION uses the
	// replica in that region, while what is wrapped bears the ARN: so that it has one
	// name in the whole fleet, though each process asks the region that it is in.
	Key string
	// Region is that of a Key which is not an ARN. Default: that of the
	// environment.
	Region string
	// Timeout bounds one call with its repetitions. Default: 5 s.
	Timeout time.Duration

	// Credentials sign the requests. Default: those of the environment, of the
	// shared files or of the machine's role.
	Credentials aws.CredentialsProvider
	// Endpoint is the URL of a server other than AWS's own.
	Endpoint string
	// Transport carries the requests. Default: the SDK's own.
	Transport http.RoundTripper
}

// contextName is the name of the purpose in KMS's encryption context, which is
// authenticated, and shown in CloudTrail beside each use.
const contextName = "shingle-record"

// aliasLife is how long it is not asked again which key an alias means.
const aliasLife = time.Minute

// Key is a [shingle.MasterKey]. The IDs are ARNs.
type Key struct {
	cfg     Config // its Key without @REGION
	replica string // the region of the replica that is used; empty: the Key's own
	aws     aws.Config

	mu      sync.Mutex
	clients map[string]*kms.Client // by region
	current string                 // what an alias means, since asked
	asked   time.Time
}

var (
	replicaKey = regexp.MustCompile(`^(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/mrk-[0-9a-f]{32})@([a-z0-9-]+)$`)
	arnPattern = regexp.MustCompile(`^arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:(key|alias)/(.+)$`)
	keyPattern = regexp.MustCompile(`^(alias/[a-zA-Z0-9:/_-]{1,250}|(mrk-)?[0-9a-f-]{32,36})$`)
)

// maxPause is the longest between two attempts.
const maxPause = 500 * time.Millisecond

// maxRegions bounds the clients: there are fewer regions than that.
const maxRegions = 64

// Open returns the key that cfg names. It reads what the environment says of AWS
// and reaches out to nobody.
func Open(ctx context.Context, cfg Config) (*Key, error) {
	cfg.Timeout = cmp.Or(cfg.Timeout, 5*time.Second)
	var options []func(*config.LoadOptions) error
	if cfg.Region != "" {
		options = append(options, config.WithRegion(cfg.Region))
	}
	if cfg.Credentials != nil {
		options = append(options, config.WithCredentialsProvider(cfg.Credentials))
	}
	loaded, err := awsconfig.Load(ctx, options...)
	if err != nil {
		return nil, &shingle.Error{Code: shingle.CodeInvalid, Message: "the AWS settings of this machine cannot be read", Err: err}
	}
	k := &Key{cfg: cfg, aws: loaded, clients: map[string]*kms.Client{}}
	m := replicaKey.FindStringSubmatch(cfg.Key)
	switch {
	case cfg.Key == "":
	case m != nil:
		k.cfg.Key, k.replica, k.aws.Region = m[1], m[2], m[2]
	case strings.Contains(cfg.Key, "@"):
		return nil, shingle.Errorf(shingle.CodeInvalid, "%q: before the @ is the ARN of a multi-region KMS key (key/mrk-...), behind it the region of the replica to use", cfg.Key)
	case arnPattern.MatchString(cfg.Key):
		k.aws.Region = arnPattern.FindStringSubmatch(cfg.Key)[1]
	case !keyPattern.MatchString(cfg.Key):
		return nil, shingle.Errorf(shingle.CodeInvalid, "%q is neither the ARN nor the ID of a KMS key, nor alias/NAME", cfg.Key)
	case loaded.Region == "":
		return nil, shingle.Errorf(shingle.CodeInvalid, "name the region of %s: give its ARN, or set AWS_REGION", cfg.Key)
	}
	return k, nil
}

// Check wraps and unwraps a value, so that what is missing is said before it is
// needed.
func (k *Key) Check(ctx context.Context) error {
	const purpose = "check"
	w, err := k.Wrap(ctx, []byte(purpose), purpose)
	if err != nil {
		return err
	}
	_, err = k.Unwrap(ctx, w, purpose)
	return err
}

// Current implements [shingle.MasterKey]. What an alias means is learned by
// using it, which takes no further rights.
func (k *Key) Current(ctx context.Context) (string, error) {
	if m := arnPattern.FindStringSubmatch(k.cfg.Key); m != nil && m[2] == "key" {
		return k.cfg.Key, nil
	}
	k.mu.Lock()
	current, asked := k.current, k.asked
	k.mu.Unlock()
	if current != "" && time.Since(asked) < aliasLife {
		return current, nil
	}
	w, err := k.Wrap(ctx, []byte("which"), "which")
	return w.KeyID, err
}

// Wrap implements [shingle.MasterKey].
func (k *Key) Wrap(ctx context.Context, secret []byte, purpose string) (shingle.WrappedKey, error) {
	if k.cfg.Key == "" {
		return shingle.WrappedKey{}, shingle.Errorf(shingle.CodeInvalid, "no KMS key is configured")
	}
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	used := k.here()
	out, err := k.client(k.aws.Region).Encrypt(ctx, &kms.EncryptInput{
		KeyId: &used, Plaintext: secret, EncryptionContext: map[string]string{contextName: purpose},
	})
	if err != nil {
		return shingle.WrappedKey{}, translate(err, "kms:Encrypt", used)
	}
	id := aws.ToString(out.KeyId)
	if id == used {
		id = k.cfg.Key
	}
	if !arnPattern.MatchString(id) || len(out.CiphertextBlob) == 0 {
		return shingle.WrappedKey{}, shingle.Errorf(shingle.CodeUnavailable, "the KMS server's answer is not that of AWS KMS")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.current, k.asked = id, time.Now()
	return shingle.WrappedKey{KeyID: id, Data: out.CiphertextBlob}, nil
}

// Unwrap implements [shingle.MasterKey]. It asks the region that the key is in.
func (k *Key) Unwrap(ctx context.Context, w shingle.WrappedKey, purpose string) ([]byte, error) {
	region, id, err := k.place(w.KeyID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	out, err := k.client(region).Decrypt(ctx, &kms.DecryptInput{
		KeyId: &id, CiphertextBlob: w.Data, EncryptionContext: map[string]string{contextName: purpose},
	})
	if err != nil {
		return nil, translate(err, "kms:Decrypt", id)
	}
	return out.Plaintext, nil
}

// place returns the region in which the key is asked for, and its ARN there. Of
// a multi-region key it is the replica that is configured here, so that each
// region works on its own.
func (k *Key) place(id string) (region, arn string, err error) {
	m := arnPattern.FindStringSubmatch(id)
	if m == nil || m[2] != "key" {
		return "", "", shingle.Errorf(shingle.CodeInvalid, "%q is not the ARN of a KMS key", id)
	}
	if own := arnPattern.FindStringSubmatch(k.cfg.Key); own != nil && own[3] == m[3] && strings.HasPrefix(m[3], "mrk-") {
		return cmp.Or(k.replica, own[1]), k.here(), nil
	}
	return m[1], id, nil
}

// here returns the ARN of the configured key in the region in which it is used.
func (k *Key) here() string {
	if k.replica == "" {
		return k.cfg.Key
	}
	part := strings.Split(k.cfg.Key, ":")
	part[3] = k.replica
	return strings.Join(part, ":")
}

func (k *Key) client(region string) *kms.Client {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.clients[region]
	if c == nil {
		c = kms.NewFromConfig(k.aws, func(o *kms.Options) {
			o.Region = region
			o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = 3, maxPause })
			if k.cfg.Endpoint != "" {
				o.BaseEndpoint = &k.cfg.Endpoint
			}
			if k.cfg.Transport != nil {
				o.HTTPClient = &http.Client{Transport: k.cfg.Transport}
			}
		})
		if len(k.clients) < maxRegions {
			k.clients[region] = c
		}
	}
	return c
}
