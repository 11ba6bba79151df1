package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle/internal/certs"
	"github.com/shingle-proxy/shingle/internal/check"
	"github.com/shingle-proxy/shingle/internal/events"
	"github.com/shingle-proxy/shingle/internal/members"
	"github.com/shingle-proxy/shingle/internal/storecheck"
	"github.com/shingle-proxy/shingle/internal/storecopy"
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
type CopyProgress = storecopy.Progress

// CopyResult is what [CopyStore] did.
type CopyResult struct {
	storecopy.Result
	AtWork string // what seems to be at work on From; empty: nothing
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
	source, target, err := cfg.installations()
	if err != nil {
		return result, err
	}
	from, err := openInstallation(ctx, source, false)
	defer func() { err = errors.Join(err, from.close()) }()
	if err != nil {
		return result, fmt.Errorf("FROM: %w", err)
	}
	if result.AtWork, err = cfg.atWork(ctx, from); err != nil {
		return result, fmt.Errorf("look at the leases of FROM: %w", err)
	}
	if result.AtWork != "" && !cfg.DryRun && !cfg.Live {
		return result, fmt.Errorf("shingle is at work on FROM (%s): end every process of it first, or begin with --live", result.AtWork)
	}
	to, err := openInstallation(ctx, target, !cfg.DryRun)
	defer func() { err = errors.Join(err, to.close()) }()
	missing := cfg.DryRun && errors.Is(err, fs.ErrNotExist) // it is made by the real run
	if err != nil && !missing {
		return result, fmt.Errorf("TO: %w", err)
	}
	copying := storecopy.Config{
		From: from.movable(), RecordsAlone: source.domains == target.domains,
		DryRun: cfg.DryRun, Live: cfg.Live, Progress: cfg.Progress,
	}
	copying.Skip = func(key string) bool { return staysBehind(key, !copying.RecordsAlone) }
	if !missing {
		copying.To = to.movable()
	}
	result.Result, err = storecopy.Run(ctx, copying)
	return result, err
}

// installations are From and To.
func (cfg *CopyConfig) installations() (from, to installation, err error) {
	if from, err = parseInstallation(cfg.From); err != nil {
		return from, to, fmt.Errorf("FROM: %w", err)
	}
	if to, err = parseInstallation(cfg.To); err != nil {
		return from, to, fmt.Errorf("TO: %w", err)
	}
	switch {
	case from == to:
		return from, to, errors.New("FROM and TO are the same")
	case from.blobs == to.blobs:
		return from, to, fmt.Errorf("FROM and TO have their records in the same place: %s", from.blobs)
	}
	return from, to, nil
}

// feedPositions are the records that say how far a part has followed the change
// feed of the store that it ran on.
var feedPositions = []string{certs.FeedPosition, check.FeedPosition, events.FeedPosition}

// staysBehind tells the records that are of one place alone: what checks of the
// store left, which processes there are, and with the domains the positions in
// their change feed.
func staysBehind(key string, domainsMove bool) bool {
	return strings.HasPrefix(key, storecheck.Prefix) || strings.HasPrefix(key, members.Prefix) || domainsMove && slices.Contains(feedPositions, key)
}

// atWork says what shows that a process is at work on from; empty: nothing does.
// Edges alone cannot be seen.
func (cfg *CopyConfig) atWork(ctx context.Context, from *opened) (string, error) {
	if p := from.domains; p.kind == "sqlite" && locked(filepath.Join(filepath.Dir(p.name), "instance")) {
		return "a process has the folder of the database open", nil
	}
	before, err := certs.HeldLeases(ctx, from.blobStore)
	if err != nil || len(before) == 0 {
		return "", err
	}
	if err := cfg.wait(ctx); err != nil {
		return "", err
	}
	after, err := certs.HeldLeases(ctx, from.blobStore)
	for name, version := range after {
		if version != before[name] {
			return "the lease " + name + " is being renewed", nil
		}
	}
	return "", err
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
