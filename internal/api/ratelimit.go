package api

import (
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

const (
	rateWindow = 10 * time.Second // whose requests may come at once
	maxRates   = 10_000           // tokens that are counted at a time
	// A tenant's token gets this part of what others get: it is in a customer's hands.
	tenantShare = 10
)

// rateLimit bounds the requests of each token in this process: a bucket that holds
// those of rateWindow and fills steadily.
type rateLimit struct {
	perSecond int // 0: no limit

	mu   sync.Mutex
	full map[string]time.Time // by token ID, when its bucket is full again
}

// take counts a request of t and says in w, as RateLimit fields
// (draft-ietf-httpapi-ratelimit-headers-10), what is left. It returns
// [shingle.ErrLimited] when nothing is.
func (l *rateLimit) take(w http.ResponseWriter, t *shingle.Token, now time.Time) error {
	if l.perSecond == 0 {
		return nil
	}
	rate := l.perSecond
	if t.Role == shingle.RoleTenant {
		rate = max(1, rate/tenantShare)
	}
	every, quota := time.Second/time.Duration(rate), rate*int(rateWindow/time.Second)
	spent, ok := l.spend(t.ID, every, now)
	left := int((rateWindow - spent) / every)
	w.Header().Set("RateLimit-Policy", fmt.Sprintf(`"token";q=%d;w=%d`, quota, rateWindow/time.Second))
	w.Header().Set("RateLimit", fmt.Sprintf(`"token";r=%d;t=%d`, max(0, left), ceilSeconds(spent)))
	if ok {
		return nil
	}
	w.Header().Set("Retry-After", fmt.Sprint(ceilSeconds(spent+every-rateWindow)))
	return shingle.Errorf(shingle.CodeLimited, "the token %s has made %d requests in %s, which is its limit: try again later", t.Name, quota, rateWindow)
}

// spend takes a request that is worth every out of a bucket, if there is so much in
// it. spent is how long the bucket takes to be full again.
func (l *rateLimit) spend(id string, every time.Duration, now time.Time) (spent time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	spent = max(0, l.full[id].Sub(now))
	if spent+every > rateWindow {
		return spent, false
	}
	spent += every
	if l.full == nil {
		l.full = map[string]time.Time{}
	}
	if _, counted := l.full[id]; !counted && len(l.full) >= maxRates {
		l.forget(now)
	}
	l.full[id] = now.Add(spent)
	return spent, true
}

// forget makes room: full buckets need none, and of those that are not any will do,
// since there are not so many tokens at work at once.
func (l *rateLimit) forget(now time.Time) {
	for id, full := range l.full {
		if !full.After(now) {
			delete(l.full, id)
		}
	}
	for id := range l.full {
		if len(l.full) < maxRates {
			return
		}
		delete(l.full, id)
	}
}

func ceilSeconds(d time.Duration) int { return max(0, int(math.Ceil(d.Seconds()))) }
