package devenv

import (
	"context"
	"net/http"
	"time"

	"github.com/letsencrypt/pebble/v2/acme"
	"github.com/letsencrypt/pebble/v2/core"
)

// FailValidation has the challenges that a client says are ready turn out
// invalid, with p, and with them the authorization and the order. Nobody is
// asked for the answer to the challenge.
func FailValidation(p Problem) Fault {
	return func(w http.ResponseWriter, r *Request) bool {
		challenge := r.readyChallenge()
		if challenge == nil || !failChallenge(challenge, p.details()) {
			return false
		}
		sendProcessing(w, r, challenge)
		return true
	}
}

// DelayValidation starts to validate after d.
func DelayValidation(d time.Duration) Fault {
	return holdValidation(func(ctx context.Context) bool { return sleep(ctx, d) })
}

// HoldValidation starts to validate when release is closed, and never if the CA
// is closed before.
func HoldValidation(release <-chan struct{}) Fault {
	return holdValidation(func(ctx context.Context) bool {
		select {
		case <-release:
			return true
		case <-ctx.Done():
			return false
		}
	})
}

// holdValidation tells the client at once that validation is under way, and
// Pebble when wait reports true.
func holdValidation(wait func(context.Context) bool) Fault {
	return func(w http.ResponseWriter, r *Request) bool {
		challenge := r.readyChallenge()
		if challenge == nil {
			return false
		}
		sendProcessing(w, r, challenge)
		g, later := r.gate, *r
		later.http = r.http.Clone(g.ctx)
		g.busy.spawn(func() {
			if wait(g.ctx) {
				later.Forward(newReply())
			}
		})
		return true
	}
}

// readyChallenge returns the challenge that the client says it is ready for, or
// nil if r is something else.
func (r *Request) readyChallenge() *core.Challenge {
	if r.Step != StepChallenge || len(r.Payload) == 0 {
		return nil
	}
	return r.gate.store.GetChallengeByID(r.id)
}

// failChallenge does what Pebble does after a failed validation, and reports
// false if the challenge is not pending.
func failChallenge(challenge *core.Challenge, problem *acme.ProblemDetails) bool {
	authz := challenge.Authz
	authz.Lock()
	challenge.Lock()
	pending := authz.Status == acme.StatusPending && challenge.Status == acme.StatusPending
	if pending {
		authz.Status, challenge.Status, challenge.Error = acme.StatusInvalid, acme.StatusInvalid, problem
	}
	challenge.Unlock()
	authz.Unlock()
	if pending {
		authz.Order.Lock()
		authz.Order.Error = problem
		authz.Order.Unlock()
	}
	return pending
}

func sendProcessing(w http.ResponseWriter, r *Request, challenge *core.Challenge) {
	challenge.RLock()
	shown, up := challenge.Challenge, challenge.Authz.URL
	challenge.RUnlock()
	shown.Status, shown.Error = acme.StatusProcessing, nil
	w.Header().Add("Link", "<"+up+`>;rel="up"`)
	r.sendJSON(w, shown)
}

// InvalidateOrder takes the certificate request of an order that is ready, and
// has the order turn out invalid, with p, when the client looks again.
func InvalidateOrder(p Problem) Fault {
	return func(w http.ResponseWriter, r *Request) bool {
		if r.Step != StepFinalize {
			return false
		}
		order := r.gate.store.GetOrderByID(r.id)
		if order == nil {
			return false
		}
		order.Lock()
		shown := order.Order
		ready := shown.Status == acme.StatusReady
		if ready {
			order.Error = p.details()
		}
		order.Unlock()
		if !ready {
			return false
		}
		shown.Status = acme.StatusProcessing
		shown.Finalize = "https://" + r.http.Host + r.http.URL.Path
		r.sendJSON(w, shown)
		return true
	}
}

// sendJSON answers with v and a fresh nonce.
func (r *Request) sendJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Replay-Nonce", r.gate.newNonce())
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, v)
}
