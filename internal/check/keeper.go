package check

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

// Bounds of a keeper's work.
const (
	keeperAtOnce = 64
	keeperPage   = 500         // entries of the due index that are listed at once
	firstPage    = 20          // when little is due, as nearly always
	relistEvery  = time.Minute // at most, the due index is read from its beginning
	settleTime   = time.Minute // an entry without a status may be one that is just being made
	snoozeTime   = 30 * time.Second
)

// KeeperConfig is what a [Keeper] is made of. Blobs, Domains and Check are
// required; a zero elsewhere takes the default.
type KeeperConfig struct {
	Blobs   shingle.Blobs // the whole fleet shares it
	Domains shingle.DomainStore
	// Check looks at a domain, and knows of its certificate.
	Check func(ctx context.Context, d shingle.Domain, how Look) (shingle.CheckResult, error)
	// Ready, when set, is called for a domain that may now have a certificate.
	Ready func(ctx context.Context, d shingle.Domain) error
	// Events, when set, hears of each change of a status.
	Events    shingle.Events
	Lifecycle shingle.Lifecycle

	Unreadable *shingle.Unreadable // told of records that cannot be read; nil: nobody is
	AtOnce     int                 // checks at once. Default: 64
	Poll       time.Duration       // how often it looks for what is due. Default: 2 s
	Wake       <-chan struct{}     // has it look at once
	Logger     *slog.Logger        // nil: none
	Now        func() time.Time
}

// Keeper keeps the status of every domain true: it checks each when its time
// comes, whoever visits. Records in the store:
//
//	statuses/HOST              the [shingle.Status], and its entries in the indexes
//	checks/due/TIME/HOST/SEQ   the index of what is due
//	checks/listed/...          the index of statuses, which [Listed] reads
//	checks/indexing            how far the statuses of before are in it
//	checks/position            how far the change feed of the domains was read
//
// What a look costs grows with what is due, not with how many domains there are.
type Keeper struct {
	cfg     KeeperConfig
	log     *slog.Logger
	records *records.Store

	recallAt time.Time // when to look for what a wrong clock has put off; Run's alone
	checking atomic.Int64
	indexed  atomic.Bool // all statuses are in their index
}

// NewKeeper returns a Keeper. The caller runs [Keeper.Run] in the process that
// leads; the other methods work in any.
func NewKeeper(cfg KeeperConfig) (*Keeper, error) {
	if cfg.Blobs == nil || cfg.Domains == nil || cfg.Check == nil {
		return nil, errors.New("check: Blobs, Domains and Check are required")
	}
	cfg.AtOnce = cmp.Or(cfg.AtOnce, keeperAtOnce)
	cfg.Poll = cmp.Or(cfg.Poll, 2*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Keeper{cfg: cfg, log: cfg.Logger, records: records.New(cfg.Blobs, cfg.Unreadable)}, nil
}

// Status returns the status of a host, or [shingle.ErrNotFound] for one that the
// keeper has not heard of.
func (k *Keeper) Status(ctx context.Context, host string) (shingle.Status, error) {
	var e entry
	_, err := k.records.Get(ctx, statusKey(host), &e)
	s := e.Status
	if errors.Is(err, shingle.ErrNotFound) {
		err = shingle.Errorf(shingle.CodeNotFound, "%s has no status yet", host)
	}
	return s, err
}

// Runs reports whether a process of the fleet keeps statuses, or did.
func (k *Keeper) Runs(ctx context.Context) (bool, error) {
	_, err := k.cfg.Blobs.Get(ctx, FeedPosition)
	if errors.Is(err, shingle.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// NextDue returns when a check is due next, which may be past, or the zero time
// when none is.
func (k *Keeper) NextDue(ctx context.Context) (time.Time, error) {
	keys, err := k.records.List(ctx, duePrefix, "", 1)
	if err != nil || len(keys) == 0 {
		return time.Time{}, err
	}
	at, _, _ := strings.Cut(strings.TrimPrefix(keys[0], duePrefix), "/")
	due, err := time.Parse(dueTime, at)
	if err != nil {
		return k.cfg.Now(), nil //nolint:nilerr // Run knows what to do with it
	}
	return due, nil
}

// Checking reports whether this process is looking at a domain for [Keeper.Run].
func (k *Keeper) Checking() bool { return k.checking.Load() > 0 }

// CheckNow checks a domain thoroughly, for somebody who waits, and returns what
// was found and the status that follows from it. A domain that is not set up is
// [shingle.ErrNotFound].
func (k *Keeper) CheckNow(ctx context.Context, host string) (shingle.CheckResult, shingle.Status, error) {
	return k.check(ctx, host, true)
}

// CheckSoon makes the check of a domain due now. It is no error when the keeper has
// not heard of it, or does not check it.
func (k *Keeper) CheckSoon(ctx context.Context, host string) error {
	_, err := k.change(ctx, host, again)
	return err
}

func (k *Keeper) check(ctx context.Context, host string, thorough bool) (shingle.CheckResult, shingle.Status, error) {
	known, _, err := k.entry(ctx, host) // before the domain: a change in between is seen at the end
	if err != nil {
		return shingle.CheckResult{}, shingle.Status{}, err
	}
	d, err := k.cfg.Domains.Domain(ctx, host)
	if err != nil {
		return shingle.CheckResult{}, shingle.Status{}, err
	}
	unknown := known.Host == "" || known.Tenant != d.Tenant
	r, err := k.cfg.Check(ctx, d, Look{Thorough: thorough, Prove: thorough || unknown || known.ProofNeeded})
	if err != nil {
		return r, shingle.Status{}, err
	}
	s, ok, err := k.conclude(ctx, &d, known.Status, &r)
	if err != nil || !ok {
		return r, s, err
	}
	ready := s.MayIssue() == nil || s.State == shingle.StatePending && r.DNS.Delegated
	if ready && k.cfg.Ready != nil {
		err = k.cfg.Ready(ctx, d)
	}
	return r, s, err
}

// take takes in a change of a domain: its check is due at once. A status that cannot be
// read stays as it is: when it can be again, its check finds what changed.
func (k *Keeper) take(ctx context.Context, c *shingle.Change) error {
	_, err := k.change(ctx, c.Host, func(s shingle.Status, now time.Time) shingle.Status {
		switch {
		case c.Deleted && s.Host == "":
			return s
		case c.Deleted:
			return k.cfg.Lifecycle.Remove(s, now)
		case s.Host == "" || s.State == shingle.StateRemoved || s.Tenant != c.Domain.Tenant:
			s = k.cfg.Lifecycle.Begin(c.Domain, s, now)
		}
		switch {
		case c.Before.Host != "" && s.Next.Equal(now.Truncate(time.Second)):
			s.Next = now.Add(time.Second) // a check that is under way has to see that something changed
		case c.Before.Host != "" || s.Checked.IsZero():
			s.Next = now
		}
		return s
	})
	return readableAlone(err)
}

// readableAlone leaves it out of err that a status cannot be read, for the sake of the others.
func readableAlone(err error) error {
	if errors.Is(err, shingle.ErrUnreadable) {
		return nil
	}
	return err
}
