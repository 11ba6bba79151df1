package aws

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/smithy-go"
	"github.com/shingle-proxy/shingle"
)

// changeSet is what a stack's template would change, as CloudFormation says.
type changeSet struct {
	id      string // ARN: the name alone may come to mean another
	stack   string // ARN
	changes []Change
}

// propose makes a change set, and returns nil when there is nothing to change.
// The stack must be ready; exists tells whether it is there.
func (r *stackRun) propose(ctx context.Context, exists bool, params map[string]string) (*changeSet, error) {
	kind := types.ChangeSetTypeCreate
	if exists {
		kind = types.ChangeSetTypeUpdate
	}
	body := r.stack.Template.JSON()
	name := proposalName()
	out, err := r.cloud.CreateChangeSet(ctx, &cloudformation.CreateChangeSetInput{
		StackName: &r.stack.Name, ChangeSetType: kind, ChangeSetName: &name, ClientToken: &name,
		Description: aws.String("shingle deploy"), TemplateBody: aws.String(string(body)),
		Parameters: parameters(params), Tags: r.tags(),
		Capabilities:            []types.Capability{types.CapabilityCapabilityIam},
		ImportExistingResources: aws.Bool(!exists), // the table of a stage that was removed
	})
	set := &changeSet{}
	_, made := errors.AsType[*types.AlreadyExistsException](err)
	switch {
	case nothing(err):
		return nil, nil
	case made: // by an attempt of ours whose reply was lost: nobody else has the name
		set, err = r.find(ctx, name)
	case err == nil:
		set.id, set.stack = aws.ToString(out.Id), aws.ToString(out.StackId)
	}
	if err != nil {
		return nil, fmt.Errorf("propose changes to stack %s: %w", r.stack.ID(), err)
	}
	return r.proposed(ctx, set)
}

// find returns the change set with that name.
func (r *stackRun) find(ctx context.Context, name string) (*changeSet, error) {
	out, err := r.cloud.DescribeChangeSet(ctx, &cloudformation.DescribeChangeSetInput{StackName: &r.stack.Name, ChangeSetName: &name})
	if err != nil {
		return nil, err
	}
	return &changeSet{id: aws.ToString(out.ChangeSetId), stack: aws.ToString(out.StackId)}, nil
}

// proposed waits until the change set is made.
func (r *stackRun) proposed(ctx context.Context, set *changeSet) (*changeSet, error) {
	for {
		out, err := r.cloud.DescribeChangeSet(ctx, &cloudformation.DescribeChangeSetInput{ChangeSetName: &set.id})
		if err != nil {
			return nil, fmt.Errorf("look at the changes to stack %s: %w", r.stack.ID(), err)
		}
		switch out.Status {
		case types.ChangeSetStatusCreateComplete:
			set.changes = changes(r.stack.ID(), out.Changes)
			return set, r.restOf(ctx, set, out.NextToken)
		case types.ChangeSetStatusFailed:
			reason := aws.ToString(out.StatusReason)
			r.discard(ctx, set)
			if unchanged(reason) {
				return nil, nil
			}
			return nil, shingle.Errorf(shingle.CodeInvalid, "AWS does not take the changes to stack %s: %s", r.stack.ID(), reason)
		}
		select {
		case <-time.After(r.poll):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *stackRun) restOf(ctx context.Context, set *changeSet, token *string) error {
	for token != nil {
		out, err := r.cloud.DescribeChangeSet(ctx, &cloudformation.DescribeChangeSetInput{ChangeSetName: &set.id, NextToken: token})
		if err != nil {
			return fmt.Errorf("look at the changes to stack %s: %w", r.stack.ID(), err)
		}
		set.changes = append(set.changes, changes(r.stack.ID(), out.Changes)...)
		token = out.NextToken
	}
	return nil
}

// discard deletes a change set that is of no use. That it stays is no harm.
func (r *stackRun) discard(ctx context.Context, set *changeSet) {
	_, _ = r.cloud.DeleteChangeSet(ctx, &cloudformation.DeleteChangeSetInput{ChangeSetName: &set.id})
}

// execute carries out a change set and waits for its end.
func (r *stackRun) execute(ctx context.Context, set *changeSet) (state, error) {
	f, err := r.follow(ctx, set.stack)
	if err != nil {
		return state{}, err
	}
	token := proposalName()
	_, err = r.cloud.ExecuteChangeSet(ctx, &cloudformation.ExecuteChangeSetInput{ChangeSetName: &set.id, ClientRequestToken: &token})
	if err != nil && !r.executed(ctx, set, err) {
		return state{}, fmt.Errorf("change stack %s: %w", r.stack.ID(), err)
	}
	s, err := f.wait(ctx)
	switch {
	case err != nil:
		return s, err
	case s.status == types.StackStatusCreateComplete, s.status == types.StackStatusUpdateComplete, s.status == types.StackStatusImportComplete:
		return s, nil
	}
	return s, shingle.Errorf(shingle.CodeConflict, "stack %s is %s: %s", r.stack.ID(), s.status, s.reason)
}

// executed reports whether an execution that was refused was under way already: by an
// attempt whose reply was lost, for nobody else knows the change set.
func (r *stackRun) executed(ctx context.Context, set *changeSet, refused error) bool {
	if _, status := errors.AsType[*types.InvalidChangeSetStatusException](refused); !status {
		return false
	}
	out, err := r.cloud.DescribeChangeSet(ctx, &cloudformation.DescribeChangeSetInput{ChangeSetName: &set.id})
	return err == nil && strings.HasPrefix(string(out.ExecutionStatus), "EXECUTE_")
}

// nothing and unchanged know the shapes in which CloudFormation says that there
// is nothing to change.
func nothing(err error) bool {
	e, ok := errors.AsType[smithy.APIError](err)
	return ok && unchanged(e.ErrorMessage())
}

func unchanged(reason string) bool {
	return strings.Contains(reason, "No updates are to be performed") || strings.Contains(reason, "didn't contain changes")
}

// proposalName tells a change set from all others, also from one of the same second: a
// plan and its deployment. Attempts at one call have the same name and token, so that
// one whose reply was lost is not made twice.
func proposalName() string {
	return "shingle-" + time.Now().UTC().Format("20060102-150405") + "-" + strings.ToLower(rand.Text()[:8])
}

func parameters(values map[string]string) (list []types.Parameter) {
	for _, k := range slices.Sorted(maps.Keys(values)) {
		list = append(list, types.Parameter{ParameterKey: aws.String(k), ParameterValue: aws.String(values[k])})
	}
	return list
}

func (r *stackRun) tags() (list []types.Tag) {
	for _, k := range slices.Sorted(maps.Keys(r.stack.Tags)) {
		list = append(list, types.Tag{Key: aws.String(k), Value: aws.String(r.stack.Tags[k])})
	}
	return list
}
