package api

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// cfRow is a domain with what is read for some filters.
type cfRow struct {
	domain      shingle.Domain
	loaded      bool
	status      *Status
	certificate *shingle.Certificate
}

func (r *cfRow) load(ctx context.Context, s *server) (err error) {
	if r.loaded {
		return nil
	}
	if r.status, err = s.status(ctx, r.domain.Host); err == nil {
		r.certificate, err = s.certificateOf(ctx, r.domain.Host)
	}
	r.loaded = err == nil
	return err
}

// cfWalk goes through the rows that a query wants.
type cfWalk struct {
	*server
	q     *cfQuery
	after string  // the last host that was read
	rows  []cfRow // read, and not returned yet
	ended bool    // there are no more in the store

	read, reads       int // rows, and rows with status and certificate
	maxRows, maxReads int // of these, at most
	full              bool
}

// next returns the next row, nil at the end. full tells that the end is that of the
// bounds.
func (w *cfWalk) next(ctx context.Context) (*cfRow, error) {
	for {
		for len(w.rows) > 0 {
			row := &w.rows[0]
			w.rows = w.rows[1:]
			wanted, err := w.wants(ctx, row)
			if err != nil || wanted {
				return row, err
			}
		}
		if w.ended {
			return nil, nil
		}
		if w.read >= w.maxRows || w.reads >= w.maxReads {
			w.full = true
			return nil, nil
		}
		if err := w.fetch(ctx); err != nil {
			return nil, err
		}
	}
}

// take returns the next n rows, or as many as there are.
func (w *cfWalk) take(ctx context.Context, n int) (list []cfRow, err error) {
	for len(list) < n {
		row, err := w.next(ctx)
		if row == nil || err != nil {
			return list, err
		}
		list = append(list, *row)
	}
	return list, nil
}

// fetch reads the next rows.
func (w *cfWalk) fetch(ctx context.Context) error {
	limit := rowsAtOnce
	if w.read == 0 && !w.q.reads() {
		limit = min(rowsAtOnce, 2*w.q.perPage)
	}
	list, err := w.server.rows(ctx, w.q.tenant, w.after, limit)
	if err != nil {
		return err
	}
	w.rows = make([]cfRow, 0, len(list))
	for _, d := range list {
		w.after = d.Host
		if w.q.takes(&d) && (w.q.tenant == "" || w.q.tenant == d.Tenant) {
			w.rows = append(w.rows, cfRow{domain: d})
		}
	}
	w.read, w.ended = w.read+len(list), len(list) < limit
	if !w.q.reads() {
		return nil
	}
	w.reads += len(w.rows)
	return cfEach(len(w.rows), func(i int) error { return w.rows[i].load(ctx, w.server) })
}

// wants reports whether a row that was fetched is wanted.
func (w *cfWalk) wants(ctx context.Context, row *cfRow) (bool, error) {
	if !w.q.takes(&row.domain) || !w.q.reads() {
		return w.q.takes(&row.domain), nil
	}
	if err := row.load(ctx, w.server); err != nil {
		return false, err
	}
	d := show(row.domain)
	d.Status = row.status
	return (w.q.status == "" || w.q.status == cfStatusOf(&d, row.certificate)) &&
		(w.q.sslStatus == "" || w.q.sslStatus == cfSSLStatusOf(&d, row.certificate, w.Now())), nil
}

// cfPages remembers, for lists that clients go through page by page, where pages begin
// and how many hostnames there are.
type cfPages struct {
	mu    sync.Mutex
	lists map[string]*cfPaged
}

// Bounds of what is remembered.
const (
	cfLists     = 64
	cfMarks     = 64 // of the pages of one list
	cfCountLife = time.Minute
	cfMarkLife  = 10 * time.Minute
)

type cfPaged struct {
	marks   map[int]cfMark
	total   int
	atLeast bool
	counted time.Time
	used    time.Time
}

// cfMark is where a page begins: behind a host.
type cfMark struct {
	page  int
	after string
	at    time.Time
}

// cfKnown is how many hostnames a list had a moment ago.
type cfKnown struct {
	counted, atLeast bool
	total            int
}

// marked sets from to the mark that is nearest before a page.
func (p *cfPages) marked(key string, page int, now time.Time, from *cfMark) (k cfKnown) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.lists[key]
	if l == nil {
		return k
	}
	for n, m := range l.marks {
		if n <= page && n > from.page && now.Sub(m.at) < cfMarkLife {
			*from = m
		}
	}
	return cfKnown{now.Sub(l.counted) < cfCountLife, l.atLeast, l.total}
}

// mark remembers where a page begins. Those that are passed are given up first:
// clients go forward.
func (p *cfPages) mark(key string, m cfMark, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.list(key, now)
	m.at, m.after = now, strings.Clone(m.after)
	l.marks[m.page] = m
	for len(l.marks) > cfMarks {
		first := m.page
		for n := range l.marks {
			first = min(first, n)
		}
		delete(l.marks, first)
	}
}

func (p *cfPages) count(key string, total int, atLeast bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.list(key, now)
	l.total, l.atLeast, l.counted = total, atLeast, now
}

// list returns what is remembered of a list. The one that was not used for longest
// makes room. The caller holds the lock.
func (p *cfPages) list(key string, now time.Time) *cfPaged {
	l := p.lists[key]
	if l == nil {
		if p.lists == nil {
			p.lists = map[string]*cfPaged{}
		}
		for oldest := ""; len(p.lists) >= cfLists; delete(p.lists, oldest) {
			for k, other := range p.lists {
				if oldest == "" || other.used.Before(p.lists[oldest].used) {
					oldest = k
				}
			}
		}
		l = &cfPaged{marks: map[int]cfMark{}}
		p.lists[key] = l
	}
	l.used = now
	return l
}

// key names the list that a query is a page of.
func (q *cfQuery) key() string {
	return fmt.Sprintf("%q", []string{q.tenant, q.contain, q.prefix, q.origin, q.wildcard, q.status, q.sslStatus, fmt.Sprint(q.perPage)})
}
