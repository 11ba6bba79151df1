package check

import (
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// TestKeeper_ClockFromTheFuture has a process with a clock of years ahead check a domain,
// and one with a right clock go on.
func TestKeeper_ClockFromTheFuture(t *testing.T) {
	h := newHousehold(t)
	h.look(keptHost, served(h.now().AddDate(20, 0, 0)))
	h.add(keptHost, "acme")
	h.ahead.Store(int64(12 * 365 * 24 * time.Hour))
	k := h.keeper()
	stop := h.run(k)
	h.until(k, keptHost, "active", in(shingle.StateActive))
	stop()
	h.ahead.Store(0)
	k = h.keeper()
	h.run(k)
	h.until(k, keptHost, "checked soon", func(s shingle.Status) bool { return s.Next.Sub(h.now()) <= shingle.MaxCheck })
}
