package fleet

import (
	"fmt"
	"testing"

	"github.com/shingle-proxy/shingle/internal/api"
)

// TestFleet_TrafficOfAllEdges has two edges count what visitors ask, one of them in two
// lives, and the control process add it up.
func TestFleet_TrafficOfAllEdges(t *testing.T) {
	httpPort, tlsPort := freePorts(t)
	p := newPrograms(t, httpPort, tlsPort)
	p.startControl()
	const host = "blog.customer.localhost"
	_, err := p.client.CreateDomain(t.Context(), api.NewDomain{Host: host, Tenant: "acme"})
	check(t, err)
	first := p.start(t.TempDir(), "edge", "--edge-http", fmt.Sprint("127.0.0.1:", httpPort), "--edge-https", fmt.Sprint("127.0.0.1:", tlsPort))
	second := p.start(t.TempDir(), "edge", "--edge-http", "127.0.0.1:0", "--edge-https", "127.0.0.1:0")
	visit := func(edge *program, times int) {
		t.Helper()
		for range times {
			_, err := p.visit(edge, host)
			check(t, err)
		}
	}
	asked := 0
	counted := func(want uint64) {
		t.Helper()
		asked++ // an answer is remembered for a minute
		is, err := p.client.Traffic(t.Context(), host, 100+asked)
		check(t, err)
		if is.Total.Requests != want || is.Total.Answers.Success != want || is.Partial {
			t.Errorf("%d requests are told, not %d: %+v", is.Total.Requests, want, is.Total)
		}
	}
	visit(first, 5)
	visit(second, 3)
	counted(0) // none has written yet
	first.stop()
	counted(5)
	second.stop()
	counted(8)
	first = p.start(first.data, "edge", "--edge-http", "127.0.0.1:0", "--edge-https", "127.0.0.1:0")
	visit(first, 2)
	first.stop()
	counted(10)
	second = p.start(second.data, "edge", "--edge-http", "127.0.0.1:0", "--edge-https", "127.0.0.1:0")
	visit(second, 1)
	second.kill() // and what it had not written
	counted(10)
}
