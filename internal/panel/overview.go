package panel

import (
	"errors"
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
	Yours, Customers api.DomainList // who must act on them
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

// waitingFor returns domains on which somebody must act.
func (v *visit) waitingFor(who string) (api.DomainList, error) {
	return v.api.DomainPage(v.ctx(), api.DomainQuery{FilterInput: api.FilterInput{Who: who}, Limit: waitingShown})
}

// Calm reports whether nobody has to do anything, as far as was looked.
func (p overviewPage) Calm() bool {
	return len(p.Yours.Domains)+len(p.Customers.Domains)+len(p.Webhooks) == 0
}
