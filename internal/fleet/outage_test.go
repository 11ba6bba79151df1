package fleet

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// cable leads to a server, and can be cut.
type cable struct {
	net.Listener
	to string

	mu    sync.Mutex
	cut   string // "": whole; "refuses": connections are closed; "hangs": they get no answer
	conns map[net.Conn]bool
	ends  sync.WaitGroup
}

func newCable(t *testing.T, to string) *cable {
	c := &cable{Listener: listen(t), to: to, conns: map[net.Conn]bool{}}
	c.ends.Go(c.run)
	t.Cleanup(func() {
		c.set("refuses")
		c.Close()
		c.ends.Wait()
	})
	return c
}

// set changes the cable, and ends the connections that lead through it.
func (c *cable) set(cut string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	for conn := range c.conns {
		conn.Close()
	}
}

func (c *cable) run() {
	for {
		conn, err := c.Accept()
		if err != nil {
			return
		}
		c.mu.Lock()
		cut := c.cut
		c.conns[conn] = true
		c.mu.Unlock()
		switch cut {
		case "refuses":
			c.drop(conn)
		case "hangs":
			c.ends.Go(func() { _, _ = io.Copy(io.Discard, conn); c.drop(conn) })
		default:
			c.ends.Go(func() { c.lead(conn) })
		}
	}
}

func (c *cable) lead(conn net.Conn) {
	defer c.drop(conn)
	far, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer far.Close()
	c.ends.Go(func() { _, _ = io.Copy(conn, far); conn.Close() })
	_, _ = io.Copy(far, conn)
}

func (c *cable) drop(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn.Close()
	delete(c.conns, conn)
}

// TestTable_EdgeServesWithoutItsTable kills an edge, cuts the way to its table,
// and starts it again; then the way is mended. Domains change meanwhile.
func TestTable_EdgeServesWithoutItsTable(t *testing.T) {
	t.Parallel()
	const seen, told, comes, never = "seen.customer.localhost", "told.customer.localhost", "comes.customer.localhost", "never.customer.localhost"
	httpPort, tlsPort := freePorts(t)
	p := newPrograms(t, httpPort, tlsPort)
	way := newCable(t, strings.TrimPrefix(storetest.Endpoint(t, storetest.DynamoDB), "http://"))
	p.startControl()
	distant := *p
	distant.env = append(slices.Clone(p.env), "SHINGLE_DYNAMODB_ENDPOINT=http://"+way.Addr().String())
	data := t.TempDir()
	start := func() *program {
		return distant.start(data, "edge", "--edge-http", fmt.Sprint("127.0.0.1:", httpPort), "--edge-https", fmt.Sprint("127.0.0.1:", tlsPort))
	}
	edge := start()
	for _, host := range []string{seen, told} {
		_, err := p.client.CreateDomain(t.Context(), api.NewDomain{Host: host})
		check(t, err)
	}
	serial, err := p.visit(edge, seen)
	check(t, err)
	await(t, "issued by the worker", func() error {
		c, err := p.client.Certificate(t.Context(), told)
		if err == nil && c.State != "valid" {
			err = errors.New(c.State)
		}
		return err
	})
	edge.stop()
	edge = start() // reads the news at once
	await(t, "copied", func() error { return copied(data, seen, told) })

	for _, cut := range []string{"refuses", "hangs"} {
		edge.kill()
		way.set(cut)
		begin := time.Now()
		edge = start()
		if again, err := p.visit(edge, seen); err != nil || again != serial {
			t.Fatalf("the table %s: %s, %v", cut, again, err)
		}
		t.Logf("the table %s: served %s after the start", cut, time.Since(begin))
		if _, err := p.visit(edge, told); err != nil {
			t.Fatalf("the table %s: %v", cut, err)
		}
		if _, err := p.visit(edge, never); err == nil {
			t.Errorf("the table %s: a name that nobody added is served", cut)
		}
		await(t, "degraded", func() error {
			return health(edge, "degraded: the domain store has not answered", "degraded: the certificate store has not answered")
		})
	}

	check(t, p.client.DeleteDomain(t.Context(), seen))
	_, err = p.client.CreateDomain(t.Context(), api.NewDomain{Host: comes})
	check(t, err)
	way.set("")
	await(t, "served", func() error { _, err := p.visit(edge, comes); return err })
	await(t, "refused", func() error {
		if _, err := p.visit(edge, seen); err == nil {
			return errors.New("a deleted domain is served")
		}
		return nil
	})
	_, err = p.visit(edge, told)
	check(t, err)
	await(t, "destroyed", func() error {
		if copied(data, seen) == nil {
			return errors.New("the key of a deleted domain is still there")
		}
		return nil
	})
	await(t, "well again", func() error { return health(edge) })
	await(t, "copied", func() error { return copied(data, told, comes) })
}

// copied looks for the hosts' certificates in the local copy of an edge.
func copied(data string, hosts ...string) error {
	for _, host := range hosts {
		if _, err := os.Stat(filepath.Join(data, "edge", "copy", "certs="+host+".blob")); err != nil {
			return err
		}
	}
	return nil
}

// health looks at the health of an edge in detail: it is as a balancer wants it,
// and degraded for the given reasons alone.
func health(edge *program, reasons ...string) error {
	resp, err := http.Get("http://" + edge.addr("HTTP") + "/health?detail")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	lines := strings.Split(string(body), "\n")
	if err != nil || resp.StatusCode != http.StatusOK || lines[0] != "Im healthy" || len(lines) != 1+len(reasons) {
		return fmt.Errorf("%s, %q, %w", resp.Status, body, err)
	}
	for i, why := range reasons {
		if !strings.HasPrefix(lines[1+i], why) {
			return fmt.Errorf("%q does not begin with %q", lines[1+i], why)
		}
	}
	return nil
}
