package certs

// sieve keeps entries in the order in which they came, and says which to evict:
// a hand goes from the oldest to the newest and around again, spares those that
// were used since it last came by, and takes the first that was not. Newcomers
// that nobody comes back for go first, so a scan of all names does not displace
// the popular ones (Zhang et al., SIEVE, NSDI 2024). Its owner guards it.
type sieve struct {
	newest, oldest *entry
	hand           *entry // the next to be looked at; nil: the oldest
}

// links are an entry's neighbours.
type links struct{ newer, older *entry }

// push adds an entry that is not there.
func (s *sieve) push(e *entry) {
	e.links = links{older: s.newest}
	if s.newest != nil {
		s.newest.links.newer = e
	} else {
		s.oldest = e
	}
	s.newest = e
}

// remove takes an entry out that is there.
func (s *sieve) remove(e *entry) {
	if s.hand == e {
		s.hand = e.links.newer
	}
	if e.links.newer != nil {
		e.links.newer.links.older = e.links.older
	} else {
		s.newest = e.links.older
	}
	if e.links.older != nil {
		e.links.older.links.newer = e.links.newer
	} else {
		s.oldest = e.links.newer
	}
	e.links = links{}
}

// victim returns the entry to evict, or nil when there is none.
func (s *sieve) victim() *entry {
	for {
		if s.hand == nil {
			s.hand = s.oldest
		}
		if s.hand == nil || s.hand.marks.And(^uint32(used))&used == 0 {
			return s.hand
		}
		s.hand = s.hand.links.newer
	}
}
