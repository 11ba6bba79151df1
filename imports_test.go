package shingle_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/shingle-proxy/shingle"

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// TestImports keeps the shape of the tree: cmd calls app, app knows the parts,
// and no part knows another.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); ; seen++ {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		checkImports(t, p)
	}
	if seen < 8 {
		t.Errorf("go list named %d packages only", seen)
	}
}

func checkImports(t *testing.T, p pkg) {
	name, inside := strings.CutPrefix(p.ImportPath, module)
	if !inside || strings.HasPrefix(name, "/bench") || strings.HasPrefix(name, "/scripts") {
		return
	}
	allowed := []string{module, module + "/internal/records", module + "/internal/awsconfig"} // layers: over the contract of Blobs, and over the AWS SDK
	switch {
	case name == "", name == "/internal/records", name == "/internal/awsconfig":
		allowed = allowed[:1]
		for _, path := range p.Imports {
			if slices.Contains([]string{"net/http", "os", "database/sql"}, path) {
				t.Errorf("the vocabulary does no I/O, but imports %s", path)
			}
		}
	case name == "/internal/app", name == "/internal/fleet": // the one wires, the other is tests alone
		return
	case name == "/client", strings.HasPrefix(name, "/example/"):
		allowed = []string{module, module + "/internal/api", module + "/client"}
	case name == "/internal/panel", name == "/internal/smoke": // clients
		allowed = append(allowed, module+"/internal/api")
	case strings.HasPrefix(name, "/cmd/"):
		allowed = []string{module, module + "/internal/app", module + "/internal/api", module + "/internal/migrate", module + "/internal/aws", module + "/internal/smoke"} // the last four: clients
	}
	for _, path := range p.Imports {
		if strings.HasPrefix(path, module) && !slices.Contains(allowed, path) {
			t.Errorf("%s imports %s", p.ImportPath, path)
		}
	}
	allowed = append(allowed, p.ImportPath, module, module+"/internal/storetest", module+"/internal/certtest", module+"/internal/oidctest", module+"/internal/browsertest", module+"/internal/debiantest", module+"/internal/keyfile", module+"/internal/memory", module+"/internal/tokens")
	if name == "/internal/panel" { // a client's tests have a whole server
		allowed = append(allowed, module+"/internal/events", module+"/internal/jobs")
	}
	for _, path := range slices.Concat(p.TestImports, p.XTestImports) {
		if strings.HasPrefix(path, module) && !slices.Contains(allowed, path) {
			t.Errorf("a test of %s imports %s", p.ImportPath, path)
		}
	}
}
