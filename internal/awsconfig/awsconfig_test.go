package awsconfig_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/shingle-proxy/shingle/internal/awsconfig"
)

// hasty answers before it has looked whether the body has ended.
type hasty struct {
	refuse int // so many requests
	bodies []io.Reader
	read   []string
}

// Do implements the SDK's HTTPClient.
func (h *hasty) Do(r *http.Request) (*http.Response, error) {
	all := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, all); err != nil {
		return nil, err
	}
	h.bodies, h.read = append(h.bodies, r.Body), append(h.read, string(all))
	if h.refuse--; h.refuse >= 0 {
		return nil, errors.New("connection reset")
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"TableNames":["t"]}`))}, nil
}

// TestLoad_ABodyThatIsClosedHasEnded does what net/http's transport does: it looks
// whether the body has ended, by io.Copy, when the SDK has closed it already.
func TestLoad_ABodyThatIsClosedHasEnded(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "") // which goes with no other client than the SDK's own
	h := &hasty{refuse: 1}
	loaded, err := awsconfig.Load(t.Context(), config.WithRegion("eu-central-1"), config.WithHTTPClient(h), config.WithLogger(logging.Nop{}), config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("a", "b", "")))
	if err != nil {
		t.Fatal(err)
	}
	out, err := dynamodb.NewFromConfig(loaded).ListTables(t.Context(), &dynamodb.ListTablesInput{})
	if err != nil || len(out.TableNames) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	name, key := "bucket", "key"
	objects := s3.NewFromConfig(loaded)
	if _, err := objects.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &name, Key: &key, Body: bytes.NewReader([]byte("an object"))}); err != nil {
		t.Fatal(err)
	}
	if len(h.read) != 3 || h.read[0] != "{}" || h.read[1] != "{}" || !strings.Contains(h.read[2], "an object") {
		t.Errorf("sent %q", h.read)
	}
	for i, body := range h.bodies {
		if n, err := io.Copy(io.Discard, body); n != 0 || err != nil {
			t.Errorf("body %d: %d bytes more, %v", i, n, err)
		}
	}
}
