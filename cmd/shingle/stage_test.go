package main

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"debug/elf"
	"encoding/binary"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// TestStage_Life has the real program bring a stage through its life on AWS as others
// have built it anew, by testdata/aws/NAME*.txtar. After each step testdata/aws/look.py
// asks each service what there is: also what a stack says that it has made, it may have
// left out. It goes the same way when the first reply to each call that writes is lost, and
// when the program is killed there and run again.
func TestStage_Life(t *testing.T) {
	for _, c := range []struct {
		test, name, scripts string
		setUp               func(t *testing.T, e *testscript.Env, endpoint string) error
	}{
		{"moto", "moto", "moto.txtar", setUpStage},
		{"ministack", "ministack", "ministack*.txtar", setUpStage},
		{"ministack-losing-replies", "ministack", "ministack*.txtar", setUpLosing},
		{"ministack-killed", "ministack", "killed.txtar", setUpKiller},
	} {
		t.Run(c.test, func(t *testing.T) {
			server := "SHINGLE_TEST_" + strings.ToUpper(c.name)
			endpoint, python := os.Getenv(server), os.Getenv("SHINGLE_TEST_BOTO")
			if endpoint == "" || python == "" {
				t.Skipf("%s and SHINGLE_TEST_BOTO are not set: run `make test`, or `go run ./scripts/servers -only moto,ministack go test ./cmd/shingle`", server)
			}
			look, err := filepath.Abs(filepath.Join("testdata", "aws", "look.py"))
			if err != nil {
				t.Fatal(err)
			}
			meddle, err := filepath.Abs(filepath.Join("testdata", "aws", "meddle.py"))
			if err != nil {
				t.Fatal(err)
			}
			scripts, err := filepath.Glob(filepath.Join("testdata", "aws", c.scripts))
			if err != nil {
				t.Fatal(err)
			}
			testscript.Run(t, testscript.Params{
				Files:               scripts,
				RequireExplicitExec: true,
				UpdateScripts:       os.Getenv("SHINGLE_UPDATE_SCRIPTS") != "",
				Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
					"killed": killed,
					"exits":  exits,
					"meddle": func(ts *testscript.TestScript, neg bool, args []string) {
						if neg || len(args) != 1 {
							ts.Fatalf("usage: meddle done|undone")
						}
						ts.Check(ts.Exec(python, meddle, endpoint, ts.Getenv("STAGE"), args[0]))
					},
					"look": func(ts *testscript.TestScript, neg bool, args []string) {
						if neg || len(args) != 1 {
							ts.Fatalf("usage: look REGION")
						}
						ts.Check(ts.Exec(python, look, c.name, endpoint, ts.Getenv("STAGE"), args[0]))
						_, _ = ts.Stdout().Write([]byte(ts.ReadFile("stdout")))
					},
				},
				Setup: func(e *testscript.Env) error { return c.setUp(t, e, endpoint) },
			})
		})
	}
}

// setUpLosing is setUpStage with a proxy in front of AWS that loses the first reply to each
// call that writes, after the call was carried out.
func setUpLosing(t *testing.T, e *testscript.Env, endpoint string) error {
	p := storetest.NewProxy(t, endpoint)
	var mu sync.Mutex
	lost := map[string]bool{}
	lose, pass := storetest.LoseAnswer(), storetest.Delay(0)
	p.Inject(func(w http.ResponseWriter, r *http.Request, forward func() (*http.Response, []byte, error)) {
		call, writes := awsCall(r)
		mu.Lock()
		first := writes && !lost[call]
		if first {
			lost[call] = true
		}
		mu.Unlock()
		if first {
			lose(w, r, forward)
			return
		}
		pass(w, r, forward)
	})
	t.Cleanup(func() {
		t.Logf("lost were the first replies to %v", slices.Sorted(maps.Keys(lost)))
		if len(lost) < 10 {
			t.Error("that cannot be all calls that write")
		}
	})
	return setUpStage(t, e, p.URL)
}

var awsReads = regexp.MustCompile(`^(Describe|Get|HEAD|List|Scan)`)

// awsCall names a call, in whichever of AWS's protocols.
func awsCall(r *http.Request) (name string, writes bool) {
	_, name, _ = strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if name == "" && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		name = form.Get("Action")
	}
	if name == "" { // one of REST
		name = map[string]string{http.MethodGet: "Get"}[r.Method]
		name = cmp.Or(name, r.Method+" "+r.URL.Query().Encode())
	}
	return name, !awsReads.MatchString(name)
}

// setUpStage makes a configuration for a stage that nobody else has.
func setUpStage(_ *testing.T, e *testscript.Env, endpoint string) error {
	stage := "t" + strings.ToLower(rand.Text()[:10])
	for name, value := range map[string]string{
		"STAGE": stage, "CONFIG": filepath.Join(e.WorkDir, "shingle.toml"), "SHINGLE_AWS_ENDPOINT": endpoint, "GORACE": "atexit_sleep_ms=10",
		"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "8",
	} {
		e.Setenv(name, value)
	}
	for name, text := range map[string]string{
		"stage":        stage + "\n",
		"program":      arm64Program(),
		"shingle.toml": "stage = \"" + stage + "\"\nzone = \"" + stage + ".example.com\"\ntarget = \"app.example.com\"\nemail = \"ops@example.com\"\nbinary = \"program\"\n",
	} {
		if err := os.WriteFile(filepath.Join(e.WorkDir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// arm64Program is the least that is told to be a program for Linux on arm64.
func arm64Program() string {
	var b bytes.Buffer
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_AARCH64), Version: 1, Ehsize: 64, Phentsize: 56, Shentsize: 64}
	copy(h.Ident[:], elf.ELFMAG+string([]byte{byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1}))
	_ = binary.Write(&b, binary.LittleEndian, h) // to memory
	return b.String()
}
