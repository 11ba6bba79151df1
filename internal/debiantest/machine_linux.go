package debiantest

import (
	"bytes"
	_ "embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	bootWait = 2 * time.Minute // on a busy machine; 5 s are usual
	glance   = 50 * time.Millisecond
)

// namespaces are those that a machine has for itself; boot.sh adds that of cgroups.
const namespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET

//go:embed boot.sh
var bootScript string

// Machine is a Debian that runs.
type Machine struct {
	t     *testing.T
	world *world
	init  *exec.Cmd // its process 1
	log   bytes.Buffer
}

// unable returns why no machine can be, before anything is tried.
func unable() string {
	if os.Geteuid() != 0 {
		return "boot Debian for who is not root"
	}
	return ""
}

func boot(t *testing.T, root string) *Machine {
	t.Helper()
	cgroup, err := newCgroup()
	if err != nil {
		t.Skip(Unable + "give a machine a cgroup: " + err.Error())
	}
	t.Cleanup(func() { removeCgroup(cgroup) })
	m := &Machine{t: t, world: openWorld()}
	t.Cleanup(m.world.close)
	start, err := m.start(root, cgroup)
	if err != nil {
		t.Skip(Unable + "make namespaces: " + err.Error())
	}
	t.Cleanup(m.end)
	if err := m.world.connect(m.init.Process.Pid); err != nil {
		t.Skip(Unable + "connect a network: " + err.Error())
	}
	if err := start(); err != nil {
		t.Fatal(err)
	}
	m.awaitBoot()
	return m
}

// start starts boot.sh, which waits for a network until the returned function is
// called.
func (m *Machine) start(root, cgroup string) (goOn func() error, err error) {
	m.init = exec.Command("/bin/sh", "-euc", bootScript, "boot", root, m.t.TempDir(), cgroup)
	m.init.Env = []string{"PATH=" + path}
	m.init.Stdout, m.init.Stderr = &m.log, &m.log
	m.init.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL}
	gate, err := m.init.StdinPipe()
	if err != nil {
		return nil, err
	}
	m.world.do(func() { err = m.init.Start() }) // of a thread that lives as long as the machine
	return gate.Close, err
}

const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Try runs a command on the machine as root, and returns all that it printed.
func (m *Machine) Try(name string, args ...string) (string, error) {
	inside := []string{"--target", strconv.Itoa(m.init.Process.Pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"}
	cmd := exec.CommandContext(m.t.Context(), "nsenter", append(append(inside, "--", name), args...)...)
	cmd.Env = []string{"PATH=" + path, "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (m *Machine) write(path, content string, mode os.FileMode) error {
	path = filepath.Join("/proc", strconv.Itoa(m.init.Process.Pid), "root", path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		return err
	}
	return os.Chmod(path, mode) // whatever the umask
}

// awaitBoot waits until systemd has done what it does at a boot.
func (m *Machine) awaitBoot() {
	m.t.Helper()
	said := ""
	for deadline := time.Now().Add(bootWait); time.Now().Before(deadline); time.Sleep(glance) {
		said, _ = m.Try("systemctl", "is-system-running", "--wait") // fails when it is degraded, or not there yet
		if said = strings.TrimSpace(said); said == "running" {
			return
		}
		if said == "degraded" {
			m.t.Fatalf("units failed at the boot:\n%s", m.Run("systemctl", "--failed"))
		}
	}
	m.end()
	m.t.Fatalf("Debian has not booted: %s\n%s", said, m.log.Bytes())
}

// end ends the machine as a power cut does.
func (m *Machine) end() {
	_ = m.init.Process.Kill() // and with it all in its namespace
	_ = m.init.Wait()
}

// newCgroup makes a cgroup for a machine: systemd needs a part of the tree that is
// its own.
func newCgroup() (path string, err error) {
	top := "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(top, "cgroup.procs")); err != nil {
		top = filepath.Join(top, "unified") // beside those of version 1
	}
	if _, err := os.Stat(filepath.Join(top, "cgroup.procs")); err != nil {
		return "", fmt.Errorf("there is no cgroup of version 2: %w", err)
	}
	return os.MkdirTemp(top, "shingle-test-")
}

func removeCgroup(path string) {
	var folders []string
	_ = filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			folders = append(folders, path)
		}
		return nil
	})
	for _, folder := range slices.Backward(folders) {
		for range 100 { // until the kernel has seen its last process end
			if os.Remove(folder) == nil {
				break
			}
			time.Sleep(glance)
		}
	}
}
