package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/smithy-go"
	"github.com/shingle-proxy/shingle"
)

// stackRun brings one stack to a state.
type stackRun struct {
	cloud  *cloudformation.Client
	stack  *Stack
	poll   time.Duration // between two looks
	report Report
}

// state is what CloudFormation knows of a stack.
type state struct {
	id      string // ARN
	status  types.StackStatus
	reason  string
	outputs map[string]string
	params  map[string]string
	tags    map[string]string
}

// errNoStack reports that a stack is not there.
var errNoStack = errors.New("there is no such stack")

// look returns the stack's state, or errNoStack. name is the stack's, or its ARN,
// by which a deleted one is found too.
func (r *stackRun) look(ctx context.Context, name string) (state, error) {
	out, err := r.cloud.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &name})
	if e, ok := errors.AsType[smithy.APIError](err); ok && e.ErrorCode() == "ValidationError" && strings.Contains(e.ErrorMessage(), "does not exist") {
		return state{}, errNoStack
	}
	if err != nil {
		return state{}, fmt.Errorf("look at stack %s: %w", r.stack.ID(), err)
	}
	if len(out.Stacks) == 0 {
		return state{}, errNoStack
	}
	s := out.Stacks[0]
	found := state{
		id: aws.ToString(s.StackId), status: s.StackStatus, reason: aws.ToString(s.StackStatusReason),
		outputs: map[string]string{}, params: map[string]string{}, tags: map[string]string{},
	}
	for _, o := range s.Outputs {
		found.outputs[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	for _, p := range s.Parameters {
		found.params[aws.ToString(p.ParameterKey)] = aws.ToString(p.ParameterValue)
	}
	for _, t := range s.Tags {
		found.tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return found, nil
}

// Kinds of states.

func (s *state) busy() bool {
	return strings.HasSuffix(string(s.status), "_IN_PROGRESS") && s.status != types.StackStatusReviewInProgress
}

// stillborn reports a stack that was never made, or whose making failed: it can only
// be deleted.
func (s *state) stillborn() bool {
	switch s.status {
	case types.StackStatusCreateFailed, types.StackStatusRollbackComplete, types.StackStatusRollbackFailed, types.StackStatusReviewInProgress:
		return true
	}
	return false
}

func (s *state) good() bool {
	switch s.status {
	case types.StackStatusCreateComplete, types.StackStatusUpdateComplete, types.StackStatusImportComplete,
		types.StackStatusUpdateRollbackComplete, types.StackStatusImportRollbackComplete:
		return true
	}
	return false
}

// ready has the stack in a state from which it can be changed: it waits for what
// is under way, clears away what failed to be made, and completes a rollback that
// failed. exists reports whether there is a stack.
func (r *stackRun) ready(ctx context.Context) (s state, exists bool, err error) {
	if s, err = r.look(ctx, r.stack.Name); err == nil && s.busy() {
		r.say("waits for what is under way", string(s.status))
		s, err = r.settle(ctx, s)
	}
	switch {
	case errors.Is(err, errNoStack), err == nil && s.status == types.StackStatusDeleteComplete:
		return state{}, false, nil
	case err != nil:
		return s, false, err
	case s.stillborn():
		r.say("clears away what failed to be made", string(s.status))
		return state{}, false, r.remove(ctx)
	case s.status == types.StackStatusUpdateRollbackFailed:
		if s, err = r.continueRollback(ctx, s); err != nil {
			return s, true, err
		}
	}
	if !s.good() {
		return s, true, shingle.Errorf(shingle.CodeConflict, "stack %s is %s: %s; finish the removal with shingle remove, then deploy again", r.stack.ID(), s.status, s.reason)
	}
	return s, true, nil
}

// settle waits for what is under way.
func (r *stackRun) settle(ctx context.Context, s state) (state, error) {
	f, err := r.follow(ctx, s.id)
	if err != nil {
		return s, err
	}
	return f.wait(ctx)
}

func (r *stackRun) continueRollback(ctx context.Context, s state) (state, error) {
	r.say("continues a rollback that failed", s.reason)
	f, err := r.follow(ctx, s.id)
	if err != nil {
		return s, err
	}
	token := proposalName()
	_, err = r.cloud.ContinueUpdateRollback(ctx, &cloudformation.ContinueUpdateRollbackInput{StackName: &s.id, ClientRequestToken: &token})
	if err != nil && !r.moved(ctx, s) { // refused, because an attempt whose reply was lost has begun it
		return s, fmt.Errorf("continue the rollback of %s: %w", r.stack.ID(), err)
	}
	after, err := f.wait(ctx)
	if err == nil && after.status != types.StackStatusUpdateRollbackComplete {
		err = shingle.Errorf(shingle.CodeConflict, "the rollback of stack %s fails: %s; mend what the reason names, or skip the resource in the CloudFormation console, then deploy again", r.stack.ID(), after.reason)
	}
	return after, err
}

// moved reports whether the stack is in another state than it was.
func (r *stackRun) moved(ctx context.Context, was state) bool {
	is, err := r.look(ctx, was.id)
	return err == nil && is.status != was.status
}

func (r *stackRun) say(status, reason string) {
	r.report(Event{At: time.Now(), Stack: r.stack.ID(), Status: status, Reason: reason})
}

// remove deletes the stack and waits until it is gone. A stack that is not there
// is no error.
func (r *stackRun) remove(ctx context.Context) error {
	s, err := r.look(ctx, r.stack.Name)
	if errors.Is(err, errNoStack) {
		return nil
	}
	if err != nil {
		return err
	}
	f, err := r.follow(ctx, s.id)
	if err != nil {
		return err
	}
	if s.status != types.StackStatusDeleteInProgress {
		if _, err := r.cloud.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: &s.id}); err != nil {
			return fmt.Errorf("delete stack %s: %w", r.stack.ID(), err)
		}
	}
	after, err := f.wait(ctx)
	if err == nil && after.status != types.StackStatusDeleteComplete {
		err = shingle.Errorf(shingle.CodeConflict, "stack %s was not deleted: %s", r.stack.ID(), after.reason)
	}
	if errors.Is(err, errNoStack) {
		return nil
	}
	return err
}
