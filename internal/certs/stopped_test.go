package certs

import (
	"fmt"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// TestStopped_AreCountedUntilSomebodyActs gives hosts up, counts them, and has one
// begun again.
func TestStopped_AreCountedUntilSomebodyActs(t *testing.T) {
	m := newFixture(t).start()
	ctx, now := t.Context(), time.Now()
	stop := func(host, who string) {
		t.Helper()
		_, err := m.store.changePlan(ctx, host, now, func(p *plan, _ bool) bool {
			p.Stopped, p.Failed = true, &shingle.CertificateFailure{Who: who}
			p.reschedule()
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	count := func(customer, operator, other int) {
		t.Helper()
		after := ""
		got, err := m.stopped(ctx, &after)
		if want := [...]int{customer, operator, other}; err != nil || got != want {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
	}
	for i := range 3 {
		stop(fmt.Sprintf("n%d.customer.com", i), shingle.WhoCustomer)
	}
	stop("ours.customer.com", shingle.WhoOperator)
	stop("ca.customer.com", shingle.WhoCA)
	count(3, 1, 1)
	stop("n0.customer.com", shingle.WhoOperator)
	count(2, 2, 1)
	if err := m.Renew(ctx, "n1.customer.com"); err != nil {
		t.Fatal(err)
	}
	if err := m.Drop(ctx, "ca.customer.com"); err != nil {
		t.Fatal(err)
	}
	count(1, 2, 0)

	// What a crash left is found in passing.
	for _, host := range []string{"n1.customer.com", "gone.customer.com"} {
		if err := m.store.mark(ctx, stoppedPrefix+"customer/"+host+"/zz"); err != nil {
			t.Fatal(err)
		}
	}
	count(3, 2, 0)
	count(1, 2, 0)
}
