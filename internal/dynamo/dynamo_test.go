package dynamo_test

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/dynamo"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// servers are what the suites run against: AWS's own, and a second opinion.
var servers = []string{storetest.DynamoDB, storetest.Moto}

// config names a table that no other test uses.
func config(t testing.TB, server string) dynamo.Config {
	timeout := time.Duration(0)
	if server == storetest.Moto {
		timeout = 20 * time.Second // one request after the other
	}
	return dynamo.Config{
		Timeout: timeout,
		Table:   "shingle-" + strings.ToLower(rand.Text()), Region: "eu-central-1", Endpoint: storetest.Endpoint(t, server),
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	}
}

func open(t testing.TB, cfg dynamo.Config) *dynamo.Store {
	t.Helper()
	s, err := dynamo.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// newStore opens an empty table.
func newStore(t testing.TB, cfg dynamo.Config) *dynamo.Store {
	t.Helper()
	s := open(t, cfg)
	if err := s.EnsureTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore_Domains(t *testing.T) {
	for _, server := range servers {
		t.Run(server, func(t *testing.T) {
			storetest.Endpoint(t, server)
			storetest.TestDomainStore(t, func(t *testing.T) shingle.DomainStore { return newStore(t, config(t, server)) })
			storetest.TestMovableStore(t, func(t *testing.T) shingle.MovableStore { return newStore(t, config(t, server)) })
		})
	}
}

func TestStore_Blobs(t *testing.T) {
	for _, server := range servers {
		t.Run(server, func(t *testing.T) {
			storetest.Endpoint(t, server)
			blobs := func(t *testing.T) shingle.Blobs { return newStore(t, config(t, server)) }
			storetest.TestBlobs(t, blobs)
			storetest.TestBlobsLinearizable(t, blobs)
		})
	}
}
