package storetest

import (
	"os"
	"testing"
)

// The outside servers that scripts/servers starts; see there.
const (
	DynamoDB = "SHINGLE_TEST_DYNAMODB"
	Moto     = "SHINGLE_TEST_MOTO"
	S3       = "SHINGLE_TEST_S3"
)

// Endpoint returns the URL of an outside server, and skips the test where there
// is none.
func Endpoint(t testing.TB, name string) string {
	t.Helper()
	url := os.Getenv(name)
	if url == "" {
		t.Skipf("%s is not set: run `make test`, or `go run ./scripts/servers go test ./internal/...`", name)
	}
	return url
}
