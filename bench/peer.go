package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// startTimeout is how long a peer may take to answer its first request.
const startTimeout = 30 * time.Second

//go:embed peers
var configurations embed.FS

// peer is one proxy. The strings in files, args and roots are templates over
// placement.
type peer struct {
	name   string
	http3  bool                                                   // it speaks HTTP/3 as configured
	ours   bool                                                   // the one that is judged: without it there is nothing to report
	build  func(ctx context.Context, p *peer, cache string) error // sets program, version and what else it finds
	files  []string                                               // configurations, from peers/, copied to the peer's folder
	args   []string
	env    []string
	domain string // the custom domain to ask for; default benchDomain
	roots  string // file with the CA certificates that verify the peer, in PEM; default the harness's own

	program string
	version string
	target  target

	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
}

// placement is what a peer's configuration and command line can refer to.
type placement struct {
	Dir    string // the peer's own folder
	Port   int    // HTTPS on 127.0.0.1
	Spare  [2]int // two more free ports
	Origin string // host:port
	Domain string
	Chain  string // certificate chain, PEM file
	Key    string // its key, PEM file
	Both   string // both in one PEM file
}

// start runs the peer on one CPU and returns once it answers correctly.
func (p *peer) start(ctx context.Context, dir string, certs certificates, origin string, cpu int) error {
	if p.domain == "" {
		p.domain = benchDomain
	}
	place := placement{
		Dir: filepath.Join(dir, p.name), Origin: origin, Domain: p.domain,
		Chain: certs.chain, Key: certs.key, Both: certs.both,
	}
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	place.Port, place.Spare = ports[0], [2]int{ports[1], ports[2]}
	if err := p.configure(place); err != nil {
		return err
	}
	roots := certs.root
	if p.roots != "" {
		if roots, err = fill(p.roots, place); err != nil {
			return err
		}
	}
	if err := p.launch(ctx, place, cpu); err != nil {
		return err
	}
	return p.await(ctx, place, roots)
}

func (p *peer) pid() int { return p.cmd.Process.Pid }

// stop ends the process, if it was started.
func (p *peer) stop() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.exited:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

func (p *peer) configure(place placement) error {
	if err := os.MkdirAll(place.Dir, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	for _, name := range p.files {
		text, err := configurations.ReadFile("peers/" + name)
		if err != nil {
			return fmt.Errorf("read configuration: %w", err)
		}
		filled, err := fill(string(text), place)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(place.Dir, name), []byte(filled), 0o600); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	return nil
}

func (p *peer) launch(ctx context.Context, place placement, cpu int) error {
	var args []string
	for _, a := range p.args {
		filled, err := fill(a, place)
		if err != nil {
			return err
		}
		args = append(args, filled)
	}
	output, err := os.Create(filepath.Join(place.Dir, "output"))
	if err != nil {
		return fmt.Errorf("make log: %w", err)
	}
	defer output.Close() //nolint:errcheck // the process has its own descriptor
	line := pinned(cpu, p.program, args...)
	// Not bound to ctx: a peer ends when stop is called, after its last client.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), line[0], line[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = place.Dir, output, output
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "HOME="+place.Dir, "XDG_DATA_HOME="+place.Dir, "XDG_CONFIG_HOME="+place.Dir)
	cmd.Env = append(cmd.Env, p.env...)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	p.cmd, p.exited = cmd, make(chan struct{})
	go func() {
		defer close(p.exited)
		_ = cmd.Wait() // how it ended does not matter; that it did too early, does
	}()
	return nil
}

// await tries until the peer serves as it should.
func (p *peer) await(ctx context.Context, place placement, rootsFile string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := p.probe(ctx, place, rootsFile)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-p.exited:
			return fmt.Errorf("it ended: %s", p.lastOutput(place))
		case <-ctx.Done():
			return fmt.Errorf("it does not serve: %w: %s", err, p.lastOutput(place))
		}
	}
}

// probe verifies the certificate, keeps it for the load, and checks what
// reaches the origin.
func (p *peer) probe(ctx context.Context, place placement, rootsFile string) error {
	text, err := os.ReadFile(rootsFile)
	if err != nil {
		return fmt.Errorf("read roots: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return errors.New("no certificate in " + rootsFile)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", place.Port)
	config := clientConfig(p.domain, "http/1.1")
	config.RootCAs = roots
	conn, err := dialTLS(ctx, addr, config)
	if err != nil {
		return err
	}
	defer shut(conn)
	head, err := newHTTP1(conn, p.domain, "/head").exchange()
	if err != nil {
		return err
	}
	client, _, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		return fmt.Errorf("read own address: %w", err)
	}
	p.target = target{addr: addr, domain: p.domain, leaf: conn.ConnectionState().PeerCertificates[0].Raw}
	return checkForwarding(head, place, client)
}

// lastOutput returns the end of what the peer has printed.
func (p *peer) lastOutput(place placement) string {
	text, err := os.ReadFile(filepath.Join(place.Dir, "output"))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-2000):]))
}

func fill(text string, place placement) (string, error) {
	t, err := template.New("").Option("missingkey=error").Parse(text)
	if err != nil {
		return "", fmt.Errorf("parse template: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, place); err != nil {
		return "", fmt.Errorf("fill template: %w", err)
	}
	return out.String(), nil
}

// freePorts returns n ports that were free a moment ago.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find port: %w", err)
		}
		defer l.Close() // only at the end, so that the ports differ
		addr, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			return nil, fmt.Errorf("find port: %s", l.Addr())
		}
		ports = append(ports, addr.Port)
	}
	return ports, nil
}
