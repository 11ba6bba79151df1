package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write puts a program of one line of shell on the PATH, which has no other.
func write(t *testing.T, dir, name, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestNeedPrograms_NamesThePackagesWhereItMayNotInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := needPrograms(t.Context(), []program{java, maven})
	if err == nil || err.Error() != "install these first (the names are Debian's): default-jre-headless maven" {
		t.Errorf("got %v", err)
	}
}

func TestNeedPrograms_InstallsWhatIsMissingIfItIsRoot(t *testing.T) {
	for apt, says := range map[string]string{
		`test "$1" = update || { test "$*" = "install -y --no-install-recommends maven" && /bin/ln -s java "$(/usr/bin/dirname "$0")/mvn"; }`: "",
		`true`: "installed maven, but the program does not run",
		`echo E: Unable to locate package maven; exit 100`: "Unable to locate package maven",
	} {
		dir := t.TempDir()
		t.Setenv("PATH", dir)
		write(t, dir, "java", "true")
		write(t, dir, "apt-get", apt)
		err := needPrograms(t.Context(), []program{java, maven})
		if os.Geteuid() != 0 {
			says = "install these first"
		}
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", apt, err)
		}
	}
}
