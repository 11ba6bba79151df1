package panel

import (
	"errors"
	"net/url"
	"slices"
	"sync"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

const (
	waitingShown = 8  // domains of each kind
	recentShown  = 10 // events
)

// overviewPage is what needs a person first, and then how things are.
type overviewPage struct {
	Yours, Customers api.DomainList // who must act on them; what changed last is first
	Counts           []count        // of the domains that are not simply live
	Queue            *api.Queue     // nil: not for this visitor
	Webhooks         []api.Webhook  // that do not work
	Events           []api.Event
}

// overview asks for its parts at once.
func overview(v *visit) error {
	var p overviewPage
	var queue api.Queue
	var hooks []api.Webhook
	var events api.EventList
	parts := []func() error{
		func() (err error) { p.Yours, err = v.waitingFor(shingle.WhoOperator); return err },
		func() (err error) { p.Customers, err = v.waitingFor(shingle.WhoCustomer); return err },
		func() (err error) { events, err = v.api.EventPage(v.ctx(), "", "", recentShown); return err },
		func() (err error) { queue, err = v.api.Queue(v.ctx(), 1, false); return err },
		func() (err error) { hooks, err = v.api.Webhooks(v.ctx()); return err },
		func() (err error) { p.Counts, err = v.counts(); return err },
	}
	errs := make([]error, len(parts))
	var all sync.WaitGroup
	for i, part := range parts {
		all.Go(func() { errs[i] = part() })
	}
	all.Wait()
	for i, err := range errs {
		if err != nil && !errors.Is(err, shingle.ErrNotFound) { // which is what there is not for this role
			return err
		}
		if i == 3 && err == nil {
			p.Queue = &queue
		}
	}
	p.Events = events.Events
	for _, w := range hooks {
		if w.Disabled || !w.FailingFrom.IsZero() {
			p.Webhooks = append(p.Webhooks, w)
		}
	}
	return v.show("overview", p)
}

// waitingFor returns domains on which somebody must act. Where domains are not checked, or
// the index is being made, they have no order by their statuses.
func (v *visit) waitingFor(who string) (api.DomainList, error) {
	q := api.DomainQuery{FilterInput: api.FilterInput{Who: who}, Sort: "-changed", Limit: waitingShown}
	list, err := v.api.DomainPage(v.ctx(), q)
	if errors.Is(err, shingle.ErrInvalid) || errors.Is(err, shingle.ErrUnavailable) {
		q.Sort = ""
		list, err = v.api.DomainPage(v.ctx(), q)
	}
	return list, err
}

// count is how many domains are of a kind.
type count struct {
	api.StatusCount
	Link string // to their list
}

// counts returns how many domains are of each kind. Those that the operator stopped come
// last: they wait for nobody.
func (v *visit) counts() (list []count, err error) {
	found, err := v.api.StatusCounts(v.ctx())
	if errors.Is(err, shingle.ErrUnavailable) { // the index is being made; if nothing answers, other parts tell
		return nil, nil
	}
	for _, c := range found.Counts {
		list = append(list, count{c, "/panel/domains" + pageAddress(url.Values{"state": {c.State}, "who": {c.Who}, "sort": {"-changed"}}, "")})
	}
	slices.SortStableFunc(list, func(a, b count) int { return last(a) - last(b) })
	return list, err
}

func last(c count) int {
	if c.State == string(shingle.StateBlocked) {
		return 1
	}
	return 0
}

// Calm reports whether nobody has to do anything, as far as was looked.
func (p overviewPage) Calm() bool {
	return len(p.Yours.Domains)+len(p.Customers.Domains)+len(p.Webhooks) == 0
}
