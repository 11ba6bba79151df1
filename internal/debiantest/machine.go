// Package debiantest boots Debian, for tests of what is installed on a machine: the
// systemd of a real Debian as process 1, in namespaces of its own, with a network
// that leads to the test and nowhere else. Only Linux has it, and only root may.
package debiantest

import (
	"context"
	"net"
	"os"
	"testing"
)

// The network between a test and its machine.
const (
	// World is the address of everything but the machine. The machine's default
	// route leads there.
	World = "10.213.0.1"
	// Address is the machine's.
	Address = "10.213.0.2"
	// Metadata is the address of an instance's metadata at EC2. It is the test's too.
	Metadata = "169.254.169.254"
)

// Environment names the folder with the Debian that is booted. Nothing is written
// there: what a machine writes is in memory, and gone with it.
const Environment = "SHINGLE_TEST_DEBIAN"

// Unable begins the reason for which a test is skipped on a machine that cannot run
// it whatever is installed; see scripts/gotest.
const Unable = "this machine cannot: "

// Boot starts a machine and waits until it has booted, or skips the test where there
// can be none. The machine ends with its test.
func Boot(t *testing.T) *Machine {
	t.Helper()
	root := os.Getenv(Environment)
	if why := unable(); why != "" {
		t.Skip(Unable + why)
	}
	if root == "" {
		t.Skip(Environment + " is not set: run `make test`, or, as root, `go run ./scripts/servers -only debian go test` with the package")
	}
	return boot(t, root)
}

// Dial connects to the machine from outside, such as to [Address] and ":443".
func (m *Machine) Dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	m.world.do(func() { c, err = new(net.Dialer).DialContext(ctx, network, address) })
	return c, err
}

// Listen listens where the machine can reach it: on [World] or [Metadata]. The
// listener ends with the test.
func (m *Machine) Listen(address string) net.Listener {
	m.t.Helper()
	var l net.Listener
	var err error
	m.world.do(func() { l, err = net.Listen("tcp", address) })
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = l.Close() })
	return l
}

// Write makes a file of the machine, and the folders above it.
func (m *Machine) Write(path, content string, mode os.FileMode) {
	m.t.Helper()
	if err := m.write(path, content, mode); err != nil {
		m.t.Fatal(err)
	}
}

// Run runs a command on the machine as root, and returns what it printed; the test
// fails with the command.
func (m *Machine) Run(name string, args ...string) string {
	m.t.Helper()
	out, err := m.Try(name, args...)
	if err != nil {
		m.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return out
}
