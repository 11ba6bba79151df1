package certs

// queue holds due items and says whose turn it is. Renewals and new certificates
// are two lanes, as they have budgets of their own. In a lane the groups take
// turns, so a tenant who imports ten thousand names delays nobody else; and in a
// group each fourth turn is the newest item's, so that a name added after such an
// import does not wait for all of it.
type queue struct {
	lanes map[class]*lane
	known map[string]bool // keys of the items in it
}

const (
	maxQueue    = 100_000 // more stay in the index until there is room
	newestEvery = 4
)

// lane is one class of items.
type lane struct {
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
	q := &queue{lanes: map[class]*lane{}, known: map[string]bool{}}
	for _, c := range []class{classNew, classRenewal} {
		q.lanes[c] = &lane{groups: map[string]*turns{}}
	}
	return q
}

// push adds an item unless it is there. It reports false when there is no room.
// Items come in the order of their time.
func (q *queue) push(i item) bool {
	if q.known[i.key] {
		return true
	}
	l := q.lanes[i.class]
	if l == nil || len(q.known) >= maxQueue {
		return false
	}
	q.known[i.key] = true
	g := l.groups[i.group]
	if g == nil {
		g = &turns{}
		l.groups[i.group] = g
		l.order = append(l.order, i.group)
	}
	g.items = append(g.items, i)
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
	delete(q.known, i.key)
	return i, true
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
func (q *queue) len(c class) (n int) {
	for _, g := range q.lanes[c].groups {
		n += len(g.items)
	}
	return n
}
