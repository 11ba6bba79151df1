package edge

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// errRevoked is a request whose client would not be let in any more: its domain was
// deleted or paused, or lets in others now.
var errRevoked = errors.New("the domain does not let the client in any more")

// underWay is the requests that are at origins, so that a change can end them. It is
// in parts, as each request is put in and taken out.
type underWay struct {
	next  atomic.Uint32
	parts [underWayParts]underWayPart
}

const underWayParts = 64

type underWayPart struct {
	mu   sync.Mutex
	ends map[*exchange]context.CancelCauseFunc
}

// add puts x in, which end ends, and returns what takes it out again.
func (u *underWay) add(x *exchange, end context.CancelCauseFunc) (remove func()) {
	p := &u.parts[u.next.Add(1)%underWayParts]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ends == nil {
		p.ends = map[*exchange]context.CancelCauseFunc{}
	}
	p.ends[x] = end
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.ends, x)
	}
}

// review ends the requests that would not be let in any more.
func (u *underWay) review(admits func(host string, r *Request) bool) {
	for i := range u.parts {
		u.parts[i].review(admits)
	}
}

func (p *underWayPart) review(admits func(host string, r *Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for x, end := range p.ends {
		if !admits(x.host, x.r) {
			end(errRevoked)
		}
	}
}
