package shingle_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var namedFile = regexp.MustCompile("`([a-z0-9_]+/)?([a-z0-9_]+\\.go)`")

// TestDocs_ArchitectureNamesWhatThereIs holds docs/architecture.md to the tree: each
// package is in it, and each file that it names is there.
func TestDocs_ArchitectureNamesWhatThereIs(t *testing.T) {
	page, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	packages, err := filepath.Glob("internal/*")
	if err != nil || len(packages) < 20 {
		t.Fatalf("%d packages, %v", len(packages), err)
	}
	for _, p := range packages {
		if !strings.Contains(string(page), p+"/ ") {
			t.Errorf("%s is not in the layout", p)
		}
	}
	files := namedFile.FindAllStringSubmatch(string(page), -1)
	if len(files) < 50 {
		t.Errorf("it names %d files only", len(files))
	}
	for _, f := range files {
		places := []string{"internal/" + f[1] + f[2]}
		if f[1] == "" {
			places = []string{f[2], "internal/*/" + f[2]}
		}
		if !anywhere(places) {
			t.Errorf("there is no %s%s", f[1], f[2])
		}
	}
}

// TestDocs_DecisionsAreListed holds the list of decisions to the folder.
func TestDocs_DecisionsAreListed(t *testing.T) {
	list, err := os.ReadFile("docs/decisions/README.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("docs/decisions/0*.md")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d decisions, %v", len(files), err)
	}
	for _, f := range files {
		if !strings.Contains(string(list), "("+filepath.Base(f)+")") {
			t.Errorf("%s is not in the list", f)
		}
	}
}

func anywhere(patterns []string) bool {
	for _, p := range patterns {
		if found, err := filepath.Glob(p); err == nil && len(found) > 0 {
			return true
		}
	}
	return false
}
