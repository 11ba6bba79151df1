package main

import (
	"bytes"
	"crypto/rand"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestStage_Life has the real program bring a stage through its life on AWS as others
// have built it anew, by testdata/aws/NAME*.txtar. After each step testdata/aws/look.py
// asks each service what there is: also what a stack says that it has made, it may have
// left out.
func TestStage_Life(t *testing.T) {
	for name, server := range map[string]string{"moto": "SHINGLE_TEST_MOTO", "ministack": "SHINGLE_TEST_MINISTACK"} {
		t.Run(name, func(t *testing.T) {
			endpoint, python := os.Getenv(server), os.Getenv("SHINGLE_TEST_BOTO")
			if endpoint == "" || python == "" {
				t.Skipf("%s and SHINGLE_TEST_BOTO are not set: run `make test`, or `go run ./scripts/servers -only moto,ministack go test ./cmd/shingle`", server)
			}
			look, err := filepath.Abs(filepath.Join("testdata", "aws", "look.py"))
			if err != nil {
				t.Fatal(err)
			}
			scripts, err := filepath.Glob(filepath.Join("testdata", "aws", name+"*.txtar"))
			if err != nil {
				t.Fatal(err)
			}
			testscript.Run(t, testscript.Params{
				Files:               scripts,
				RequireExplicitExec: true,
				UpdateScripts:       os.Getenv("SHINGLE_UPDATE_SCRIPTS") != "",
				Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
					"look": func(ts *testscript.TestScript, neg bool, args []string) {
						if neg || len(args) != 1 {
							ts.Fatalf("usage: look REGION")
						}
						ts.Check(ts.Exec(python, look, name, endpoint, ts.Getenv("STAGE"), args[0]))
						_, _ = ts.Stdout().Write([]byte(ts.ReadFile("stdout")))
					},
				},
				Setup: func(e *testscript.Env) error { return setUpStage(e, endpoint) },
			})
		})
	}
}

// setUpStage makes a configuration for a stage that nobody else has.
func setUpStage(e *testscript.Env, endpoint string) error {
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
