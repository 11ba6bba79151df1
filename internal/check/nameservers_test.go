package check

import (
	"errors"
	"net/netip"
	"reflect"
	"testing"

	"github.com/shingle-proxy/shingle"
)

const ownEdge = "edge.customer.com. 60 A 11.1.0.1\n*.edge.customer.com. 60 CNAME edge.operator.net.\n"

// TestNameServers_EachIsAsked: whatever a resolver would say.
func TestNameServers_EachIsAsked(t *testing.T) {
	here := []netip.Addr{edge4}
	for _, each := range []struct {
		name, host string
		change     func(w *world)
		want       map[string][]netip.Addr
	}{
		{name: "both have it", host: "edge.customer.com", want: map[string][]netip.Addr{"ns1.dns.net": here, "ns2.dns.net": here}},
		{name: "an alias into another zone", host: "tok3n.edge.customer.com", want: map[string][]netip.Addr{"ns1.dns.net": here, "ns2.dns.net": here}},
		{name: "neither has it", host: "other.customer.com", want: map[string][]netip.Addr{"ns1.dns.net": {}, "ns2.dns.net": {}}},
		{name: "one has it not", host: "edge.customer.com", change: func(w *world) {
			w.serve(addrNS2, "customer.com.", customerApex)
		}, want: map[string][]netip.Addr{"ns1.dns.net": here, "ns2.dns.net": {}}},
		{name: "one does not answer", host: "edge.customer.com", change: func(w *world) { w.silence(addrNS2) },
			want: map[string][]netip.Addr{"ns1.dns.net": here, "ns2.dns.net": nil}},
	} {
		t.Run(each.name, func(t *testing.T) {
			w := newWorld(t, ownEdge)
			if each.change != nil {
				each.change(w)
			}
			c, err := New(w.config())
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.NameServers(t.Context(), each.host)
			if err != nil || !reflect.DeepEqual(got, each.want) {
				t.Errorf("got %v, %v, want %v", got, err, each.want)
			}
		})
	}
}

// TestNameServers_TellsItsOwnNetworkFromTheZones: nothing is said of a zone when nobody can
// be asked.
func TestNameServers_TellsItsOwnNetworkFromTheZones(t *testing.T) {
	for _, each := range []struct {
		silent []netip.Addr
		want   error
	}{
		{[]netip.Addr{addrNS1, addrNS2}, shingle.ErrInvalid},
		{[]netip.Addr{addrRoot}, shingle.ErrUnavailable},
	} {
		w := newWorld(t, ownEdge)
		w.silence(each.silent...)
		c, err := New(w.config())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.NameServers(t.Context(), "edge.customer.com"); !errors.Is(err, each.want) {
			t.Errorf("%v silent: %v, %v", each.silent, got, err)
		}
	}
}
