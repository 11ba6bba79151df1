package check

import (
	"testing"

	"github.com/shingle-proxy/shingle"
)

// TestStub_ADeadResolverIsAskedLast: a check asks many questions, and waiting for the
// same silent resolver at each would use up its time.
func TestStub_ADeadResolverIsAskedLast(t *testing.T) {
	w := newWorld(t, toEdgeRecord)
	w.silence(addrResolver)
	cfg := w.config()
	cfg.Resolvers = append(cfg.Resolvers, addrResolver2.String())
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	check := func(want shingle.Reason) {
		t.Helper()
		got, err := c.CheckDNS(t.Context(), Request{Host: "blog.customer.com", Thorough: true})
		if err != nil || got.Reason != want {
			t.Errorf("%s, %v", got.Reason, err)
		}
	}
	check(shingle.ReasonPointsHere)
	first := w.at(addrResolver).asked.Load()
	check(shingle.ReasonPointsHere)
	if n := w.at(addrResolver).asked.Load(); first > 2*maxTimeouts || n != first { // A and AAAA at once
		t.Errorf("the dead resolver was asked %d times in the first check, and %d in the next", first, n-first)
	}

	// It answers again, and the other one does not any more.
	w.behave(nil, addrResolver)
	w.silence(addrResolver2)
	check(shingle.ReasonPointsHere)
	if n := w.at(addrResolver).asked.Load(); n == first {
		t.Error("the resolver that is back was not asked")
	}
}
