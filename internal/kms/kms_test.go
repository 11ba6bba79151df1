package kms

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/shingle-proxy/shingle"
)

var credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
})

const someARN = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"

// moto returns the URL of a KMS server.
func moto(t *testing.T) string {
	t.Helper()
	url := os.Getenv("SHINGLE_TEST_MOTO")
	if url == "" {
		t.Skip("no KMS server: make test starts it, or: go run ./scripts/servers -only moto go test ./internal/kms")
	}
	return url
}

func open(t *testing.T, cfg Config) *Key {
	t.Helper()
	cfg.Credentials = credentials
	k, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// makeKey makes a KMS key in the server, and returns its ARN.
func makeKey(t *testing.T, c *kms.Client) string {
	t.Helper()
	out, err := c.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	return *out.KeyMetadata.Arn
}

func TestKey_WrapsAndUnwraps(t *testing.T) {
	url := moto(t)
	admin := open(t, Config{Endpoint: url}).client("eu-west-1")
	arn := makeKey(t, admin)
	alias := fmt.Sprintf("alias/shingle-%d", time.Now().UnixNano())
	if _, err := admin.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: &arn}); err != nil {
		t.Fatal(err)
	}
	secret := []byte("0123456789abcdef0123456789abcdef")
	for _, name := range []string{arn, alias, strings.Split(arn, "/")[1]} {
		k := open(t, Config{Key: name, Region: "eu-west-1", Endpoint: url})
		if err := k.Check(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if id, err := k.Current(t.Context()); err != nil || id != arn {
			t.Errorf("%s: current %s, %v", name, id, err)
		}
		w, err := k.Wrap(t.Context(), secret, "keys/data-a")
		if err != nil || w.KeyID != arn || strings.Contains(string(w.Data), string(secret)) {
			t.Fatalf("%s: %+v, %v", name, w, err)
		}
		other := open(t, Config{Region: "us-east-1", Endpoint: url}) // as after a change to key files
		if got, err := other.Unwrap(t.Context(), w, "keys/data-a"); err != nil || string(got) != string(secret) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if _, err := other.Unwrap(t.Context(), w, "keys/data-b"); shingle.CodeOf(err) != shingle.CodeInvalid || !strings.Contains(err.Error(), "another record") {
			t.Errorf("%s: for another purpose: %v", name, err)
		}
	}
}

func TestKey_ARotatedAliasWrapsUnderTheNewKey(t *testing.T) {
	url := moto(t)
	admin := open(t, Config{Endpoint: url}).client("eu-west-1")
	before, after := makeKey(t, admin), makeKey(t, admin)
	alias := fmt.Sprintf("alias/shingle-%d", time.Now().UnixNano())
	if _, err := admin.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: &before}); err != nil {
		t.Fatal(err)
	}
	k := open(t, Config{Key: alias, Region: "eu-west-1", Endpoint: url})
	w, err := k.Wrap(t.Context(), []byte("secret"), "a")
	if err != nil || w.KeyID != before {
		t.Fatalf("%+v, %v", w, err)
	}
	if _, err := admin.UpdateAlias(t.Context(), &kms.UpdateAliasInput{AliasName: &alias, TargetKeyId: &after}); err != nil {
		t.Fatal(err)
	}
	k.asked = time.Now().Add(-aliasLife)
	if id, err := k.Current(t.Context()); err != nil || id != after {
		t.Errorf("current %s, %v, want %s", id, err, after)
	}
	if got, err := k.Unwrap(t.Context(), w, "a"); err != nil || string(got) != "secret" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestKey_ThatIsNotThere(t *testing.T) {
	url := moto(t)
	if err := open(t, Config{Key: someARN, Endpoint: url}).Check(t.Context()); shingle.CodeOf(err) != shingle.CodeInvalid || !strings.Contains(shingle.MessageOf(err), "there is no KMS key "+someARN) {
		t.Errorf("missing: %v", err)
	}
}

// TestKey_ErrorsSayWhatToDo plays AWS's errors, which moto has few of.
func TestKey_ErrorsSayWhatToDo(t *testing.T) {
	type want struct {
		status  int
		code    shingle.Code
		message string
	}
	for name, want := range map[string]want{
		"AccessDeniedException":           {400, shingle.CodeInvalid, "AWS denies kms:Encrypt on the KMS key " + someARN},
		"NotFoundException":               {400, shingle.CodeInvalid, "there is no KMS key"},
		"DisabledException":               {400, shingle.CodeInvalid, "enable it"},
		"KMSInvalidStateException":        {400, shingle.CodeInvalid, "cancel"},
		"InvalidKeyUsageException":        {400, shingle.CodeInvalid, "SYMMETRIC_DEFAULT"},
		"UnrecognizedClientException":     {400, shingle.CodeInvalid, "credentials"},
		"ThrottlingException":             {400, shingle.CodeUnavailable, "fewer requests"},
		"KMSInternalException":            {500, shingle.CodeUnavailable, "does not answer"},
		"DependencyTimeoutException":      {503, shingle.CodeUnavailable, "does not answer"},
		"SomethingThatAWSInventsTomorrow": {400, shingle.CodeUnavailable, "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serveError(t, want.status, name)
			_, err := open(t, Config{Key: someARN, Endpoint: url}).Wrap(t.Context(), []byte("x"), "x")
			if shingle.CodeOf(err) != want.code || !strings.Contains(shingle.MessageOf(err), want.message) || strings.Contains(shingle.MessageOf(err), "secret detail") {
				t.Errorf("got %v", err)
			}
		})
	}
	url := serveError(t, 400, "AccessDeniedException")
	_, err := open(t, Config{Endpoint: url}).Unwrap(t.Context(), shingle.WrappedKey{KeyID: someARN, Data: []byte("x")}, "x")
	if !strings.Contains(shingle.MessageOf(err), "kms:Decrypt on the KMS key "+someARN) {
		t.Errorf("unwrap: %v", err)
	}
}

// serveError answers every request as AWS does when it fails.
func serveError(t *testing.T, status int, name string) (url string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"__type":%q,"message":"secret detail"}`, name)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestKey_ACallIsBounded(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done() // says nothing until the client has gone
	}))
	defer s.Close()
	k := open(t, Config{Key: someARN, Endpoint: s.URL, Timeout: 50 * time.Millisecond})
	_, err := k.Wrap(t.Context(), []byte("x"), "x")
	if shingle.CodeOf(err) != shingle.CodeUnavailable || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestKey_WithoutCredentials(t *testing.T) {
	k := open(t, Config{Key: someARN, Endpoint: "http://127.0.0.1:1"})
	k.aws.Credentials = aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("no EC2 IMDS role found")
	}))
	if err := k.Check(t.Context()); shingle.CodeOf(err) != shingle.CodeInvalid || !strings.Contains(shingle.MessageOf(err), "no AWS credentials") {
		t.Errorf("got %v", err)
	}
}

func TestOpen_RefusesWhatIsNoKey(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	for _, key := range []string{
		someARN + "@eu-west-1", "alias/shingle@eu-west-1", "arn:aws:kms:eu-west-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab@",
	} {
		if _, err := Open(t.Context(), Config{Key: key}); shingle.CodeOf(err) != shingle.CodeInvalid || !strings.Contains(err.Error(), "multi-region") {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, key := range []string{"alias/", "my key", "arn:aws:s3:::bucket", "1234", "alias/without-region"} {
		if _, err := Open(t.Context(), Config{Key: key}); shingle.CodeOf(err) != shingle.CodeInvalid {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, key := range []string{
		someARN, "arn:aws-us-gov:kms:us-gov-west-1:123456789012:alias/shingle",
		"arn:aws:kms:eu-west-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab",
		"arn:aws:kms:eu-west-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab@us-east-1",
	} {
		if _, err := Open(t.Context(), Config{Key: key}); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
}

// TestKey_EachRegionUsesItsOwnReplica looks where the requests go.
func TestKey_EachRegionUsesItsOwnReplica(t *testing.T) {
	var host atomic.Pointer[string]
	transport := roundTripper(func(r *http.Request) (*http.Response, error) {
		host.Store(&r.URL.Host)
		return &http.Response{
			StatusCode: 200, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}}, Request: r,
			Body: io.NopCloser(strings.NewReader(`{"Plaintext":"eA==","KeyId":"` + someARN + `"}`)),
		}, nil
	})
	const replica = "arn:aws:kms:%s:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab"
	k := open(t, Config{Key: fmt.Sprintf(replica, "eu-west-1"), Transport: transport})
	for id, region := range map[string]string{
		fmt.Sprintf(replica, "us-east-1"):                     "eu-west-1", // the same key is here too
		strings.Replace(someARN, "eu-west-1", "ap-east-1", 1): "ap-east-1",
	} {
		if got, err := k.Unwrap(t.Context(), shingle.WrappedKey{KeyID: id, Data: []byte("x")}, "x"); err != nil || string(got) != "x" {
			t.Errorf("%q, %v", got, err)
		}
		if want := "kms." + region + ".amazonaws.com"; *host.Load() != want {
			t.Errorf("asked %s, want %s", *host.Load(), want)
		}
	}
	k = open(t, Config{Key: fmt.Sprintf(replica, "us-east-1") + "@eu-west-1", Transport: transport})
	for id, region := range map[string]string{fmt.Sprintf(replica, "us-east-1"): "eu-west-1", fmt.Sprintf(replica, "ap-east-1"): "eu-west-1"} {
		if _, err := k.Unwrap(t.Context(), shingle.WrappedKey{KeyID: id, Data: []byte("x")}, "x"); err != nil || *host.Load() != "kms."+region+".amazonaws.com" {
			t.Errorf("%s: asked %s, %v", id, *host.Load(), err)
		}
	}
	if _, err := k.Unwrap(t.Context(), shingle.WrappedKey{KeyID: "file-0123"}, "x"); shingle.CodeOf(err) != shingle.CodeInvalid {
		t.Errorf("a key file's: %v", err)
	}
}

// TestKey_ReplicasOpenWhatTheOthersWrapped makes a multi-region key with a replica at
// ministack; moto does not decrypt under such a key. What is wrapped in one region is
// opened in the other, and bears one name.
func TestKey_ReplicasOpenWhatTheOthersWrapped(t *testing.T) {
	url := os.Getenv("SHINGLE_TEST_MINISTACK")
	if url == "" {
		t.Skip("SHINGLE_TEST_MINISTACK is not set: run `make test`, or `go run ./scripts/servers -only ministack go test ./internal/kms`")
	}
	admin := open(t, Config{Endpoint: url})
	made, err := admin.client("us-east-1").CreateKey(t.Context(), &kms.CreateKeyInput{MultiRegion: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	arn := *made.KeyMetadata.Arn
	if _, err := admin.client("us-east-1").ReplicateKey(t.Context(), &kms.ReplicateKeyInput{KeyId: made.KeyMetadata.KeyId, ReplicaRegion: aws.String("eu-west-1")}); err != nil {
		t.Fatal(err)
	}
	home, away := open(t, Config{Key: arn, Endpoint: url}), open(t, Config{Key: arn + "@eu-west-1", Endpoint: url})
	for _, way := range [][2]*Key{{home, away}, {away, home}, {away, away}} {
		w, err := way[0].Wrap(t.Context(), []byte("secret"), "keys/data-a")
		if err != nil || w.KeyID != arn {
			t.Fatalf("wrapped under %q, %v", w.KeyID, err)
		}
		if got, err := way[1].Unwrap(t.Context(), w, "keys/data-a"); err != nil || string(got) != "secret" {
			t.Errorf("unwrapped %q, %v", got, err)
		}
	}
	if id, err := away.Current(t.Context()); err != nil || id != arn {
		t.Errorf("current %q, %v", id, err)
	}
	// A region without a replica is one in which there is no such key.
	err = open(t, Config{Key: arn + "@ap-east-1", Endpoint: url}).Check(t.Context())
	if shingle.CodeOf(err) != shingle.CodeInvalid || !strings.Contains(shingle.MessageOf(err), strings.Replace(arn, "us-east-1", "ap-east-1", 1)) {
		t.Errorf("without a replica: %v", err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
