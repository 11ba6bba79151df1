package certs

import "slices"

// queue holds due items and says whose turn it is. The classes are lanes, as they
// have budgets of their own. In a lane the groups take turns, so a tenant who
// imports ten thousand names delays nobody else; and in a group each fourth turn
// is the newest item's, so that a name added after such an import does not wait
// for all of it.
type queue struct {
	lanes map[class]*lane
}

// classes are the lanes, in the order in which they are looked at.
var classes = [...]class{classRenewal, classPlain, classNew}

const (
	maxQueue    = 100_000 // items of a lane; more stay in the index until there is room
	newestEvery = 4
)

// lane is the items of one class.
type lane struct {
	known  map[string]string // keys of the items in it, by host
	groups map[string]*turns
	order  []string // the groups in the order of their turns
	next   int      // in order
}

// turns are the items of one group, oldest first.
type turns struct {
	items []item
	taken int
}

func newQueue() *queue {
	q := &queue{lanes: map[class]*lane{}}
	for _, c := range classes {
		q.lanes[c] = &lane{known: map[string]string{}, groups: map[string]*turns{}}
	}
	return q
}

// push adds an item unless it is there. One whose host has an item takes the place
// of that, which its plan no longer names. It reports false when there is no room.
// Items come in the order of their time.
func (q *queue) push(i item) bool {
	l := q.lanes[i.class]
	if l == nil {
		return false
	}
	g := l.groups[i.group]
	if old, ok := l.known[i.host]; ok && (old == i.key || g.replace(old, i)) {
		l.known[i.host] = i.key
		return true
	}
	if len(l.known) >= maxQueue && !l.makeRoom(g) {
		return false
	}
	if g == nil {
		g = &turns{}
		l.groups[i.group] = g
		l.order = append(l.order, i.group)
	}
	l.known[i.host] = i.key
	g.items = append(g.items, i)
	return true
}

// makeRoom drops an item of the largest group, unless that is g: whoever fills the
// queue keeps nobody out.
func (l *lane) makeRoom(g *turns) bool {
	largest := g
	for _, other := range l.groups {
		if largest == nil || len(other.items) > len(largest.items) {
			largest = other
		}
	}
	if largest == g || len(largest.items) < 3 {
		return false
	}
	at := len(largest.items) - 2 // neither the oldest nor the newest
	delete(l.known, largest.items[at].host)
	largest.items = append(largest.items[:at], largest.items[at+1:]...)
	return true
}

// pop takes out the item whose turn it is.
func (q *queue) pop(c class) (i item, ok bool) {
	l := q.lanes[c]
	if len(l.order) == 0 {
		return item{}, false
	}
	l.next %= len(l.order)
	name := l.order[l.next]
	g := l.groups[name]
	if i = g.take(); len(g.items) == 0 {
		delete(l.groups, name)
		l.order = append(l.order[:l.next], l.order[l.next+1:]...)
	} else {
		l.next++
	}
	if l.known[i.host] == i.key {
		delete(l.known, i.host)
	}
	return i, true
}

// replace puts an item where one with that key is.
func (g *turns) replace(key string, i item) bool {
	if g == nil {
		return false
	}
	at := slices.IndexFunc(g.items, func(x item) bool { return x.key == key })
	if at >= 0 {
		g.items[at] = i
	}
	return at >= 0
}

func (g *turns) take() (i item) {
	if g.taken++; g.taken%newestEvery == 0 {
		last := len(g.items) - 1
		i, g.items = g.items[last], g.items[:last]
		return i
	}
	i, g.items = g.items[0], g.items[1:]
	return i
}

// len returns how many items of the class wait.
func (q *queue) len(c class) int { return len(q.lanes[c].known) }
