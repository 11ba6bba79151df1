package aws

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/shingle-proxy/shingle"
	"golang.org/x/sync/errgroup"
)

// Deployer brings an account to what a deployment says. Each of its methods can
// be repeated, also after it was interrupted.
type Deployer struct {
	Account    *Account
	Deployment *Deployment
	Artifacts  *Artifacts
	// ClientSecret is what goes with Pages.SignIn.ClientID. Deploy puts it into a
	// parameter; empty: what is there stays.
	ClientSecret string
	Report       Report
	// Poll is how often CloudFormation is asked how far it is. Default: 3 s.
	Poll time.Duration

	mu sync.Mutex // for Report
}

const defaultPoll = 3 * time.Second

// Plan is what a deployment would change.
type Plan struct {
	// Before is what the stage was deployed as; nil when it is not there.
	Before  *Deployment `json:"-"`
	Changes []Change    `json:"changes"`
	// Unsure are the stacks whose changes cannot be had from CloudFormation yet,
	// because they depend on what other stacks become. What is said of them comes
	// from a comparison of templates.
	Unsure []string `json:"unsure,omitempty"`
}

// Destroys returns the changes that delete or replace what cannot be had again.
func (p *Plan) Destroys() (list []Change) {
	for _, c := range p.Changes {
		if c.Destroys() {
			list = append(list, c)
		}
	}
	return list
}

// Plan returns what Deploy would change. It changes nothing but what failed to be
// made before, which it clears away.
func (x *Deployer) Plan(ctx context.Context) (Plan, error) {
	var p Plan
	before, regions, err := x.adopt(ctx)
	if err != nil {
		return p, err
	}
	p.Before = before
	outputs := map[string]map[string]string{}
	for _, s := range x.Deployment.Stacks() {
		changes, unsure, err := x.planStack(ctx, &s, outputs)
		if err != nil {
			return p, err
		}
		p.Changes = append(p.Changes, changes...)
		if unsure {
			p.Unsure = append(p.Unsure, s.ID())
		}
	}
	stale, err := x.stale(ctx, regions)
	for _, s := range stale {
		p.Changes = append(p.Changes, Change{Stack: s.ID(), Resource: s.Name, Type: "AWS::CloudFormation::Stack", Action: ActionRemove})
	}
	return p, err
}

func (x *Deployer) planStack(ctx context.Context, s *Stack, outputs map[string]map[string]string) (list []Change, unsure bool, err error) {
	r := x.run(s)
	is, exists, err := r.ready(ctx)
	if err != nil {
		return nil, false, err
	}
	if !exists {
		return additions(s), false, nil
	}
	outputs[s.ID()] = is.outputs
	params, err := x.params(s, outputs, is.params)
	if errors.Is(err, errNotYet) {
		list, err = r.compare(ctx)
		return list, true, err
	}
	if err != nil {
		return nil, false, err
	}
	set, err := r.propose(ctx, true, params)
	if err != nil || set == nil {
		return nil, false, err
	}
	r.discard(ctx, set)
	return set.changes, false, nil
}

// additions are all resources of a stack that is not there.
func additions(s *Stack) (list []Change) {
	for _, id := range slices.Sorted(maps.Keys(s.Template.Resources)) {
		list = append(list, Change{Stack: s.ID(), Resource: id, Type: s.Template.Resources[id].Type, Action: ActionAdd})
	}
	return list
}

// ErrUnexpected reports that a stack would lose something of which the plan that
// was agreed to did not speak.
var ErrUnexpected = errors.New("more would be destroyed than was agreed to")

// Deploy brings all stacks to their templates: each when those that it depends on
// are there, and otherwise side by side. A region that is no longer named loses
// its visitors, its edges and its replica, in that order. agreed is the plan that
// was shown; what destroys data and is not in it ends the deployment before it
// happens.
func (x *Deployer) Deploy(ctx context.Context, agreed Plan) error {
	_, regions, err := x.adopt(ctx) // it may have changed since the plan
	if err != nil {
		return err
	}
	stacks := x.Deployment.Stacks()
	if err := x.ensureClientSecret(ctx); err != nil {
		return err
	}
	regions = union(x.Deployment.regionNames(), regions)
	if err := x.noteRegions(ctx, regions); err != nil {
		return err
	}
	if err := errors.Join(x.ensureMasterKey(ctx), x.callBackReplicas(ctx)); err != nil {
		return err
	}
	stale, err := x.stale(ctx, regions)
	if err != nil {
		return err
	}
	if len(stale) > 0 {
		front := func(s Stack) bool { return s.Kind == kindBase || s.Kind == kindFront }
		if err := x.applyAll(ctx, filter(stacks, front), agreed); err != nil {
			return err
		}
		if err := x.removeAll(ctx, filter(stale, func(s Stack) bool { return s.Kind == kindEdge })); err != nil {
			return err
		}
	}
	if err := x.applyAll(ctx, stacks, agreed); err != nil {
		return err
	}
	if err := x.removeAll(ctx, stale); err != nil {
		return err
	}
	return x.clear(ctx, without(regions, x.Deployment.regionNames()))
}

// clear has nothing stay, in regions whose stacks are gone, of what no stack has made, and
// forgets them.
func (x *Deployer) clear(ctx context.Context, regions []string) error {
	if err := x.dropReplicas(ctx, x.staleReplicas(union(x.Deployment.regionNames(), regions))); err != nil {
		return err
	}
	kept, err := x.dropKeyCopies(ctx, regions)
	if err != nil {
		return err
	}
	return x.noteRegions(ctx, union(x.Deployment.regionNames(), kept))
}

func filter(list []Stack, keep func(Stack) bool) (kept []Stack) {
	for _, s := range list {
		if keep(s) {
			kept = append(kept, s)
		}
	}
	return kept
}

// Before returns what the stage was deployed as, or nil when it is not there.
func (x *Deployer) Before(ctx context.Context) (*Deployment, error) {
	control := x.Deployment.newStack(kindControl, x.Deployment.Home(), "")
	r := x.run(&control)
	is, err := r.look(ctx, control.Name)
	gone := is.stillborn() || is.status == types.StackStatusDeleteInProgress || is.status == types.StackStatusDeleteComplete
	if errors.Is(err, errNoStack) || err == nil && gone {
		return nil, nil //nolint:nilnil // there is none, which is no error
	}
	if err != nil {
		return nil, err
	}
	body, err := r.template(ctx)
	if err != nil {
		return nil, err
	}
	var t struct {
		Resources struct {
			Deployment struct{ Properties struct{ Value string } }
		}
	}
	var before Deployment
	if err = json.Unmarshal(body, &t); err == nil {
		err = json.Unmarshal([]byte(t.Resources.Deployment.Properties.Value), &before)
	}
	if err != nil || before.Validate() != nil {
		return nil, shingle.Errorf(shingle.CodeConflict, "stack %s is not one of this program's: choose another --stage, or remove it", control.ID())
	}
	return &before, nil
}

// applyAll brings stacks to their templates. Those that they depend on and that
// are not among them must be there.
func (x *Deployer) applyAll(ctx context.Context, stacks []Stack, agreed Plan) error {
	var mu sync.Mutex
	outputs := map[string]map[string]string{}
	return inOrder(ctx, stacks, func(s *Stack) []string { return s.After }, func(ctx context.Context, s *Stack) error {
		mu.Lock()
		params, err := x.params(s, outputs, nil)
		mu.Unlock()
		if err != nil {
			return err
		}
		is, err := x.apply(ctx, s, params, agreed)
		mu.Lock()
		outputs[s.ID()] = is
		mu.Unlock()
		return err
	})
}

// inOrder does something with each stack when it is done with those that come
// before it, and otherwise side by side.
func inOrder(ctx context.Context, stacks []Stack, before func(*Stack) []string, do func(context.Context, *Stack) error) error {
	done := map[string]chan struct{}{}
	for i := range stacks {
		done[stacks[i].ID()] = make(chan struct{})
	}
	group, ctx := errgroup.WithContext(ctx)
	for i := range stacks {
		s := &stacks[i]
		group.Go(func() error {
			for _, id := range before(s) {
				if done[id] == nil {
					continue
				}
				select {
				case <-done[id]:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			if err := do(ctx, s); err != nil {
				return err
			}
			close(done[s.ID()])
			return nil
		})
	}
	return group.Wait()
}

// apply brings one stack to its template, and does what belongs behind it.
func (x *Deployer) apply(ctx context.Context, s *Stack, params map[string]string, agreed Plan) (map[string]string, error) {
	r := x.run(s)
	is, exists, err := r.ready(ctx)
	if err != nil {
		return nil, err
	}
	set, err := r.propose(ctx, exists, params)
	if err != nil {
		return nil, err
	}
	if set == nil {
		r.say("unchanged", "")
	} else {
		if err := agreed.cover(set.changes); err != nil {
			r.discard(ctx, set)
			return nil, err
		}
		if is, err = r.execute(ctx, set); err != nil {
			return nil, err
		}
	}
	if bucket := is.outputs["Bucket"]; bucket != "" && x.Artifacts != nil {
		if err := x.Artifacts.upload(ctx, x.Account.s3(s.Region), bucket, func(what string) { r.say("uploads", what) }); err != nil {
			return nil, err
		}
	}
	return is.outputs, nil
}

func (p *Plan) cover(changes []Change) error {
	for _, c := range changes {
		agreed := slices.ContainsFunc(p.Changes, func(o Change) bool { return o.Stack == c.Stack && o.Resource == c.Resource && o.Destroys() })
		if c.Destroys() && !agreed {
			return fmt.Errorf("%w: stack %s: %s; look at it with shingle diff", ErrUnexpected, c.Stack, &c)
		}
	}
	return nil
}

// errNotYet reports a parameter that waits for another stack.
var errNotYet = errors.New("it is not there")

// params are the stack's parameters: from the outputs of other stacks, from the
// artifacts, and without artifacts what they are now. It returns errNotYet when an
// output is not there yet.
func (x *Deployer) params(s *Stack, outputs map[string]map[string]string, now map[string]string) (map[string]string, error) {
	values := map[string]string{}
	for name, from := range s.Inputs {
		v, ok := outputs[from.Stack][from.Output]
		if !ok {
			return nil, fmt.Errorf("stack %s needs the output %s of %s: %w", s.ID(), from.Output, from.Stack, errNotYet)
		}
		values[name] = v
	}
	for name, p := range s.Template.Parameters {
		if _, ok := values[name]; ok || p.Default != "" {
			continue
		}
		v, ok := x.Artifacts.param(name)
		if !ok {
			v, ok = now[name]
		}
		if !ok {
			return nil, shingle.Errorf(shingle.CodeInternal, "nobody knows parameter %s of %s", name, s.ID())
		}
		values[name] = v
	}
	return values, nil
}

func (x *Deployer) run(s *Stack) *stackRun {
	return &stackRun{cloud: x.Account.cloudFormation(s.Region), stack: s, poll: x.poll(), report: x.report}
}

func (x *Deployer) poll() time.Duration { return cmp.Or(x.Poll, defaultPoll) }

// pause waits for the next look.
func (x *Deployer) pause(ctx context.Context) error {
	select {
	case <-time.After(x.poll()):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (x *Deployer) report(e Event) {
	if x.Report == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.Report(e)
}
