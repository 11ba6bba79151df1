package edge

import (
	"bytes"
	"iter"
	"slices"

	"github.com/shingle-proxy/shingle"
)

// shard is a part of the table: some names with their sites, close together and
// without a pointer each, which a million of would cost memory and the garbage
// collector time. It is never changed: a change makes another shard.
type shard struct {
	tags  []byte   // for each name some bits of its hash, to find it by
	ends  []uint32 // where each name ends in names
	names []byte
	sites []*site // of each name; nil when all are plain
}

// find returns the place of host, or -1.
func (s *shard) find(host string, tag byte) int {
	for at := 0; ; at++ {
		next := bytes.IndexByte(s.tags[at:], tag)
		if next < 0 {
			return -1
		}
		if at += next; string(s.name(at)) == host {
			return at
		}
	}
}

func (s *shard) name(at int) []byte {
	begin := uint32(0)
	if at > 0 {
		begin = s.ends[at-1]
	}
	return s.names[begin:s.ends[at]]
}

// site returns the site at a place; nil stands for the plain one.
func (s *shard) site(at int) *site {
	if s.sites == nil {
		return nil
	}
	return s.sites[at]
}

// all yields each name, which belongs to the shard, with its site; nil stands
// for the plain one.
func (s *shard) all() iter.Seq2[[]byte, *site] {
	return func(yield func([]byte, *site) bool) {
		for at := range s.ends {
			if !yield(s.name(at), s.site(at)) {
				return
			}
		}
	}
}

// len returns how many names a shard has; nil has none.
func (s *shard) len() int {
	if s == nil {
		return 0
	}
	return len(s.ends)
}

// changed returns a shard in which a domain is as a change left it. s may be nil.
func (s *shard) changed(tag byte, c *shingle.Change, t *table) *shard {
	name := key(c.Host)
	switch {
	case !c.Deleted && s == nil:
		return (&shard{}).with(name, tag, t.own(t.settingsOf(&c.Domain)))
	case !c.Deleted:
		return s.with(name, tag, t.own(t.settingsOf(&c.Domain)))
	case s == nil:
		return nil
	}
	if at := s.find(name, tag); at >= 0 {
		return s.without(at)
	}
	return s
}

// with returns a shard in which host has the site, nil for the plain one.
func (s *shard) with(host string, tag byte, is *site) *shard {
	if at := s.find(host, tag); at >= 0 {
		changed := *s
		changed.sites = make([]*site, len(s.ends))
		copy(changed.sites, s.sites)
		changed.sites[at] = is
		return &changed
	}
	grown := &shard{
		tags:  append(make([]byte, 0, len(s.tags)+1), s.tags...),
		ends:  append(make([]uint32, 0, len(s.ends)+1), s.ends...),
		names: append(make([]byte, 0, len(s.names)+len(host)), s.names...),
	}
	if s.sites != nil {
		grown.sites = append(make([]*site, 0, len(s.sites)+1), s.sites...)
	}
	grown.add(host, tag, is)
	return grown
}

// without returns a shard that lacks the name at a place.
func (s *shard) without(at int) *shard {
	smaller := &shard{tags: make([]byte, 0, len(s.tags)-1), ends: make([]uint32, 0, len(s.ends)-1)}
	smaller.names = make([]byte, 0, len(s.names)-len(s.name(at)))
	for i := range s.ends {
		if i == at {
			continue
		}
		smaller.tags = append(smaller.tags, s.tags[i])
		smaller.names = append(smaller.names, s.name(i)...)
		smaller.ends = append(smaller.ends, uint32(len(smaller.names)))
	}
	if s.sites != nil {
		smaller.sites = slices.Delete(slices.Clone(s.sites), at, at+1)
	}
	return smaller
}

// add appends a name that is not there, in place: only to a shard that nobody
// reads yet.
func (s *shard) add(host string, tag byte, is *site) {
	if s.sites == nil && is != nil {
		s.sites = make([]*site, len(s.ends), len(s.ends)+1)
	}
	s.tags = append(s.tags, tag)
	s.names = append(s.names, host...)
	s.ends = append(s.ends, uint32(len(s.names)))
	if s.sites != nil {
		s.sites = append(s.sites, is)
	}
}

// clip gives back what add has taken in advance.
func (s *shard) clip() {
	s.tags, s.ends, s.names = bytes.Clone(s.tags), slices.Clone(s.ends), bytes.Clone(s.names)
	s.sites = slices.Clone(s.sites)
}
