package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

type certsRewrapCmd struct {
	Deep   bool   `help:"Also seal every secret anew, under new data keys: when a data key may be known to others."`
	Lost   string `placeholder:"KEY-ID" help:"Give up a master key or data key that nobody has any more: what only it opens is dropped, and certificates are issued anew."`
	DryRun bool   `name:"dry-run" help:"Change nothing, and say what would be changed."`
	NoWait bool   `name:"no-wait" help:"Do not wait a minute, until every process has heard of it: with --deep for a second look, with --lost for data keys that one may still have in memory."`
	Force  bool   `help:"Go on although a live process of the fleet lacks the current master key: it can serve nothing after its next start."`
	Yes    bool   `help:"Do not ask."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Help is what --help adds.
func (certsRewrapCmd) Help() string {
	return "Without a flag the data keys, which seal all that is secret, are wrapped under the current master key: the step of a rotation after which the old one can be removed. " +
		"It works beside everything else, and can be broken off and begun again. It is refused while a live process that shingle edges shows lacks the current master key. See also: shingle keys."
}

// rewrapResult is how a rewrap ended.
type rewrapResult struct {
	DryRun   bool                `json:"dry_run"`
	Looked   int                 `json:"looked"`
	Changed  map[string]int      `json:"changed"`
	Failed   int                 `json:"failed"`
	Failures []api.RewrapFailure `json:"failures"`
	Keys     []api.MasterKey     `json:"keys"`
	Unneeded []string            `json:"unneeded"` // master keys that were needed before
}

// Run rewraps.
func (c *certsRewrapCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Certs.client()
	if err != nil {
		return err
	}
	if c.Lost != "" && !c.DryRun && !c.Yes {
		if err := c.askLost(ctx, client, s); err != nil {
			return err
		}
	}
	before, err := client.MasterKeys(ctx)
	if err != nil {
		return err
	}
	if c.Lost == "" && !c.DryRun && !c.Yes {
		if err := askSpread(before, s); err != nil {
			return err
		}
	}
	r, err := c.rewrap(ctx, client, s, c.DryRun)
	if err != nil {
		return err
	}
	if r.Keys, err = client.MasterKeys(ctx); err != nil {
		return err
	}
	for _, k := range before {
		if !slices.ContainsFunc(r.Keys, func(now api.MasterKey) bool { return now.ID == k.ID }) {
			r.Unneeded = append(r.Unneeded, k.ID)
		}
	}
	if c.JSON {
		err = printJSON(s.Out, r)
	} else {
		err = printRewrap(s.Out, r)
	}
	if err == nil && r.Failed > 0 {
		err = fmt.Errorf("%d records cannot be opened here; if their key is lost for good, give it up: shingle certs rewrap --lost KEY-ID", r.Failed)
	}
	return err
}

// rewrapPatience bounds for how long a step that cannot be done now is repeated:
// longer than the lease of a process that was killed at it.
const rewrapPatience = 90 * time.Second

// rewrap goes through all steps.
func (c *certsRewrapCmd) rewrap(ctx context.Context, client *api.Client, s streams, dry bool) (rewrapResult, error) {
	total := rewrapResult{DryRun: dry, Changed: map[string]int{}, Failures: []api.RewrapFailure{}, Unneeded: []string{}}
	line := newProgress(s.Err, "rewrapping")
	defer line.clear()
	request := api.Rewrap{Deep: c.Deep, Lost: c.Lost, DryRun: dry, Force: c.Force}
	for good := time.Now(); ; {
		step, err := client.Rewrap(ctx, request)
		if errors.Is(err, shingle.ErrUnavailable) && time.Since(good) < rewrapPatience && pause(ctx, time.Second) {
			continue
		}
		if err != nil {
			if total.Looked > 0 {
				err = fmt.Errorf("%w (%d records were looked at; run the same command again)", err, total.Looked)
			}
			return total, err
		}
		good = time.Now()
		total.add(step)
		line.at(total.Looked, -1)
		if request.After = step.Next; step.Next == "" || step.WaitSeconds > 0 && c.NoWait && c.Deep {
			return total, nil
		}
		if step.WaitSeconds > 0 && !c.NoWait {
			line.clear()
			wait := time.Duration(step.WaitSeconds * float64(time.Second)).Round(time.Second)
			fmt.Fprintf(s.Err, "it goes on in %s, when every process of the fleet has heard of it\n", wait)
			if !pause(ctx, wait) {
				return total, ctx.Err()
			}
		}
	}
}

// pause waits. It returns false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *rewrapResult) add(s api.RewrapStep) {
	r.Looked, r.Failed = r.Looked+s.Looked, r.Failed+s.Failed
	for kind, n := range s.Changed {
		r.Changed[kind] += n
	}
	r.Failures = append(r.Failures, s.Failures...)
	r.Failures = r.Failures[:min(len(r.Failures), 20)]
}

// askSpread asks whether every process has the current master key, if data keys are
// to come under it: without, none could start any more.
func askSpread(keys []api.MasterKey, s streams) error {
	moved, to := 0, ""
	for _, k := range keys {
		if k.Current {
			to = k.ID
		} else {
			moved += k.DataKeys
		}
	}
	if moved == 0 {
		return nil
	}
	return confirm(s, fmt.Sprintf("%d data keys come under the master key %s. Every machine of the fleet must have it by now, or the right to use it: one that has not can serve nothing after its next start.", moved, to))
}

// askLost shows what would be dropped, and asks whether that is wanted.
func (c *certsRewrapCmd) askLost(ctx context.Context, client *api.Client, s streams) error {
	r, err := c.rewrap(ctx, client, s, true)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Err, "Only the key %s opens:\n", c.Lost)
	printCounts(s.Err, r.Changed)
	for kind, what := range map[string]string{
		"account key":       "Each CA gets a new account.",
		"delegation secret": "The names that customers delegate to by CNAME are others then: each customer with a wildcard must set a new record.",
		"webhook secrets":   "These webhooks are disabled until you give their receivers a new secret.",
	} {
		if r.Changed[kind] > 0 {
			fmt.Fprintln(s.Err, what)
		}
	}
	if n := r.Changed["certificates"]; n > 0 {
		if err := printOrders(ctx, client, s.Err, n); err != nil {
			return err
		}
	}
	return confirm(s, "All of that is dropped and cannot be had back, not even if the key is found again.")
}

// printOrders says what it takes to issue n certificates anew.
func printOrders(ctx context.Context, client *api.Client, w io.Writer, n int) error {
	q, err := client.Queue(ctx, 1, false)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "Certificates to issue anew, an order each: %d. Visitors are served with what the edges have in memory until then.\n", n)
	for _, ca := range q.CAs {
		fmt.Fprintf(w, "What %s allows: of renewals of its own certificates %s, of other orders %s.\n", ca.Directory, budget(ca.Renewals), budget(ca.Orders))
	}
	return nil
}

// confirm asks for a yes.
func confirm(s streams, what string) error {
	if err := confirmBy(s, "yes", what); err != nil {
		return errors.New("nothing was done; --yes goes on without a question")
	}
	return nil
}

// confirmBy asks for a word.
func confirmBy(s streams, word, what string) error {
	fmt.Fprintf(s.Err, "%s\nType %s to go on: ", what, word)
	answer, err := bufio.NewReader(io.LimitReader(s.In, 1024)).ReadString('\n')
	if strings.TrimSpace(answer) != word {
		if err != nil {
			fmt.Fprintln(s.Err)
		}
		return errors.New("nothing was done")
	}
	return nil
}

func printRewrap(w io.Writer, r rewrapResult) error {
	switch {
	case len(r.Changed) == 0 && r.DryRun:
		fmt.Fprintf(w, "nothing would be changed; %d records were looked at\n", r.Looked)
	case len(r.Changed) == 0:
		fmt.Fprintf(w, "nothing was to be changed; %d records were looked at\n", r.Looked)
	case r.DryRun:
		fmt.Fprintf(w, "of %d records that were looked at these would be changed:\n", r.Looked)
	default:
		fmt.Fprintf(w, "of %d records that were looked at these were changed:\n", r.Looked)
	}
	printCounts(w, r.Changed)
	for _, f := range r.Failures {
		fmt.Fprintf(w, "not opened: %s: %s\n", f.Record, f.Message)
	}
	fmt.Fprintln(w)
	if err := printKeys(w, r.Keys); err != nil {
		return err
	}
	for _, id := range r.Unneeded {
		fmt.Fprintf(w, "\n%s is not needed any more: see shingle keys list, and remove it from every machine.\n", id)
	}
	return nil
}

func printCounts(w io.Writer, counts map[string]int) {
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(w, "  %6d %s\n", counts[kind], kind)
	}
}

type certsRmCmd struct {
	Hosts []string `arg:"" name:"host" help:"The customers' names."`
	Yes   bool     `help:"Do not ask."`
}

// Help is what --help adds.
func (certsRmCmd) Help() string {
	return "For a certificate whose key may be known to others, or that cannot be read. Edges serve what they have in memory until there is the new one. The domains stay: see shingle domains rm."
}

// Run removes certificates.
func (c *certsRmCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Certs.client()
	if err != nil {
		return err
	}
	if !c.Yes {
		if err := printOrders(ctx, client, s.Err, len(c.Hosts)); err != nil {
			return err
		}
		if err := confirm(s, "The keys of "+strings.Join(c.Hosts, ", ")+" are destroyed in the store; one that you uploaded is not replaced by itself with one of yours."); err != nil {
			return err
		}
	}
	return each(c.Hosts, func(host string) error {
		err := client.DeleteCertificate(ctx, host)
		if err == nil {
			fmt.Fprintf(s.Out, "removed, and issued anew: see it with shingle certs show %s\n", host)
		}
		return err
	})
}
