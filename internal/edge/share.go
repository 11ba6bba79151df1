package edge

import (
	"net/netip"
	"sync"
)

// shares divides the places for connections among client networks: one may hold
// as many as are still free. So a single network gets half of all places, two get
// a third each, and whatever number of them holds on to all that it can get, there
// is room for the next one (dynamic thresholds: Choudhury, Hahne, 1998). While
// there is room for all nobody notices.
type shares struct {
	mu   sync.Mutex
	held map[netip.Prefix]int // no more than there are places
}

// take takes one of the free places for network, or reports false.
func (s *shares) take(network netip.Prefix, free int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[network] >= free {
		return false
	}
	if s.held == nil {
		s.held = map[netip.Prefix]int{}
	}
	s.held[network]++
	return true
}

func (s *shares) give(network netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[network]--; s.held[network] == 0 {
		delete(s.held, network)
	}
}
