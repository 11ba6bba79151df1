package deploy

import (
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// place is where a container of the manifest runs here: its ports on an address that
// nobody else has, its volumes in a folder of the test, all else as the manifest says.
type place struct {
	t    *testing.T
	host string
	env  map[string]string
	dirs map[string]string // of what is mounted, by path
	c    *container
}

// newPlace fills the volumes as the head of the manifest says. Two places with the same
// secrets are of one fleet.
func newPlace(t *testing.T, m *manifest, w *workload, secrets map[string]string) *place {
	t.Helper()
	p := &place{t: t, host: ownHost(t), env: map[string]string{}, dirs: map[string]string{}, c: w.only(t)}
	for _, v := range p.c.Mounts {
		p.dirs[v.Path] = t.TempDir()
		for name, content := range secrets {
			if v.ReadOnly && filepath.Base(v.Path) == filepath.Dir(name) {
				if err := os.WriteFile(filepath.Join(p.dirs[v.Path], filepath.Base(name)), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for name, value := range m.settings.Data {
		if slices.Contains(listens, name) {
			value = p.host + value
		}
		for path, dir := range p.dirs {
			value = strings.Replace(value, path, dir, 1)
		}
		p.env[name] = value
	}
	return p
}

// newSecrets returns what the head of the manifest has made, by volume and file.
func newSecrets() map[string]string {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return map[string]string{
		"keys/seal.key":   string(key),
		"aws/credentials": "[default]\naws_access_key_id = " + rand.Text() + "\naws_secret_access_key = " + rand.Text() + "\n",
	}
}

// address returns where a named port of the container is.
func (p *place) address(port string) string {
	p.t.Helper()
	return net.JoinHostPort(p.host, strconv.Itoa(p.c.port(p.t, port)))
}

// ask asks what a kubelet would.
func (p *place) ask(q *probe) error {
	p.t.Helper()
	if q.HTTPGet != nil {
		return get("http://" + p.address(q.HTTPGet.Port) + q.HTTPGet.Path)
	}
	return dial(p.address(q.TCPSocket.Port))
}

// wrote fails the test for a file outside of what can be written to.
func (p *place) wrote() {
	p.t.Helper()
	for _, v := range p.c.Mounts {
		list, err := os.ReadDir(p.dirs[v.Path])
		if err != nil {
			p.t.Fatal(err)
		}
		if v.ReadOnly && len(list) != 1 {
			p.t.Errorf("%s, which cannot be written to, has %v", v.Path, list)
		}
	}
}

// headCommand returns the arguments of a command of shingle in the manifest's head.
func (m *manifest) headCommand(t *testing.T, begins string) []string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^# +shingle (` + begins + `.*)$`).FindStringSubmatch(m.text)
	if found == nil {
		t.Fatalf("the manifest has no command shingle %s", begins)
	}
	return strings.Fields(found[1])
}
