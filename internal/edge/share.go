package edge

import "sync"

// shares divides places, such as those for connections among client networks: one may hold
// as many as are still free. So a single network gets half of all places, two get
// a third each, and whatever number of them holds on to all that it can get, there
// is room for the next one (dynamic thresholds: Choudhury, Hahne, 1998). While
// there is room for all nobody notices.
type shares[K comparable] struct {
	mu   sync.Mutex
	held map[K]int // no more than there are places
}

// take takes one of the free places for key, or reports false.
func (s *shares[K]) take(key K, free int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[key] >= free {
		return false
	}
	if s.held == nil {
		s.held = map[K]int{}
	}
	s.held[key]++
	return true
}

func (s *shares[K]) give(key K) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[key]--; s.held[key] == 0 {
		delete(s.held, key)
	}
}
