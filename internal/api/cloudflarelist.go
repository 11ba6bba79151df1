package api

import (
	"context"
	"net/http"
	"sync"

	"github.com/shingle-proxy/shingle"
)

// Bounds of what a page by number costs. The store has no numbers: what is before the
// page is passed over, unless it is known where the page begins.
const (
	cfRowsAPage  = 50_000 // rows that are passed over, at most
	cfRowsCount  = 20_000 // rows that are read for total_count, at most
	cfReads      = 5_000  // domains whose status or certificate is read for a filter, at most
	cfReadsCount = 1_000  // those for total_count
	cfAtOnce     = 16     // reads at a time
)

func (s *server) cfList(r *http.Request) (*cfAnswer, error) {
	ctx := r.Context()
	q, err := cfQueryOf(r.URL.Query())
	if err != nil {
		return nil, err
	}
	q.tenant = tenantOf(ctx)
	if q.id != "" || q.exact != "" {
		return s.cfListOne(ctx, q)
	}
	page, info, err := s.cfPage(ctx, q)
	if err != nil {
		return nil, err
	}
	list, err := s.cfShowAll(ctx, page)
	if err != nil {
		return nil, err
	}
	a := &cfAnswer{status: http.StatusOK, result: list, info: &info.cfResultInfo}
	if info.atLeast {
		a.messages = []cfMessage{{Code: cfUnsupported, Source: &cfSource{"?page"}, Message: "total_count: there are at least so many; go on to the page that has no hostname"}}
	}
	return a, nil
}

// cfListOne lists the hostname that a filter names, or none.
func (s *server) cfListOne(ctx context.Context, q *cfQuery) (*cfAnswer, error) {
	host, err := q.exact, error(nil)
	if q.id != "" {
		host, err = s.cfHost(ctx, q.id)
	}
	list := []*cfHostname{}
	if err == nil {
		var d shingle.Domain
		if d, err = s.find(ctx, host); err == nil {
			w := &cfWalk{server: s, q: q, rows: []cfRow{{domain: d}}, ended: true}
			if row, werr := w.next(ctx); werr != nil {
				return nil, werr
			} else if row != nil && q.page == 1 {
				list, err = s.cfShowAll(ctx, []cfRow{*row})
			}
		}
	}
	if err != nil && problemOf(err).Status != http.StatusNotFound {
		return nil, err
	}
	n := len(list)
	return &cfAnswer{status: http.StatusOK, result: list, info: &cfResultInfo{q.page, q.perPage, n, n, n}}, nil
}

// cfTotals are a page's place among all.
type cfTotals struct {
	cfResultInfo
	atLeast bool // total_count is no more than what was counted
}

// cfPage returns the rows of a page.
func (s *server) cfPage(ctx context.Context, q *cfQuery) ([]cfRow, *cfTotals, error) {
	key, from := q.key(), cfMark{page: 1}
	known := s.pages.marked(key, q.page, s.Now(), &from)
	w := &cfWalk{server: s, q: q, after: from.after, maxRows: cfRowsAPage, maxReads: cfReads}
	before, err := w.take(ctx, (q.page-from.page)*q.perPage)
	if err != nil {
		return nil, nil, err
	}
	page, err := w.take(ctx, q.perPage)
	if err != nil {
		return nil, nil, err
	}
	if w.full {
		return nil, nil, cfUnsupportedAt("?page", "too many hostnames have to be looked through for this page: go there page by page, filter by hostname, or use GET /v1/domains, which has a cursor")
	}
	if len(page) == q.perPage {
		s.pages.mark(key, cfMark{page: q.page + 1, after: page[len(page)-1].domain.Host}, s.Now())
	}
	t := &cfTotals{cfResultInfo: cfResultInfo{Page: q.page, PerPage: q.perPage, Count: len(page)}}
	seen := (from.page-1)*q.perPage + len(before) + len(page)
	if known.counted && known.total >= seen && !w.ended {
		t.TotalCount, t.atLeast = known.total, known.atLeast
	} else if err := s.cfCount(ctx, key, w, seen, t); err != nil {
		return nil, nil, err
	}
	t.TotalPages = (t.TotalCount + q.perPage - 1) / q.perPage
	return page, t, nil
}

// cfCount counts what is behind a page.
func (s *server) cfCount(ctx context.Context, key string, w *cfWalk, seen int, t *cfTotals) error {
	w.maxRows, w.maxReads = w.read+cfRowsCount, w.reads+cfReadsCount
	n := 0
	for {
		row, err := w.next(ctx)
		if err != nil {
			return err
		}
		if row == nil {
			break
		}
		n++
	}
	t.TotalCount, t.atLeast = seen+n, w.full
	if w.full { // so that nobody stops here
		t.TotalCount++
	}
	s.pages.count(key, t.TotalCount, t.atLeast, s.Now())
	return nil
}

// cfShowAll shows rows, some at a time.
func (s *server) cfShowAll(ctx context.Context, rows []cfRow) ([]*cfHostname, error) {
	list := make([]*cfHostname, len(rows))
	err := cfEach(len(rows), func(i int) error {
		row := &rows[i]
		if err := row.load(ctx, s); err != nil {
			return err
		}
		d := s.shown(ctx, row.domain)
		d.Status = row.status
		list[i] = cfShown(&d, row.certificate, s.Now())
		return nil
	})
	return list, err
}

// cfEach calls do for 0 to n-1, a few at a time, and returns one error.
func cfEach(n int, do func(i int) error) error {
	var work sync.WaitGroup
	errs := make([]error, n)
	turns := make(chan struct{}, cfAtOnce)
	for i := range n {
		turns <- struct{}{}
		work.Go(func() {
			defer func() { <-turns }()
			errs[i] = do(i)
		})
	}
	work.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
