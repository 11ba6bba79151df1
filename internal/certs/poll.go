package certs

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
)

// A CA is asked about each certificate when to renew it (RFC 9773). All there is
// to ask is in keys of the store:
//
//	polls/CA/SLOT/blog.customer.com/CERTID/WINDOW/SEQ
//
// with a hash of the CA's directory, the host's own slot of the time in which all
// are asked about once, the certificate, and what the CA answered last. So a day's
// questions about a thousand certificates cost the store a few listings; a plan is
// read and written only when the CA has changed its mind.
const (
	pollPrefix = "polls/"
	pollSlots  = 256
	pollPage   = 1000
)

// Times of the questions to a CA.
const (
	pollEvery   = 12 * time.Hour   // about each certificate: twice a day at least
	pollSoonest = 10 * time.Minute // however often a CA wants to be asked
	keepEvery   = 10 * time.Minute // how far the questions came is stored
	pollsAtOnce = 4                // to one CA
)

// maxCertID bounds the ID of a certificate that is asked about: it is part of a
// key. With a serial number of 20 bytes (RFC 5280 section 4.1.2.2) and a key
// identifier of as many an ID has 55.
const maxCertID = 120

// question is what a CA is asked about.
type question struct {
	key, host, certID, window string
}

// pollStem is the part of the plan's key among the questions that tells what is
// asked and what the answer was; empty: nothing is asked.
func (p *plan) pollStem(host string) string {
	if p.CertID == "" || p.Gone || p.Issuer == "" || len(p.CertID) > maxCertID {
		return ""
	}
	return pollSlotPrefix(p.Issuer, pollSlot(host)) + host + "/" + p.CertID + "/" + p.Window.code() + "/"
}

func pollSlotPrefix(directory string, slot int) string {
	return pollPrefix + directoryHash(directory) + "/" + fmt.Sprintf("%02x", slot) + "/"
}

func pollSlot(host string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(host))
	return int(h.Sum32() % pollSlots)
}

// code tells a window from others.
func (w *window) code() string {
	if w == nil {
		return "-"
	}
	return strconv.FormatInt(w.Start.Unix(), 36) + "-" + strconv.FormatInt(w.End.Unix(), 36)
}

func parseQuestion(key string) (q question, ok bool) {
	part := strings.Split(key, "/")
	if len(part) != 7 {
		return question{}, false
	}
	return question{key: key, host: part[3], certID: part[4], window: part[5]}, true
}

// poller asks one CA about its certificates, slot by slot, in the one process that
// works.
type poller struct {
	*Manager
	ca    *authority
	kept  time.Time // when last was stored
	asked int       // since then
	moved bool      // since then

	mu   sync.Mutex // of last, while questions are out
	last pollRecord
}

// pollRecord is how far the questions came, as it is stored at worker/polls/CA.
type pollRecord struct {
	Slot int           `json:"slot"` // the next
	At   time.Time     `json:"at"`   // when it is due
	In   time.Duration `json:"in"`   // the time in which all are asked about
	Soon time.Duration `json:"soon"` // the least that the CA has asked for since slot 0
}

// poll asks the CA until ctx ends. A look when nothing is due costs nothing. A
// process that leads for a moment, as a function does, leaves word how far it came.
func (m *Manager) poll(ctx context.Context, ca *authority) {
	p := &poller{Manager: m, ca: ca}
	defer func() {
		if p.moved {
			p.keep(context.WithoutCancel(ctx), m.cfg.Now())
		}
	}()
	for {
		next, err := p.step(ctx)
		if err != nil && ctx.Err() == nil {
			m.log.Debug("the certificate authority was not asked when to renew", "ca", ca.Directory, "error", err)
		}
		select {
		case <-time.After(min(next.Sub(m.cfg.Now()), m.cfg.Poll)):
		case <-ctx.Done():
			return
		}
	}
}

// step asks about the slot whose time has come, and returns when to look again.
func (p *poller) step(ctx context.Context) (next time.Time, err error) {
	now := p.cfg.Now()
	if until := p.ca.polls.closed(now); !until.IsZero() {
		return until, nil
	}
	if p.last.At.IsZero() {
		if err := p.begin(ctx, now); err != nil {
			return now.Add(pollEvery), err
		}
	}
	if now.Before(p.last.At) {
		return p.last.At, nil
	}
	slots := p.last.due(now)
	asked, err := p.slots(ctx, slots)
	if err != nil {
		return now.Add(pollEvery), err
	}
	for range slots {
		p.advance(now)
	}
	p.moved = true
	if p.asked += asked; p.asked > 0 && now.Sub(p.kept) >= keepEvery {
		p.keep(ctx, now)
	}
	return p.last.At, nil
}

// begin goes on where the last process was.
func (p *poller) begin(ctx context.Context, now time.Time) (err error) {
	p.kept = now
	p.last, err = p.store.pollRecord(ctx, p.ca.Directory, now)
	return err
}

func pollRecordKey(directory string) string { return "worker/polls/" + directoryHash(directory) }

// pollRecord returns how far the questions to a CA came. A clock that is ahead or
// behind costs at most one round.
func (s *store) pollRecord(ctx context.Context, directory string, now time.Time) (r pollRecord, err error) {
	_, err = s.get(ctx, pollRecordKey(directory), &r)
	if errors.Is(err, shingle.ErrUnreadable) {
		r, err = pollRecord{}, nil // all are asked about once more
	}
	if err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return r, fmt.Errorf("read how far the questions came: %w", err)
	}
	r.Slot, r.In = max(r.Slot, 0)%pollSlots, min(max(r.In, pollSoonest), pollEvery)
	if r.At.IsZero() {
		r.In = pollEvery
	}
	switch {
	case r.At.IsZero() || r.At.After(now.Add(r.In)):
		r.At = now
	case r.At.Before(now.Add(-r.In)):
		r.At = now.Add(-r.In) // all are due, once
	}
	return r, nil
}

// when returns when the slot's turn comes.
func (r *pollRecord) when(slot int) time.Time {
	return r.At.Add(time.Duration((slot-r.Slot+pollSlots)%pollSlots) * (r.In / pollSlots))
}

// due is how many slots have their turn, from the next one to the last at most:
// several when nobody asked for a while.
func (r *pollRecord) due(now time.Time) int {
	return min(1+int(now.Sub(r.At)/(r.In/pollSlots)), pollSlots-r.Slot)
}

// advance moves on to the next slot. One who is behind, because the CA was out of
// reach or there is more than can be asked, does not hurry to ask twice.
func (p *poller) advance(now time.Time) {
	r := &p.last
	if r.Slot++; r.Slot == pollSlots {
		r.Slot, r.In = 0, pollEvery
		if r.Soon > 0 {
			r.In, r.Soon = r.Soon, 0
		}
	}
	r.At = r.At.Add(r.In / pollSlots)
	if oldest := now.Add(-r.In); r.At.Before(oldest) {
		r.At = oldest
	}
}

// keep stores how far the questions came. Who cannot, or meets another process,
// asks a few of them twice.
func (p *poller) keep(ctx context.Context, now time.Time) {
	version, err := p.store.version(ctx, pollRecordKey(p.ca.Directory))
	if err == nil {
		_, err = p.store.put(ctx, pollRecordKey(p.ca.Directory), p.last, version)
	}
	if err != nil {
		p.log.Debug("how far the questions came is not stored", "error", err)
		return
	}
	p.kept, p.asked, p.moved = now, 0, false
}

// heard takes in that the CA wants to be asked again after a time. The shortest
// counts for all of its certificates.
func (r *pollRecord) heard(again time.Duration) {
	again = min(max(again, pollSoonest), pollEvery)
	if r.Soon == 0 || again < r.Soon {
		r.Soon = again
	}
	r.In = min(r.In, again)
}

// slots asks about the certificates of as many slots, which costs the listings of
// one. It ends early when the CA is out of reach: they are then asked about again.
func (p *poller) slots(ctx context.Context, n int) (asked int, err error) {
	first := pollSlotPrefix(p.ca.Directory, p.last.Slot)
	prefix, end := strings.TrimSuffix(first, fmt.Sprintf("%02x/", p.last.Slot)), pollSlotPrefix(p.ca.Directory, p.last.Slot+n-1)+"\xff"
	if n == 1 {
		prefix = first // so that no other slot is read
	}
	for after, more := first, true; more; {
		keys, err := p.store.list(ctx, prefix, after, pollPage)
		if err != nil {
			return asked, err
		}
		more = len(keys) == pollPage
		if i := sort.SearchStrings(keys, end); i < len(keys) {
			keys, more = keys[:i], false
		}
		if err := p.askAll(ctx, keys); err != nil {
			return asked, err
		}
		asked += len(keys)
		if more {
			after = keys[len(keys)-1]
		}
	}
	return asked, nil
}

// askAll asks about several certificates, a few at once.
func (p *poller) askAll(ctx context.Context, keys []string) error {
	next := make(chan question)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var asking sync.WaitGroup
	for range min(pollsAtOnce, len(keys)) {
		asking.Go(func() {
			for q := range next {
				if err := p.ask(ctx, q); err != nil {
					stop(err)
				}
			}
		})
	}
	for _, key := range keys {
		q, ok := parseQuestion(key)
		if !ok {
			continue
		}
		select {
		case next <- q:
		case <-ctx.Done():
		}
	}
	close(next)
	asking.Wait()
	return context.Cause(ctx)
}

// ask asks when to renew a host, and has its plan changed if the answer is new.
// The error is a CA's or a store's that is out of reach.
func (p *poller) ask(ctx context.Context, q question) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	now := p.cfg.Now()
	s, status, err := p.ca.client.renewalInfo(ctx, q.certID)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, errNoARI) {
		return nil
	}
	away := err != nil && (status == 0 || status == http.StatusTooManyRequests || status >= http.StatusInternalServerError)
	p.ca.polls.note(away, now)
	if away {
		return err
	}
	p.mu.Lock()
	p.last.heard(s.again)
	p.mu.Unlock()
	switch {
	case s.window != nil && s.window.code() != q.window:
		err = p.suggested(ctx, q, s.window)
	case err != nil, s.window != nil && now.After(s.window.Start):
		err = p.tidyPoll(ctx, q) // it may be one that was replaced long ago
	}
	if errors.Is(err, shingle.ErrUnreadable) {
		return nil // the plan stays as it is, and the others go on
	}
	return err
}

// suggested notes in the plan what the CA has suggested.
func (p *poller) suggested(ctx context.Context, q question, w *window) error {
	now, named := p.cfg.Now(), true
	if w.Explanation != "" {
		p.log.Warn("the certificate authority suggests when to renew", "host", q.host, "from", w.Start, "see", w.Explanation)
	}
	_, err := p.store.changePlan(ctx, q.host, now, func(x *plan, exists bool) bool {
		if named = exists && x.Poll == q.key; named {
			x.suggested(q.host, w, now)
			x.reschedule()
		}
		return named
	})
	if err != nil {
		return fmt.Errorf("note renewal information: %w", err)
	}
	if !named {
		return p.tidyPoll(ctx, q)
	}
	return nil
}

// tidyPoll removes a question that the plan does not name.
func (p *poller) tidyPoll(ctx context.Context, q question) error {
	x, version, err := p.store.plan(ctx, q.host)
	if err != nil && !errors.Is(err, shingle.ErrNotFound) {
		return err
	}
	if x.Poll == q.key {
		return nil
	}
	_, err = p.store.strike(ctx, q.host, q.key, x, version)
	if errors.Is(err, shingle.ErrConflict) {
		return nil // another time
	}
	return err
}
