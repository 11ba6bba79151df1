package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/smithy-go"
	"github.com/shingle-proxy/shingle"
	"golang.org/x/sync/errgroup"
)

// Bounds in time of the steps.
const (
	lookTime  = time.Minute
	driftTime = 5 * time.Minute // of all stacks, side by side
)

// Smoke returns the steps that look at the stage as AWS tells of it. They change nothing.
func (x *Deployer) Smoke() []shingle.SmokeStep {
	steps := []shingle.SmokeStep{
		{Name: "stacks", What: "the stacks, by CloudFormation", Do: x.smokeStacks},
		{Name: "instances", What: "the instances, by their Auto Scaling groups", Do: x.smokeInstances},
		{Name: "front", What: "the health checks of the latency records", Do: x.smokeHealthChecks},
		{Name: "table", What: "the table, its protection and its recovery", Do: x.smokeTable},
		{Name: "master-key", What: "the master key, in each region", Do: x.smokeMasterKey},
		{Name: "alarms", What: "the alarms, and who hears of them", Do: x.smokeAlarms},
	}
	if x.Deployment.Front == FrontAccelerator {
		steps[2].What, steps[2].Do = "the accelerator and its endpoints", x.smokeAccelerator
	}
	for i := range steps {
		steps[i].Within = lookTime
		steps[i].Do = explained(steps[i].Do)
	}
	return steps
}

// SmokeDrift returns the step that looks for what was changed without CloudFormation. It
// may take minutes.
func (x *Deployer) SmokeDrift() shingle.SmokeStep {
	return shingle.SmokeStep{
		Name: "drift", What: "what was changed by others than CloudFormation", Within: driftTime, Needs: []string{"stacks"}, Do: explained(x.smokeDrift),
	}
}

// explained puts what AWS refuses into few words, and adds what to do about it.
func explained(do func(context.Context) (string, error)) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		found, err := do(ctx)
		e, refused := errors.AsType[smithy.APIError](err)
		if !refused {
			return found, err
		}
		doing, _, _ := strings.Cut(err.Error(), ": operation error ")
		fault := &shingle.SmokeFault{Reason: fmt.Sprintf("%s: AWS answers %s: %s", doing, e.ErrorCode(), e.ErrorMessage()), Do: "try again in a minute"}
		if slices.Contains([]string{"AccessDenied", "AccessDeniedException", "AuthorizationErrorException", "AuthorizationError", "UnauthorizedOperation"}, e.ErrorCode()) {
			fault.Do = "allow these credentials to look: shingle deploy --print DIR writes deployer-policy.json, which has all that is needed"
		}
		return found, fault
	}
}

// reasons are what is wrong, several of a kind.
type reasons []string

func (r *reasons) add(format string, args ...any) { *r = append(*r, fmt.Sprintf(format, args...)) }

// maxReasons are as many as people read.
const maxReasons = 5

// fault returns nil when nothing is wrong.
func (r reasons) fault(do string) error {
	if len(r) == 0 {
		return nil
	}
	if more := len(r) - maxReasons; more > 0 {
		r = append(r[:maxReasons:maxReasons], fmt.Sprintf("and %d more", more))
	}
	return &shingle.SmokeFault{Reason: strings.Join(r, "; "), Do: do}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func (x *Deployer) smokeStacks(ctx context.Context) (string, error) {
	var wrong reasons
	stacks := x.Deployment.Stacks()
	do := "shingle deploy: it goes on where it was"
	for _, s := range stacks {
		is, err := x.run(&s).look(ctx, s.Name)
		switch {
		case errors.Is(err, errNoStack):
			wrong.add("%s is not there", s.ID())
		case err != nil:
			return "", err
		case is.busy():
			wrong.add("%s is %s", s.ID(), is.status)
			do = "wait until the deployment that is under way has ended, and try again"
		case is.status == types.StackStatusUpdateRollbackComplete || is.status == types.StackStatusImportRollbackComplete:
			wrong.add("%s is %s: it works as before, the last deployment was taken back%s", s.ID(), is.status, because(is.reason))
		case !is.good():
			wrong.add("%s is %s%s", s.ID(), is.status, because(is.reason))
		}
	}
	return plural(len(stacks), "stack", "stacks") + ", complete", wrong.fault(do)
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

func (x *Deployer) smokeInstances(ctx context.Context) (string, error) {
	var wrong reasons
	all := 0
	for _, r := range x.Deployment.Regions {
		edges, err := x.edgesIn(ctx, r.Name, "")
		if err != nil {
			return "", err
		}
		serving := 0
		var others []string
		for _, e := range edges {
			switch {
			case e.State != "InService" || e.Health != "Healthy":
				others = append(others, e.Instance+" is "+e.State+" and "+e.Health)
			case !e.Current:
				others = append(others, e.Instance+" runs an older version")
			default:
				serving++
			}
		}
		if all += serving; serving < r.Edges {
			others = append([]string{fmt.Sprintf("in %s %d of %d are in service, healthy and of this version", r.Name, serving, r.Edges)}, others...)
			wrong.add("%s", strings.Join(others, ", "))
		}
	}
	return plural(all, "instance", "instances") + " in service, healthy, of this version",
		wrong.fault("wait five minutes: a group replaces what does not serve. Then look why it does not: aws ssm start-session --target INSTANCE, journalctl -u shingle; or run shingle deploy again")
}

// resources returns the physical IDs of a stack's resources of a type, by their logical
// ones. What the template has and the stack has not is there with an empty one.
func (x *Deployer) resources(ctx context.Context, s *Stack, kind string) (map[string]string, error) {
	ids := map[string]string{}
	for id, r := range s.Template.Resources {
		if r.Type == kind {
			ids[id] = ""
		}
	}
	pages := cloudformation.NewListStackResourcesPaginator(x.Account.cloudFormation(s.Region), &cloudformation.ListStackResourcesInput{StackName: &s.Name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("look at the resources of %s: %w", s.ID(), err)
		}
		for _, r := range page.StackResourceSummaries {
			if _, ours := ids[aws.ToString(r.LogicalResourceId)]; ours && r.ResourceStatus != types.ResourceStatusDeleteComplete {
				ids[aws.ToString(r.LogicalResourceId)] = aws.ToString(r.PhysicalResourceId)
			}
		}
	}
	return ids, nil
}

// smokeDrift has CloudFormation compare each stack with what there is.
func (x *Deployer) smokeDrift(ctx context.Context) (string, error) {
	stacks := x.Deployment.Stacks()
	found := make([]reasons, len(stacks))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(5)
	for i := range stacks {
		group.Go(func() (err error) {
			found[i], err = x.driftOf(ctx, &stacks[i])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	return plural(len(stacks), "stack", "stacks") + ", as they were deployed",
		reasons(slices.Concat(found...)).fault("undo it where it was done: shingle deploy leaves alone what its templates have not changed")
}

func (x *Deployer) driftOf(ctx context.Context, s *Stack) (wrong reasons, err error) {
	cloud := x.Account.cloudFormation(s.Region)
	begun, err := cloud.DetectStackDrift(ctx, &cloudformation.DetectStackDriftInput{StackName: &s.Name})
	for err != nil && strings.Contains(err.Error(), "already in progress") { // of another, or of this call, whose reply was lost
		if err := x.pause(ctx); err != nil {
			return nil, err
		}
		begun, err = cloud.DetectStackDrift(ctx, &cloudformation.DetectStackDriftInput{StackName: &s.Name})
	}
	if err != nil {
		return nil, fmt.Errorf("have %s looked at for drift: %w", s.ID(), err)
	}
	for {
		is, err := cloud.DescribeStackDriftDetectionStatus(ctx, &cloudformation.DescribeStackDriftDetectionStatusInput{StackDriftDetectionId: begun.StackDriftDetectionId})
		switch {
		case err != nil:
			return nil, fmt.Errorf("look at the drift of %s: %w", s.ID(), err)
		case is.DetectionStatus == types.StackDriftDetectionStatusDetectionFailed && is.StackDriftStatus != types.StackDriftStatusDrifted:
			wrong.add("%s could not be compared%s", s.ID(), because(aws.ToString(is.DetectionStatusReason)))
			return wrong, nil
		case is.DetectionStatus == types.StackDriftDetectionStatusDetectionInProgress:
		case is.StackDriftStatus == types.StackDriftStatusDrifted:
			return x.drifted(ctx, cloud, s)
		default:
			return nil, nil
		}
		if err := x.pause(ctx); err != nil {
			return nil, err
		}
	}
}

// drifted says what differs.
func (x *Deployer) drifted(ctx context.Context, cloud *cloudformation.Client, s *Stack) (wrong reasons, err error) {
	out, err := cloud.DescribeStackResourceDrifts(ctx, &cloudformation.DescribeStackResourceDriftsInput{
		StackName: &s.Name, StackResourceDriftStatusFilters: []types.StackResourceDriftStatus{types.StackResourceDriftStatusModified, types.StackResourceDriftStatusDeleted},
	})
	if err != nil {
		return nil, fmt.Errorf("look at the drift of %s: %w", s.ID(), err)
	}
	for _, r := range out.StackResourceDrifts {
		what := fmt.Sprintf("%s: %s (%s)", s.ID(), aws.ToString(r.LogicalResourceId), aws.ToString(r.ResourceType))
		if r.StackResourceDriftStatus == types.StackResourceDriftStatusDeleted {
			wrong.add("%s was deleted", what)
			continue
		}
		var changes []string
		for _, p := range r.PropertyDifferences {
			changes = append(changes, fmt.Sprintf("%s is %s, not %s", aws.ToString(p.PropertyPath), short(p.ActualValue), short(p.ExpectedValue)))
		}
		wrong.add("%s was changed: %s", what, strings.Join(changes, ", "))
	}
	if len(wrong) == 0 {
		wrong.add("%s differs from its template", s.ID())
	}
	return wrong, nil
}

// short is a value as far as people read it.
func short(value *string) string {
	const most = 80
	v := aws.ToString(value)
	if len(v) > most {
		v = v[:most] + "…"
	}
	if v == "" {
		return "not set"
	}
	return v
}
