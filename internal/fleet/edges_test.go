package fleet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle/internal/api"
)

// TestFleet_EdgesAreListed has a fleet of real processes tell who is there, and a
// rewrap wait for the one that lacks the new master key.
func TestFleet_EdgesAreListed(t *testing.T) {
	httpPort, tlsPort := freePorts(t)
	p := newPrograms(t, httpPort, tlsPort)
	control := p.startControl()
	startEdge := func(data string) *program {
		return p.start(data, "edge", "--edge-http", fmt.Sprint("127.0.0.1:", httpPort), "--edge-https", fmt.Sprint("127.0.0.1:", tlsPort))
	}
	edge := startEdge(t.TempDir())
	seen := func() (roles map[string]api.Edge) {
		roles = map[string]api.Edge{}
		for e, err := range p.client.Edges(t.Context()) {
			check(t, err)
			roles[e.Role] = e
		}
		return roles
	}
	await(t, "both listed", func() error {
		all := seen()
		if e := all["edge"]; e.State != "alive" || e.Region != "eu-central-1" || !strings.HasSuffix(e.Address, fmt.Sprint(":", tlsPort)) || e.Table == nil || len(e.Attention) > 0 {
			return fmt.Errorf("edge: %+v", e)
		}
		if c := all["control"]; c.State != "alive" || !c.Leads || !c.Answers || c.API == "" || len(c.Attention) > 0 {
			return fmt.Errorf("control: %+v", c)
		}
		return nil
	})

	_, err := p.try("keys", "next", "--data", control.data)
	check(t, err)
	_, err = p.client.Rewrap(t.Context(), api.Rewrap{})
	if err == nil || !strings.Contains(err.Error(), seen()["edge"].ID+" (edge, ") {
		t.Fatalf("the rewrap: %v", err)
	}
	next, err := os.ReadFile(filepath.Join(control.data, "seal.key.2"))
	check(t, err)
	check(t, os.WriteFile(filepath.Join(edge.data, "seal.key.2"), next, 0o600))
	edge.stop() // its next report is nearer than within a minute
	edge = startEdge(edge.data)
	await(t, "the edge has the key", func() error { _, err := p.client.Rewrap(t.Context(), api.Rewrap{}); return err })

	edge.stop()
	await(t, "the edge has gone", func() error {
		if e, there := seen()["edge"]; there {
			return fmt.Errorf("it is there: %+v", e)
		}
		return nil
	})
	if _, err := p.client.Edge(t.Context(), "none"); err == nil {
		t.Error(errors.New("there is an edge none"))
	}
}
