package fleet

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// regions is a fleet in two regions over a global table: at home, and far from it
// behind a cable.
type regions struct {
	*storetest.Replication
	t         *testing.T
	home, far *programs
	cable     *cable
}

// newRegions creates the table in both regions. CAs validate at the given ports.
func newRegions(t *testing.T, httpPort, tlsPort int) *regions {
	t.Helper()
	endpoint := storetest.Endpoint(t, storetest.DynamoDB)
	p := newPrograms(t, httpPort, tlsPort)
	far := *p
	far.env = append(slices.Clone(p.env), "SHINGLE_TABLE_REGION=us-west-2", "SHINGLE_HOME_REGION=eu-central-1")
	far.run("store", "create")
	table := ""
	for _, v := range p.env {
		if name, ok := strings.CutPrefix(v, "SHINGLE_TABLE="); ok {
			table = name
		}
	}
	r := &regions{t: t, home: p, far: &far, Replication: storetest.Replicate(t, storetest.ReplicationConfig{
		Endpoint: endpoint, AccessKey: "fleet", Table: table, HomeRegion: "eu-central-1", Region: "us-west-2", Delay: 200 * time.Millisecond,
	})}
	r.cable = newCable(t, strings.TrimPrefix(r.URL, "http://"))
	p.env = append(p.env, "SHINGLE_DYNAMODB_ENDPOINT="+r.URL)
	far.env = append(far.env, "SHINGLE_HOME_DYNAMODB_ENDPOINT=http://"+r.cable.Addr().String())
	return r
}

// cut cuts the regions off from each other.
func (r *regions) cut(how string) { r.Cut(); r.cable.set(how) }

func (r *regions) heal() { r.Heal(); r.cable.set("") }

// add adds domains by a region's API.
func (r *regions) add(p *programs, hosts ...string) {
	r.t.Helper()
	for _, host := range hosts {
		_, err := p.client.CreateDomain(r.t.Context(), api.NewDomain{Host: host})
		check(r.t, err)
	}
}

// served waits until the edges serve host, all with one certificate.
func (r *regions) served(host string, edges ...*program) {
	r.t.Helper()
	var first string
	for _, e := range edges {
		var serial string
		await(r.t, host+" served", func() (err error) { serial, err = r.home.visit(e, host); return err })
		if first = min(serial, first+serial); serial != first {
			r.t.Errorf("%s: certificates %s and %s", host, first, serial)
		}
	}
}

func (r *regions) refused(host string, edges ...*program) {
	r.t.Helper()
	for _, e := range edges {
		await(r.t, host+" refused", func() error {
			if _, err := r.home.visit(e, host); err == nil {
				return errors.New("it is served")
			}
			return nil
		})
	}
}

// valid waits until the worker has obtained host's certificate.
func (r *regions) valid(host string) {
	r.t.Helper()
	await(r.t, host+" issued", func() error {
		c, err := r.home.client.Certificate(r.t.Context(), host)
		if err == nil && c.State != "valid" {
			err = errors.New(c.State)
		}
		return err
	})
}

// TestRegions_HomeIsCutOff has a control process and edges in each of two regions,
// which are cut off from each other and come together again. docs/storage.md has
// what happens as a table.
func TestRegions_HomeIsCutOff(t *testing.T) {
	t.Parallel()
	const seen, told, goes, comes = "seen.customer.localhost", "told.customer.localhost", "goes.customer.localhost", "comes.customer.localhost"
	httpPort, tlsPort := freePorts(t)
	r := newRegions(t, httpPort, tlsPort)
	local := []string{"edge", "--edge-http", "127.0.0.1:0", "--edge-https", "127.0.0.1:0"}
	control := r.home.startControl()
	r.far.key = r.home.key
	farControl := r.far.startControl()
	edge := r.home.start(t.TempDir(), "edge", "--edge-http", fmt.Sprint("127.0.0.1:", httpPort), "--edge-https", fmt.Sprint("127.0.0.1:", tlsPort))
	farEdge := r.far.start(t.TempDir(), local...)
	control.stop() // so that the far one leads the fleet
	r.add(r.far, seen, told, goes)
	r.served(seen, edge, farEdge)
	r.served(goes, edge, farEdge)
	r.home.startControl()
	r.valid(told)
	r.Settle()

	r.cut("refuses")
	r.add(r.home, comes)
	check(t, r.home.client.DeleteDomain(t.Context(), goes))
	r.valid(comes) // the worker at home has taken over
	r.served(comes, edge)
	r.refused(goes, edge)
	r.served(seen, farEdge)
	r.served(told, farEdge) // its first handshake there
	r.served(goes, farEdge) // as it was
	if _, err := r.far.visit(farEdge, comes); err == nil {
		t.Error("a domain is served that this region cannot know of")
	}
	r.reads(seen, comes)
	await(t, "degraded", func() error {
		return health(farEdge, "degraded: the home region of the certificate store has not answered since")
	})
	for _, how := range []string{"refuses", "hangs"} { // an edge that knows nothing but what the replica has
		r.cut(how)
		fresh := r.far.start(t.TempDir(), append(local, "--local-copy", "0")...)
		r.served(seen, fresh)
		r.served(told, fresh)
		fresh.stop()
	}

	r.heal()
	r.served(comes, edge, farEdge)
	r.refused(goes, edge, farEdge)
	r.served(seen, edge, farEdge)
	r.served(told, edge, farEdge)
	await(t, "well again", func() error { return health(farEdge) })
	r.add(r.far, "last.customer.localhost")
	r.served("last.customer.localhost", edge, farEdge)
	for _, p := range []*programs{r.home, r.far} {
		r.told(p, seen, told, goes, comes)
	}
	if n := r.home.ca.Orders(); n != 5 {
		t.Errorf("%d orders for 5 names", n)
	}
	farControl.stop()
}

// reads checks what the API of the far region does without home: it tells what the
// replica has, says that it cannot know of a name that is not there, and writes
// nothing.
func (r *regions) reads(known, unknown string) {
	r.t.Helper()
	ctx := r.t.Context()
	n := 0
	for _, err := range r.far.client.Domains(ctx) {
		check(r.t, err)
		n++
	}
	if n != 3 {
		r.t.Errorf("the API lists %d domains", n)
	}
	_, about := r.far.client.Domain(ctx, unknown)
	_, create := r.far.client.CreateDomain(ctx, api.NewDomain{Host: "other.customer.localhost"})
	for what, err := range map[string]error{"ask": about, "create": create, "delete": r.far.client.DeleteDomain(ctx, known)} {
		if !errors.Is(err, shingle.ErrUnavailable) || !strings.Contains(shingle.MessageOf(err), "in eu-central-1") {
			r.t.Errorf("%s, without home: %v", what, err)
		}
	}
}

// told checks that each host was added once for the events, and certified once.
func (r *regions) told(p *programs, hosts ...string) {
	r.t.Helper()
	for _, host := range hosts {
		await(r.t, "told of "+host, func() error {
			count := map[string]int{}
			for e, err := range p.client.Events(r.t.Context(), host) {
				if err != nil {
					return err
				}
				count[e.Type]++
			}
			if count["domain.created"] != 1 || count["certificate.issued"] != 1 {
				return fmt.Errorf("events: %v", count)
			}
			return nil
		})
	}
}
