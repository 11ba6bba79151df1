package smoke

import (
	"context"
	"crypto/x509"
	"net/netip"
	"slices"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

// Installation is what is tried, and how.
type Installation struct {
	API    string      // its URL
	Client *api.Client // nil: there is no token

	// Edges are how many are to serve in each region; nil: that is not known.
	Edges map[string]int
	// Front is where visitors reach the edges; empty: that is not known.
	Front []Address
	// ByName has names visited: they lead to the edges.
	ByName bool
	// Target is what customers' CNAME records lead to, as do all names below it. Names asks
	// name servers about it; nil: they are not asked.
	Target string
	Names  Names

	// Domain is the one to try with, whose DNS leads to the edges. Empty: one with a name
	// of its own, in Zone, or else below Below.
	Domain string
	Zone   Zone
	Below  string

	Echo  string         // path at which the product shows User-Custom-Domain; empty: none
	Roots *x509.CertPool // nil: the system's
	Wait  time.Duration  // for the certificate
	// Settle is how long edges may take to hear of a change, and to report that they are well.
	Settle time.Duration
	// Old is the age from which a domain of another run is taken to be left over.
	Old time.Duration

	// For tests: where a connection to the address of a name goes, and how often something is
	// tried again.
	dialTo func(address string) string
	pace   time.Duration
}

// Address is one of an edge, or of what is before the edges.
type Address struct {
	HTTPS netip.AddrPort
	HTTP  netip.AddrPort // invalid: not known
}

// Names asks the name servers of a zone.
type Names interface {
	// NameServers returns the addresses that each server of the zone of a name has for it,
	// nil for a server that does not answer. It returns [shingle.ErrUnavailable] when name
	// servers cannot be asked from here.
	NameServers(ctx context.Context, name string) (map[string][]netip.Addr, error)
}

// Zone is a DNS zone in which records may be set.
type Zone interface {
	// Name is the zone's.
	Name() string
	// SetCNAME makes a CNAME record, and returns when all name servers have it.
	SetCNAME(ctx context.Context, name, target string) error
	// RemoveCNAME removes the CNAME record of a name, if there is one.
	RemoveCNAME(ctx context.Context, name string) error
}

// Bounds in time of the steps.
const (
	lookTime   = time.Minute
	removeTime = time.Minute
	recordTime = 3 * time.Minute // until all name servers have a record
)

// Steps returns what is tried by the ways of the product and of its visitors.
func (x *Installation) Steps() []shingle.SmokeStep {
	d := &domain{Installation: x}
	steps := []shingle.SmokeStep{
		{Name: "api", What: "the API, at " + x.API, Within: lookTime, Do: x.answers},
		{Name: "token", What: "the API token", Within: lookTime, Needs: []string{"api"}, Do: x.token},
		{Name: "edges", What: "the edges, as they report themselves", Within: lookTime, Needs: []string{"token"}, Do: x.edges},
	}
	if x.Names != nil && len(x.Front) > 0 {
		steps = append(steps, shingle.SmokeStep{Name: "dns", What: x.Target + " and a tenant's name below it, at each name server", Within: lookTime, Do: x.dns})
	}
	if len(x.Front) > 0 {
		steps = append(steps, shingle.SmokeStep{Name: "http", What: "/health on port 80, at each address", Within: lookTime, Do: x.http})
	}
	return slices.Concat(steps, d.steps())
}
