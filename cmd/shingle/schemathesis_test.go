package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAPI_AnswersAsItsDescriptionSays has Schemathesis ask a whole shingle dev
// whatever its OpenAPI document allows, and more: there is no fault, and no answer
// that is not described.
func TestAPI_AnswersAsItsDescriptionSays(t *testing.T) {
	st := os.Getenv("SHINGLE_TEST_SCHEMATHESIS")
	if st == "" {
		t.Skip("SHINGLE_TEST_SCHEMATHESIS is not set: run `make test`, or `go run ./scripts/servers -only schemathesis go test ./cmd/shingle`")
	}
	d := startDev(t, t.TempDir())
	token, err := os.ReadFile(filepath.Join(d.data, "token"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), st, "run", "http://"+d.ends.Control+"/openapi.json",
		"--header", "Authorization: Bearer "+strings.TrimSpace(string(token)),
		"--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
		"--phases", "examples,coverage,fuzzing", "--max-examples", "12", "--seed", "1", "--suppress-health-check", "all", "--no-color",
		// A stream does not end; the next three ask others, who may not answer (503);
		// and whoever finds tokens in the list revokes its own.
		"--exclude-path", "/v1/events/stream", "--exclude-operation-id", "check-domain", "--exclude-operation-id", "claim-domain",
		"--exclude-operation-id", "test-webhook", "--exclude-operation-id", "delete-token")
	hooks, err := filepath.Abs("testdata/schemathesis.py")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "SCHEMATHESIS_HOOKS="+hooks, "PYTHONDONTWRITEBYTECODE=1")
	cmd.Dir = t.TempDir() // it remembers cases
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), " passed") {
		t.Errorf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "Authentication failed") {
		t.Errorf("nothing was tested: the token was not good\n%s", out)
	}
}
