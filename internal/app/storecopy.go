package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// CopyConfig says what [CopyStore] copies. The places are read as
// [parseInstallation] does.
type CopyConfig struct {
	From, To string
	DryRun   bool // look, count, and write nothing
	// Live copies although something is at work on From, and leaves To half a copy:
	// another run, when nothing is at work, has only the rest to do.
	Live bool
	// Progress, when set, is told how far it is, often.
	Progress func(CopyProgress)

	watch func(ctx context.Context) error // waits between two looks at the leases; nil: for leaseWatch
}

// CopyProgress is how far a copy is.
type CopyProgress struct {
	Verifying bool
	CopyCounts
}

// CopyCounts are what was met on the way.
type CopyCounts struct {
	Domains, Records int
	Bytes            int64 // of records
}

// CopyResult is what [CopyStore] did.
type CopyResult struct {
	CopyCounts        // that are now in both
	Written    int    // how many of them this run had to write
	Digest     string // SHA-256 over all of them, read from both; empty: not compared
	Resumed    bool   // an earlier run had begun
	AtWork     string // what seems to be at work on From; empty: nothing
}

// copyJournal is the record in the target while it is not whole. No process starts
// on a store that has one.
const copyJournal = "store-copy/journal"

// copyState is what it holds.
type copyState struct {
	From  string    `json:"from"`
	Begun time.Time `json:"begun"`
}

// CopyStore makes a whole installation in To out of that in From: domains with
// their versions, API tokens, and all records as they are. To must be empty, or
// what an earlier run left that was interrupted: that is gone on with. In the end
// both are read again and compared.
//
// What is left out are the places in the change feed, which mean nothing to
// another store: the worker and the checks read all domains again when they begin,
// and events go on with the first change in To.
func CopyStore(ctx context.Context, cfg CopyConfig) (result CopyResult, err error) {
	c := storeCopy{cfg: cfg}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.open(ctx); err != nil {
		return result, err
	}
	if result.AtWork, err = c.worker(ctx); err != nil {
		return result, fmt.Errorf("look at the leases of FROM: %w", err)
	}
	if result.AtWork != "" && !cfg.DryRun && !cfg.Live {
		return result, fmt.Errorf("shingle is at work on FROM (%s): end every process of it first, or begin with --live", result.AtWork)
	}
	if err := c.openTarget(ctx); err != nil {
		return result, err
	}
	if result.Resumed, err = c.begun(ctx); err != nil {
		return result, err
	}
	if cfg.DryRun {
		result.CopyCounts, err = c.count(ctx)
		return result, err
	}
	if err := c.begin(ctx, result.Resumed); err != nil {
		return result, err
	}
	result.CopyCounts, result.Written, err = c.copy(ctx)
	if err != nil {
		return result, fmt.Errorf("%w; the same command goes on from here", err)
	}
	if cfg.Live {
		return result, nil
	}
	if result.CopyCounts, result.Digest, err = c.verify(ctx); err != nil {
		return result, err
	}
	return result, c.end(ctx)
}

// storeCopy is one run.
type storeCopy struct {
	cfg         CopyConfig
	target      installation
	from, to    *opened
	sameDomains bool // only the place of all else changes
}

// open opens From, and knows where To is.
func (c *storeCopy) open(ctx context.Context) error {
	from, err := parseInstallation(c.cfg.From)
	if err != nil {
		return fmt.Errorf("FROM: %w", err)
	}
	if c.target, err = parseInstallation(c.cfg.To); err != nil {
		return fmt.Errorf("TO: %w", err)
	}
	c.sameDomains = from.domains == c.target.domains
	switch {
	case from == c.target:
		return errors.New("FROM and TO are the same")
	case from.blobs == c.target.blobs:
		return fmt.Errorf("FROM and TO have their records in the same place: %s", from.blobs)
	}
	if c.from, err = openInstallation(ctx, from, false); err != nil {
		return fmt.Errorf("FROM: %w", err)
	}
	return nil
}

func (c *storeCopy) openTarget(ctx context.Context) (err error) {
	c.to, err = openInstallation(ctx, c.target, !c.cfg.DryRun)
	if c.cfg.DryRun && errors.Is(err, fs.ErrNotExist) { // it is made by the real run
		err = c.to.close()
		c.to = nil
	}
	if err != nil {
		return fmt.Errorf("TO: %w", err)
	}
	return nil
}

func (c *storeCopy) close() error {
	var errs []error
	for _, o := range []*opened{c.from, c.to} {
		if o != nil {
			errs = append(errs, o.close())
		}
	}
	return errors.Join(errs...)
}

// leaseWatch is longer than a leader takes to renew its lease.
const leaseWatch = 7 * time.Second

func (cfg *CopyConfig) wait(ctx context.Context) error {
	if cfg.watch != nil {
		return cfg.watch(ctx)
	}
	select {
	case <-time.After(leaseWatch):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// worker says what shows that a process is at work on From; empty: nothing does.
// Edges alone cannot be seen.
func (c *storeCopy) worker(ctx context.Context) (string, error) {
	if p := c.from.domains; p.kind == "sqlite" && locked(filepath.Join(filepath.Dir(p.name), "instance")) {
		return "a process has the folder of the database open", nil
	}
	before, err := c.leases(ctx)
	if err != nil || len(before) == 0 {
		return "", err
	}
	if err := c.cfg.wait(ctx); err != nil {
		return "", err
	}
	after, err := c.leases(ctx)
	for key, version := range after {
		if err == nil && version != before[key] {
			return "the lease " + strings.TrimPrefix(key, "leases/") + " is being renewed", nil
		}
	}
	return "", err
}

// leases returns the versions of the leases that somebody holds and that are of
// the whole fleet, not of one host.
func (c *storeCopy) leases(ctx context.Context) (map[string]string, error) {
	const prefix, hosts, behind = "leases/", "leases/certs/", "leases/certs0" // the 0 sorts behind the slash
	held := map[string]string{}
	for _, after := range []string{"", behind} {
		keys, err := c.from.blobStore.List(ctx, prefix, after, 100)
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			if strings.HasPrefix(key, hosts) {
				break
			}
			b, err := c.from.blobStore.Get(ctx, key)
			if err != nil && !errors.Is(err, shingle.ErrNotFound) {
				return nil, err
			}
			var lease struct {
				Holder string `json:"holder"`
			}
			if json.Unmarshal(b.Value, &lease) == nil && lease.Holder != "" {
				held[key] = b.Version
			}
		}
	}
	return held, nil
}

// locked reports whether a process holds the lock on the file at path.
func locked(path string) bool {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // nothing was written
	ours, err := lockFile(f)
	return err == nil && !ours
}

// begun reports whether an earlier run from the same From was interrupted. Else To
// must be empty.
func (c *storeCopy) begun(ctx context.Context) (resumed bool, err error) {
	if c.to == nil {
		return false, nil
	}
	b, err := c.to.blobStore.Get(ctx, copyJournal)
	if err == nil {
		var state copyState
		if err := json.Unmarshal(b.Value, &state); err != nil {
			return false, fmt.Errorf("read the journal of TO: %w", err)
		}
		if state.From != c.from.String() {
			return false, fmt.Errorf("TO is half a copy of %s: finish that, or name another place", state.From)
		}
		return true, nil
	}
	if !errors.Is(err, shingle.ErrNotFound) {
		return false, fmt.Errorf("read TO: %w", err)
	}
	const no = "TO is not empty: it has %s; nothing is overwritten, so name another place, or empty this one"
	keys, err := c.to.blobStore.List(ctx, "", "", 1)
	if err != nil {
		return false, fmt.Errorf("read TO: %w", err)
	}
	if len(keys) > 0 {
		return false, fmt.Errorf(no, "the record "+keys[0])
	}
	if c.sameDomains {
		return false, nil
	}
	rows, err := c.to.domainStore.Domains(ctx, "", 1)
	if err != nil {
		return false, fmt.Errorf("read TO: %w", err)
	}
	if len(rows) > 0 {
		return false, fmt.Errorf(no, "the domain "+rows[0].Host)
	}
	return false, nil
}

// begin marks To as half a copy.
func (c *storeCopy) begin(ctx context.Context, resumed bool) error {
	if resumed {
		return nil
	}
	state, err := json.Marshal(copyState{From: c.from.String(), Begun: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	return c.put(ctx, copyJournal, state)
}

// end marks To as whole.
func (c *storeCopy) end(ctx context.Context) error { return c.remove(ctx, copyJournal) }

// unfinishedCopy returns an error when the store is half a copy.
func unfinishedCopy(ctx context.Context, b shingle.Blobs) error {
	journal, err := b.Get(ctx, copyJournal)
	if err != nil {
		return nil // there is none, or the store is away, and was whole before
	}
	var state copyState
	_ = json.Unmarshal(journal.Value, &state) // it only tells
	return fmt.Errorf("the store is half a copy of %s: run shingle store copy again to its end", state.From)
}
