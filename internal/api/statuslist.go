package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/errgroup"

	"github.com/shingle-proxy/shingle"
)

// sortChanged has the domains whose statuses changed last first.
const sortChanged = "-changed"

// Bounds of what is read from the index of statuses.
const (
	fewOfAKind = 3000  // to put them in the order of hosts
	mostCount  = 10000 // of a kind, to count them
)

// usual is the kind that nearly all domains are of.
var usual = shingle.StatusKind{State: shingle.StateActive, Who: shingle.WhoNobody}

// kinds are those whose statuses f wants.
func (f *FilterInput) kinds() (list []shingle.StatusKind) {
	for _, who := range shingle.Whos {
		for _, state := range shingle.States {
			if (f.Who == "" || f.Who == who) && (f.State == "" || f.State == string(state)) {
				list = append(list, shingle.StatusKind{State: state, Who: who})
			}
		}
	}
	return list
}

// changedFrom is the source of the domains whose statuses are wanted, the newest change
// behind `after` first.
func (s *server) changedFrom(p *listing, after shingle.DomainPlace) source {
	m := &merge{index: s.StatusIndex}
	for _, kind := range p.kinds() {
		m.streams = append(m.streams, &kindStream{kind: kind, after: shingle.ListedStatus{Host: after.Host, Changed: after.Created}})
	}
	return func(ctx context.Context, limit int) (list []candidate, err error) {
		for len(list) < limit {
			l, err := m.next(ctx, limit-len(list))
			if l == nil || err != nil {
				return list, err
			}
			list = append(list, candidate{
				DomainPlace: shingle.DomainPlace{Created: l.Changed, Host: l.Host},
				listed:      l, unread: p.Tenant == "" || p.Tenant == l.Tenant,
			})
		}
		return list, nil
	}
}

// merge reads several kinds as one.
type merge struct {
	index   shingle.StatusIndex
	streams []*kindStream
}

// kindStream is a kind as far as it was read.
type kindStream struct {
	kind  shingle.StatusKind
	after shingle.ListedStatus
	list  []shingle.ListedStatus // read and not yet taken
	ended bool
}

// next returns the next of all, nil at the end. ahead is how many are wanted.
func (m *merge) next(ctx context.Context, ahead int) (*shingle.ListedStatus, error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readersAPage)
	for _, st := range m.streams {
		if len(st.list) == 0 && !st.ended {
			group.Go(func() (err error) {
				st.list, err = m.index.Listed(ctx, st.kind, st.after, ahead)
				st.ended = len(st.list) < ahead
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var first *kindStream
	for _, st := range m.streams {
		if len(st.list) > 0 && (first == nil || earlier(&st.list[0], &first.list[0])) {
			first = st
		}
	}
	if first == nil {
		return nil, nil
	}
	l := &first.list[0]
	first.list, first.after = first.list[1:], *l
	return l, nil
}

// earlier reports whether a is listed before b.
func earlier(a, b *shingle.ListedStatus) bool {
	return cmp.Or(-a.Changed.Compare(b.Changed), strings.Compare(a.Host+"/", b.Host+"/")) < 0
}

// fewFrom is the source, in the order of hosts, of the domains whose statuses are wanted.
// ok is false when they may be too many to be put in order.
func (s *server) fewFrom(ctx context.Context, p *listing, after string) (from source, ok bool, err error) {
	kinds := p.kinds()
	if s.StatusIndex == nil || slices.Contains(kinds, usual) {
		return nil, false, nil
	}
	lists, more, err := s.listKinds(ctx, kinds, fewOfAKind)
	if errors.Is(err, shingle.ErrUnavailable) { // it is being made; and if nothing answers, the rows do not either
		return nil, false, nil
	}
	if err != nil || slices.Contains(more, true) {
		return nil, false, err
	}
	var hosts []string
	for _, l := range slices.Concat(lists...) {
		if l.Host > after && (p.Tenant == "" || p.Tenant == l.Tenant) {
			hosts = append(hosts, l.Host)
		}
	}
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	return func(_ context.Context, limit int) ([]candidate, error) {
		list := make([]candidate, min(limit, len(hosts)))
		for i, host := range hosts[:len(list)] {
			list[i] = candidate{DomainPlace: shingle.DomainPlace{Host: host}, unread: true}
		}
		hosts = hosts[len(list):]
		return list, nil
	}, true, nil
}

// listKinds reads the beginnings of several kinds, most of each, and tells which have more.
func (s *server) listKinds(ctx context.Context, kinds []shingle.StatusKind, most int) (lists [][]shingle.ListedStatus, more []bool, err error) {
	lists, more = make([][]shingle.ListedStatus, len(kinds)), make([]bool, len(kinds))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readersAPage)
	for i, kind := range kinds {
		group.Go(func() error {
			var after shingle.ListedStatus
			for more[i] = true; more[i] && len(lists[i]) < most; {
				list, err := s.StatusIndex.Listed(ctx, kind, after, rowsAtOnce)
				if err != nil {
					return err
				}
				if lists[i], more[i] = append(lists[i], list...), len(list) == rowsAtOnce; len(list) > 0 {
					after = list[len(list)-1]
				}
			}
			return nil
		})
	}
	return lists, more, group.Wait()
}

// StatusCounts says how many domains have which status.
type StatusCounts struct {
	Counts []StatusCount `json:"counts" nullable:"false" doc:"Those that there are, but for the domains that are active and need nobody"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// StatusCount is how many domains are of a kind.
type StatusCount struct {
	State string `json:"state" enum:"pending,verifying,issuing,active,drifting,paused,blocked"`
	Who   string `json:"who" enum:"customer,operator,ca,nobody" doc:"Who must act"`
	Count int    `json:"count"`
	More  bool   `json:"more" doc:"There are more: it was not counted further"`

	_ struct{} `additionalProperties:"true"` // more will come
}

type statusCountsAnswer struct{ Body StatusCounts }

func (s *server) statusRoutes(a huma.API) {
	count := operation("count-statuses", http.MethodGet, "/v1/statuses", "Count the domains by status", http.StatusNotFound)
	count.Description = "By state and who must act, as of now, up to 10,000 of each kind. Domains that are live and need nobody are not counted. 404 where domains are not checked."
	register(s, a, count, s.countStatuses)
}

func (s *server) countStatuses(ctx context.Context, _ *struct{}) (*statusCountsAnswer, error) {
	if s.StatusIndex == nil {
		return nil, shingle.Errorf(shingle.CodeNotFound, "domains are not checked here: say what customers are to point at (--cname-target)")
	}
	var all FilterInput
	kinds := slices.DeleteFunc(all.kinds(), func(k shingle.StatusKind) bool { return k == usual })
	lists, more, err := s.listKinds(ctx, kinds, mostCount)
	if err != nil {
		return nil, err
	}
	own, out := tenantOf(ctx), &statusCountsAnswer{StatusCounts{Counts: []StatusCount{}}}
	for i, kind := range kinds {
		c := StatusCount{State: string(kind.State), Who: kind.Who, More: more[i]}
		for _, l := range lists[i] {
			if own == "" || own == l.Tenant {
				c.Count++
			}
		}
		if c.Count > 0 || c.More && own != "" {
			out.Body.Counts = append(out.Body.Counts, c)
		}
	}
	return out, nil
}
