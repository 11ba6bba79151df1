package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle/internal/debiantest"
)

// TestCompose_ContainerServesAndEnds runs the service in a real container: of the image's
// files alone, which it cannot write to, as the image's user, on the ports of the file.
func TestCompose_ContainerServesAndEnds(t *testing.T) {
	t.Parallel()
	s, d := readCompose(t), readDockerfile(t)
	b := newBundle(t, d)
	b.mount(d.one(t, "VOLUME"), b.owned(t.TempDir()), true)
	b.sysctls = map[string]string{}
	for name, value := range s.Sysctls {
		b.sysctls[name] = fmt.Sprint(value)
	}
	c := b.run(append(d.command(t, "ENTRYPOINT"), d.command(t, "CMD")...), s.Environment)
	c.await("healthy", func() error { return c.exec(d.command(t, "HEALTHCHECK")...) })
	if err := c.exec("/shingle", "health", "--api", "127.0.0.1:8090"); err != nil {
		t.Error(err)
	}
	c.kill()
	if err := c.ends(); err != nil {
		t.Errorf("it ends with %v", err)
	}
}

// TestKubernetes_ContainerReadsItsSecrets: they are root's, and the group of the pod reads
// them, as a kubelet lays them.
func TestKubernetes_ContainerReadsItsSecrets(t *testing.T) {
	t.Parallel()
	m := readManifest(t)
	w, b := m.workloads["edge"], newBundle(t, readDockerfile(t))
	secrets := newSecrets()
	for _, v := range w.only(t).Mounts {
		dir := t.TempDir()
		if !v.ReadOnly {
			b.mount(v.Path, b.owned(dir), true)
			continue
		}
		for name, content := range secrets {
			if file := filepath.Join(dir, filepath.Base(name)); v.Name == filepath.Dir(name) {
				must(t, os.WriteFile(file, []byte(content), 0o440), os.Chmod(file, 0o440), os.Chown(file, 0, b.group))
			}
		}
		must(t, os.Chmod(dir, 0o755))
		b.mount(v.Path, dir, false)
	}
	env := maps.Clone(m.settings.Data)
	env["SHINGLE_DYNAMODB_ENDPOINT"] = "http://127.0.0.1:1"
	c := b.run(append([]string{"/shingle"}, w.only(t).Args...), env)
	c.await("it runs, and waits for its store", func() error {
		err := c.exec("/shingle", "health", "--edge-http", env["SHINGLE_EDGE_HTTP"])
		if err == nil || strings.Contains(err.Error(), "the domain table is not loaded yet") {
			return nil
		}
		return err
	})
	c.kill()
	c.kill() // its delay is long
	_ = c.ends()
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// bundle is what runc runs: the files of the final stage, and how.
type bundle struct {
	t           *testing.T
	dir, runc   string
	cwd         string
	user, group int
	mounts      []map[string]any
	sysctls     map[string]string
}

// newBundle lays the files of the image, or skips the test where there can be no container.
func newBundle(t *testing.T, d *dockerfile) *bundle {
	t.Helper()
	b := &bundle{t: t, dir: t.TempDir(), runc: os.Getenv("SHINGLE_TEST_RUNC"), cwd: "/"}
	if b.runc == "" {
		t.Skip("SHINGLE_TEST_RUNC is not set: run `make test`, or, as root, `go run ./scripts/servers -only runc,nfpm go test ./deploy`")
	}
	b.user, b.group = d.user(t)
	root := filepath.Join(b.dir, "rootfs")
	must(t, os.Mkdir(root, 0o755))
	b.write([]string{"/nothing"}, nil)
	if out, _ := b.command("run", b.id()+"-probe").CombinedOutput(); !strings.Contains(string(out), "/nothing") {
		t.Skip(debiantest.Unable + "run a container: " + string(out))
	}
	b.cwd = d.one(t, "WORKDIR")
	resolv := filepath.Join(b.dir, "resolv.conf") // from whatever runs containers
	must(t, os.WriteFile(resolv, []byte("nameserver 127.0.0.1\n"), 0o644))
	b.mount("/etc/resolv.conf", resolv, false)
	content, err := os.ReadFile(program(t))
	must(t, err, os.WriteFile(filepath.Join(root, "shingle"), content, 0o755))
	return b
}

func (b *bundle) id() string { return "shingle-" + filepath.Base(filepath.Dir(b.dir)) }

// owned gives a folder to the image's user, as the image does.
func (b *bundle) owned(dir string) string {
	b.t.Helper()
	must(b.t, os.Chown(dir, b.user, b.group), os.Chmod(dir, 0o700))
	return dir
}

func (b *bundle) mount(path, dir string, writable bool) {
	option := "ro"
	if writable {
		option = "rw"
	}
	b.mounts = append(b.mounts, map[string]any{"destination": path, "type": "bind", "source": dir, "options": []string{"bind", "nosuid", "nodev", option}})
}

// write writes the configuration: no capability, no new privileges, nothing but the
// mounts can be written to, and a network of its own that leads nowhere.
func (b *bundle) write(args []string, env map[string]string) {
	b.t.Helper()
	words := []string{}
	for name, value := range env {
		words = append(words, name+"="+value)
	}
	namespaces := []map[string]string{}
	for _, kind := range []string{"pid", "network", "ipc", "uts", "mount"} {
		namespaces = append(namespaces, map[string]string{"type": kind})
	}
	text, err := json.Marshal(map[string]any{
		"ociVersion": "1.0.2",
		"process": map[string]any{
			"user": map[string]int{"uid": b.user, "gid": b.group}, "args": args, "env": words, "cwd": b.cwd,
			"noNewPrivileges": true, "capabilities": map[string][]string{},
		},
		"root":   map[string]any{"path": "rootfs", "readonly": true},
		"mounts": append([]map[string]any{{"destination": "/proc", "type": "proc", "source": "proc"}, {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "mode=755"}}}, b.mounts...),
		"linux":  map[string]any{"namespaces": namespaces, "sysctl": b.sysctls},
	})
	must(b.t, err, os.WriteFile(filepath.Join(b.dir, "config.json"), text, fs.FileMode(0o600)))
}

func (b *bundle) command(verb string, args ...string) *exec.Cmd {
	cmd := exec.Command(b.runc, append([]string{"--root", filepath.Join(b.dir, "state"), verb}, args...)...)
	cmd.Dir = b.dir
	return cmd
}

// contained is a container that runs.
type contained struct {
	*running
	b *bundle
}

// run starts the container, which ends with the test.
func (b *bundle) run(args []string, env map[string]string) *contained {
	b.t.Helper()
	b.write(args, env)
	c := &contained{b: b, running: &running{t: b.t, cmd: b.command("run", b.id()), ended: make(chan struct{})}}
	c.cmd.Stdout, c.cmd.Stderr = &c.log, &c.log
	must(b.t, c.cmd.Start())
	go func() {
		c.result = c.cmd.Wait()
		close(c.ended)
	}()
	b.t.Cleanup(func() {
		_ = b.command("delete", "--force", b.id()).Run() // it is gone, unless the test has failed
		<-c.ended
		if b.t.Failed() {
			b.t.Logf("%q:\n%s", args, c.log.text())
		}
	})
	return c
}

// exec runs a command in the container, as a health check does.
func (c *contained) exec(args ...string) error {
	out, err := c.b.command("exec", append([]string{c.b.id()}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%q: %w: %s", args, err, out)
	}
	return nil
}

// kill sends what Docker and a kubelet send.
func (c *contained) kill() {
	c.t.Helper()
	if out, err := c.b.command("kill", c.b.id(), "TERM").CombinedOutput(); err != nil {
		c.t.Fatalf("kill: %v\n%s", err, out)
	}
}
