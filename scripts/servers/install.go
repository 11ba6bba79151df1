package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// installAll installs what is not there yet. Another run that is installing into
// the same cache is waited for.
func installAll(ctx context.Context, cache string, wanted []*server) error {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	unlock, err := lock(ctx, filepath.Join(cache, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	for _, s := range wanted {
		dir := filepath.Join(cache, s.folder())
		if _, err := os.Stat(filepath.Join(dir, complete)); err == nil {
			continue
		}
		if err := installOne(ctx, s, dir); err != nil {
			return fmt.Errorf("install %s %s: %w", s.name, s.version, err)
		}
	}
	return nil
}

// complete marks a folder whose installation came to its end. A folder without
// it is begun anew: neither Maven's nor pip's results could be moved into place.
const complete = "complete"

func installOne(ctx context.Context, s *server, dir string) error {
	fmt.Fprintf(os.Stderr, "installing %s %s (once)\n", s.name, s.version)
	if err := needPrograms(ctx, s.programs); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := s.install(ctx, dir); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, complete), nil, 0o644)
}

// program is what a server needs of the machine.
type program struct {
	check []string // a command that succeeds where it is there
	apt   string   // the Debian package that has it
}

var (
	java   = program{[]string{"java", "-version"}, "default-jre-headless"}
	maven  = program{[]string{"mvn", "-version"}, "maven"}
	python = program{[]string{"python3", "-c", "import venv, ensurepip"}, "python3-venv"}

	runc       = program{[]string{"runc", "--version"}, "runc"}
	mmdebstrap = program{[]string{"mmdebstrap", "--version"}, "mmdebstrap"}

	browser = program{[]string{"chromium", "--version"}, "chromium"}
	fonts   = program{[]string{"sh", "-c", "fc-list | grep -q Inter"}, "fonts-inter"} // so that pictures of pages are alike everywhere
	npm     = program{[]string{"npm", "--version"}, "npm"}
)

// needPrograms installs what is missing, where that can be done without asking.
func needPrograms(ctx context.Context, needed []program) error {
	missing := lacking(ctx, needed)
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return fmt.Errorf("install these first (the names are Debian's): %s", strings.Join(missing, " "))
	}
	fmt.Fprintf(os.Stderr, "apt-get install %s\n", strings.Join(missing, " "))
	if err := quietly(ctx, nil, "apt-get", "update"); err != nil {
		return err
	}
	if err := quietly(ctx, []string{"DEBIAN_FRONTEND=noninteractive"}, "apt-get", append([]string{"install", "-y", "--no-install-recommends"}, missing...)...); err != nil {
		return err
	}
	if missing = lacking(ctx, needed); len(missing) > 0 {
		return fmt.Errorf("apt-get has installed %s, but the program does not run", strings.Join(missing, " "))
	}
	return nil
}

// lacking returns the packages of the programs that do not run here.
func lacking(ctx context.Context, needed []program) (packages []string) {
	for _, p := range needed {
		if exec.CommandContext(ctx, p.check[0], p.check[1:]...).Run() != nil {
			packages = append(packages, p.apt)
		}
	}
	return packages
}

// installDynamoDB has Maven fetch DynamoDB Local and what it needs, its native
// SQLite among it.
func installDynamoDB(ctx context.Context, dir string) error {
	pom := filepath.Join(dir, "pom.xml")
	if err := os.WriteFile(pom, []byte(`<project><modelVersion>4.0.0</modelVersion>
<groupId>shingle</groupId><artifactId>servers</artifactId><version>1</version>
<dependencies><dependency>
<groupId>software.amazon.dynamodb</groupId><artifactId>DynamoDBLocal</artifactId><version>`+dynamoVersion+`</version>
</dependency></dependencies></project>
`), 0o644); err != nil {
		return err
	}
	return quietly(ctx, nil, "mvn", "-q", "-B", "-f", pom,
		"org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies", "-DoutputDirectory="+dir)
}

func installMoto(ctx context.Context, dir string) error {
	return installPython(ctx, dir, "moto[server]=="+motoVersion, "cfn-lint=="+cfnLintVersion)
}

func installMinistack(ctx context.Context, dir string) error {
	return installPython(ctx, dir, "ministack=="+ministackVersion)
}

func installSchemathesis(ctx context.Context, dir string) error {
	return installPython(ctx, dir, "schemathesis=="+schemathesisVersion)
}

// installAxe installs axe-core, which tells whom a page shuts out.
func installAxe(ctx context.Context, dir string) error {
	return quietly(ctx, nil, "npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", dir, "axe-core@"+axeVersion)
}

// installPython installs packages of PyPI's, with what they need, apart from all others.
func installPython(ctx context.Context, dir string, packages ...string) error {
	if err := quietly(ctx, nil, "python3", "-m", "venv", dir); err != nil {
		return err
	}
	return quietly(ctx, nil, filepath.Join(dir, "bin", "python"), append([]string{"-m", "pip", "install", "-q"}, packages...)...)
}

func installS3(ctx context.Context, dir string) error {
	return quietly(ctx, []string{"GOBIN=" + dir, "GOFLAGS="}, "go", "install", "github.com/versity/versitygw/cmd/versitygw@"+s3Version)
}

// installDebian makes the file system of a Debian machine: what an instance at EC2
// has, as far as user data and packages use it.
func installDebian(ctx context.Context, dir string) error {
	return quietly(ctx, []string{"LC_ALL=C.UTF-8"}, "mmdebstrap", "--variant=minbase", "--mode=root",
		"--include=systemd,systemd-sysv,dbus,ca-certificates,curl,awscli,libcap2-bin",
		"--customize-hook=chroot $1 systemctl mask console-getty.service", // there is no console
		debianSuite, filepath.Join(dir, "root"))
}

// installNothing is for what is a program of the machine alone.
func installNothing(context.Context, string) error { return nil }

func installNFPM(ctx context.Context, dir string) error {
	return quietly(ctx, []string{"GOBIN=" + dir, "GOFLAGS="}, "go", "install", "github.com/goreleaser/nfpm/v2/cmd/nfpm@"+nfpmVersion)
}

// quietly runs a command and shows what it printed only when it fails.
func quietly(ctx context.Context, environment []string, name string, arguments ...string) error {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, name, arguments...)
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, last(out.Bytes(), 4<<10))
	}
	return nil
}

func last(b []byte, n int) []byte { return bytes.TrimSpace(b[max(0, len(b)-n):]) }

// executable is the file name of a program.
func executable(name string) string {
	if runtime.GOOS == "windows" {
		return name + ".exe"
	}
	return name
}
