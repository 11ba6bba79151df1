package api

import (
	"context"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Bounds of what is remembered of the numbers of tenants' domains.
const (
	maxQuotas   = 10_000
	quotaFresh  = time.Minute     // for which a number is believed, while there is room
	quotaFull   = 5 * time.Second // and when there is none: a deletion is seen by then
	quotaShare  = 8               // of the room, one part is used up before it is counted anew
	quotaCounts = 4               // of a number that changes while it is counted
)

// quotas bound how many domains a tenant has. What is there is counted in the store, up to
// the limit, and remembered for a while: the less room there is, the sooner it is counted
// anew, so that to fill a large one costs some hundred counts, and several processes that
// fill it together go over the limit by a few domains at most.
type quotas struct {
	most    int            // of each tenant; 0: any number
	of      map[string]int // of these, instead
	counter shingle.DomainCounter
	now     func() time.Time

	mu    sync.Mutex
	known map[string]*quota
}

// quota is what is known of one tenant.
type quota struct {
	count  int // when it was counted, and with what was made here since
	left   int // that may be made before it is counted anew
	until  time.Time
	flying int // being made
	made   int // here, ever
}

func newQuotas(cfg *Config) *quotas {
	counter, _ := cfg.Store.(shingle.DomainCounter)
	return &quotas{most: cfg.MaxDomains, of: cfg.MaxDomainsOf, counter: counter, now: cfg.Now}
}

func (q *quotas) limit(tenant string) int {
	if n, ok := q.of[tenant]; ok {
		return n
	}
	return q.most
}

// take takes a place for a domain of a tenant, or returns [shingle.ErrLimited]. The caller
// calls done, and says whether the domain was made, or may have been.
func (q *quotas) take(ctx context.Context, tenant string) (done func(made bool), err error) {
	limit := q.limit(tenant)
	if limit <= 0 || tenant == "" {
		return func(bool) {}, nil
	}
	k, err := q.fresh(ctx, tenant, limit)
	if err != nil {
		return nil, err
	}
	defer q.mu.Unlock() // which fresh has taken
	if k.count >= limit {
		return nil, shingle.Errorf(shingle.CodeLimited, "%s has as many domains as it may have, %d: delete one, or have the operator raise that (--max-domains-per-tenant, --max-domains)", tenant, limit)
	}
	k.count++
	k.left--
	k.flying++
	if soon := q.now().Add(quotaFull); k.count >= limit && soon.Before(k.until) {
		k.until = soon
	}
	return func(made bool) {
		q.mu.Lock()
		defer q.mu.Unlock()
		if k.flying--; made {
			k.made++
		} else {
			k.count--
		}
	}, nil
}

// fresh returns what is known of a tenant, of which there is a place left or certainly
// none, and has taken the lock.
func (q *quotas) fresh(ctx context.Context, tenant string, limit int) (*quota, error) {
	for try := 1; ; try++ {
		q.mu.Lock()
		k := q.known[tenant]
		if k == nil {
			k = q.add(tenant)
		}
		now := q.now()
		if now.Before(k.until) && (k.left > 0 || k.count >= limit) {
			return k, nil
		}
		made := k.made
		q.mu.Unlock()
		n, err := q.counter.CountDomains(ctx, tenant, limit)
		if err != nil {
			return nil, err
		}
		q.mu.Lock()
		if k.made == made || try == quotaCounts {
			k.count, k.until = n+k.flying, now.Add(quotaFresh)
			if k.left = (limit - k.count + quotaShare - 1) / quotaShare; k.left <= 0 {
				k.until = now.Add(quotaFull)
			}
			return k, nil
		}
		q.mu.Unlock()
	}
}

// add makes room for a tenant; the caller has the lock.
func (q *quotas) add(tenant string) *quota {
	if q.known == nil || len(q.known) >= maxQuotas {
		q.known = map[string]*quota{} // those under way end in the ones of before
	}
	k := &quota{}
	q.known[tenant] = k
	return k
}
