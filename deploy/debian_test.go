package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle/internal/debiantest"
)

// TestDebian_IsInstalledUpgradedAndPurged has dpkg install the package on a booted
// Debian, configures it as its messages say, and upgrades it while it serves.
func TestDebian_IsInstalledUpgradedAndPurged(t *testing.T) {
	t.Parallel()
	nfpm := os.Getenv("SHINGLE_TEST_NFPM")
	if nfpm == "" {
		t.Skip("SHINGLE_TEST_NFPM is not set: run `make test`, or, as root, `go run ./scripts/servers -only debian,nfpm go test ./deploy`")
	}
	m := debiantest.Boot(t)
	dist := filepath.Dir(program(t))
	for _, version := range []string{"1.0.0", "1.0.1"} {
		content, err := os.ReadFile(pack(t, nfpm, dist, version))
		if err != nil {
			t.Fatal(err)
		}
		m.Write("/root/"+version+".deb", string(content), 0o644)
	}

	out := m.Run("dpkg", "-i", "/root/1.0.0.deb")
	if !strings.Contains(out, "systemctl enable --now shingle") {
		t.Errorf("it does not say what to do next:\n%s", out)
	}
	if got := m.Run("stat", "--format=%U:%G %a", "/etc/shingle/shingle.toml"); got != "root:shingle 640\n" {
		t.Errorf("the configuration is %q", got)
	}
	m.Run("grep", "-q", "^net.core.rmem_max", "/usr/lib/sysctl.d/60-shingle.conf")
	if out, err := m.Try("systemd-analyze", "verify", "shingle.service"); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}

	m.Run("sed", "-i", `s/^#target.*/target = "app.example.com"/; s/^#email.*/email = "ops@example.com"/; s/^#agree-terms.*/agree-terms = true/; s/^#cname-target.*/cname-target = ["edge.example.com"]/`, "/etc/shingle/shingle.toml")
	m.Run("systemctl", "enable", "--now", "--quiet", "shingle")
	before := m.Run("sh", "-c", healthy)
	m.Run("dpkg", "-i", "/root/1.0.1.deb")
	if after := m.Run("sh", "-c", healthy); after == before {
		t.Errorf("process %q is still that of the version before", after)
	}
	if got := m.Run("cat", "/etc/shingle/shingle.toml"); !strings.Contains(got, "\ntarget = \"app.example.com\"\n") {
		t.Errorf("the upgrade has changed the configuration:\n%s", got)
	}

	m.Run("dpkg", "-r", "shingle")
	m.Run("test", "-e", "/etc/shingle/shingle.toml")
	if out, err := m.Try("systemctl", "is-active", "shingle"); err == nil {
		t.Errorf("removed, and %s", out)
	}
	if out := m.Run("dpkg", "-P", "shingle"); !strings.Contains(out, "/var/lib/shingle stays") {
		t.Errorf("purged:\n%s", out)
	}
	m.Run("test", "!", "-e", "/etc/shingle")
	m.Run("test", "-e", "/var/lib/shingle/seal.key")
}

// healthy waits until the service is, and prints its process.
const healthy = `for try in $(seq 60); do
	shingle health >/dev/null 2>&1 && exec systemctl show --value --property=MainPID shingle
	sleep 0.5
done
shingle health; journalctl --no-pager -u shingle; exit 1`

func pack(t *testing.T, nfpm, dist, version string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), version+".deb")
	cmd := exec.Command(nfpm, "package", "--config", "deploy/nfpm.yaml", "--packager", "deb", "--target", path)
	cmd.Dir = ".." // whose paths are in the configuration
	cmd.Env = append(os.Environ(), "DIST="+dist, "DEB_ARCH="+runtime.GOARCH, "DEB_VERSION="+version)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nfpm: %v\n%s", err, out)
	}
	return path
}

// TestDebian_UnitIsThatOfAWS keeps what shuts the service in the same everywhere.
func TestDebian_UnitIsThatOfAWS(t *testing.T) {
	differs := regexp.MustCompile(`(?m)^(Description|EnvironmentFile|ExecStart)=.*\n`)
	read := func(path string) string {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return differs.ReplaceAllString(string(content), "")
	}
	if ours, theirs := read("debian/shingle.service"), read("../internal/aws/shingle.service"); ours != theirs {
		t.Errorf("deploy/debian/shingle.service:\n%s\ninternal/aws/shingle.service:\n%s", ours, theirs)
	}
}
