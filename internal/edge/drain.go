package edge

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// drain is how an edge ends without a visitor's notice. First /health answers 503 and
// everybody is served as before, until balancers lead visitors elsewhere. From the middle
// of that delay on answers end their connections: who comes again finds another edge.
// Then the listeners are closed, and what is under way may finish.
type drain struct {
	began atomic.Int64 // in Unix nanoseconds; 0: it has not
	delay time.Duration
}

// begin reports whether it had not begun before.
func (d *drain) begin(now time.Time) bool { return d.began.CompareAndSwap(0, now.UnixNano()) }

// sendsAway reports whether an answer is to end its connection.
func (d *drain) sendsAway() bool {
	began := d.began.Load()
	return began != 0 && time.Now().UnixNano() >= began+int64(d.delay/2)
}

// rest is how much of the delay is left.
func (d *drain) rest(now time.Time) time.Duration {
	return time.Unix(0, d.began.Load()).Add(d.delay).Sub(now)
}

// Drain has the edge tell that it is about to end, and serve on. Run does so at its end;
// whoever knows earlier calls it then, so that the delay is over sooner. It can be
// repeated.
func (e *Edge) Drain() {
	if e.drain.begin(time.Now()) {
		e.cfg.StateChanged()
	}
}

// Draining reports whether the edge is about to end.
func (e *Edge) Draining() bool { return e.drain.began.Load() != 0 }

// awaitDrained returns when the shutdown delay is over, or a part has failed.
func (e *Edge) awaitDrained(failed <-chan error) error {
	e.Drain()
	rest := max(0, e.drain.rest(time.Now()))
	e.log.Info("edge drains", "delay", rest, "grace", e.cfg.GracePeriod)
	delay := time.NewTimer(rest)
	defer delay.Stop()
	select {
	case <-delay.C:
		return nil
	case err := <-failed:
		return err
	}
}

// shutdown lets nobody in any more, tells clients, and gives requests under way the
// grace period to finish. It returns when nothing runs.
func (e *Edge) shutdown(servedQUIC <-chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), e.cfg.GracePeriod)
	defer cancel()
	e.Drain()
	_, _ = e.https.Close(), e.http.Close() // before tunnels end, whose clients come again at once
	if e.quic != nil {
		e.quic.endGreetings() // likewise
	}
	var all sync.WaitGroup
	all.Go(e.tunnels.shutdown)
	if e.quic != nil {
		all.Go(func() { e.quic.shutdown(ctx, servedQUIC) })
	}
	for _, s := range []*http.Server{e.secure.server, e.plain.server} {
		all.Go(func() {
			if s.Shutdown(ctx) != nil {
				_ = s.Close()
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		e.log.Warn("requests were cut that the grace period was too short for", "grace", e.cfg.GracePeriod)
	}
	e.origins.close()
}
