package traffic

import (
	"time"

	"github.com/shingle-proxy/shingle"
)

// digitsFor has how many domains fit into records by that many digits of their hash:
// some 750 to a record, of 16 KB mostly, and of 170 KB if their names are as long as can
// be. More than the last are not kept.
var digitsFor = [...]int{1000, 12_000, 200_000}

// hour is what this process counted in an hour. Only its last set grows. When that has
// no more room it stays as it is written, and one with more shares takes the rest: a
// reader adds up all.
type hour struct {
	at   time.Time
	sets []*set
}

// set is the shares of the domains by one number of digits.
type set struct {
	digits  int
	domains int
	shares  map[string]*part
}

// part is what becomes one record.
type part struct {
	counts  map[string]shingle.Traffic
	changed bool   // since it was written
	version string // of the record; empty: not written by this process
	merged  bool   // with the record of the process before, without what is gone
	gone    map[string]bool
	waited  int // for so many times of writing
}

// add adds what was counted, and returns how many domains had no room.
func (x *hour) add(counted map[string]shingle.Traffic) (left int) {
	if len(counted) == 0 {
		return 0
	}
	s := x.room(counted)
	for domain, n := range counted {
		p := s.part(domain)
		is, known := p.counts[domain]
		if !known {
			if s.domains >= digitsFor[s.digits] {
				left++
				continue
			}
			s.domains++
		}
		is.Add(&n)
		p.counts[domain], p.changed = is, true
	}
	return left
}

// room returns the set that takes what was counted.
func (x *hour) room(counted map[string]shingle.Traffic) *set {
	digits := 0
	for digits < len(digitsFor)-1 && len(counted) > digitsFor[digits] {
		digits++
	}
	if n := len(x.sets); n > 0 {
		last := x.sets[n-1]
		if last.digits == len(digitsFor)-1 || last.with(counted) <= digitsFor[last.digits] {
			return last
		}
		digits = max(digits, last.digits+1)
	}
	s := &set{digits: digits, shares: map[string]*part{}}
	x.sets = append(x.sets, s)
	return s
}

// with returns how many domains there were with those that were counted.
func (s *set) with(counted map[string]shingle.Traffic) int {
	n := s.domains
	for domain := range counted {
		p := s.shares[share(domain, s.digits)]
		if p == nil {
			n++
		} else if _, known := p.counts[domain]; !known {
			n++
		}
	}
	return n
}

func (s *set) part(domain string) *part {
	name := share(domain, s.digits)
	p := s.shares[name]
	if p == nil {
		p = &part{counts: map[string]shingle.Traffic{}}
		s.shares[name] = p
	}
	return p
}

// forget drops a domain, from the record of the process before too, if that has as few
// digits.
func (x *hour) forget(domain string) {
	if len(x.sets) == 0 {
		x.sets = []*set{{shares: map[string]*part{}}}
	}
	for _, s := range x.sets {
		p := s.part(domain)
		if _, known := p.counts[domain]; known {
			delete(p.counts, domain)
			s.domains--
		}
		if !p.merged {
			if p.gone == nil {
				p.gone = map[string]bool{}
			}
			p.gone[domain] = true
		}
		p.changed, p.waited = true, units(digitsFor[0]) // at the next writing
	}
}

func (x *hour) changed() bool {
	for _, s := range x.sets {
		for _, p := range s.shares {
			if p.changed {
				return true
			}
		}
	}
	return false
}

func (x *hour) domains() (n int) {
	for _, s := range x.sets {
		n += s.domains
	}
	return n
}
