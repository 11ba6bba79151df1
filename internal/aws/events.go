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
)

// follower reads the events of a stack that come after those that were there when
// it began, each once and in their order.
type follower struct {
	run   *stackRun
	id    string // ARN, by which the events of a deleted stack are found too
	seen  map[string]bool
	cause string // why the first resource failed that failed by itself
}

// follow begins to follow. It is called before the operation whose events are of
// interest.
func (r *stackRun) follow(ctx context.Context, id string) (*follower, error) {
	f := &follower{run: r, id: id, seen: map[string]bool{}}
	first, err := f.page(ctx, nil)
	if err != nil {
		return nil, err
	}
	for _, e := range first.StackEvents {
		f.seen[aws.ToString(e.EventId)] = true
	}
	return f, nil
}

// wait reports events until nothing is under way, and returns the stack's state.
// When it ended badly, the reason is that of the first resource that failed.
func (f *follower) wait(ctx context.Context) (state, error) {
	for {
		s, err := f.run.look(ctx, f.id)
		if err != nil {
			return s, err
		}
		if err := f.read(ctx); err != nil {
			return s, err
		}
		if !s.busy() {
			if f.cause != "" {
				s.reason = f.cause
			}
			return s, nil
		}
		select {
		case <-time.After(f.run.poll):
		case <-ctx.Done():
			return s, ctx.Err()
		}
	}
}

// read reports what is new.
func (f *follower) read(ctx context.Context) error {
	var fresh []types.StackEvent
	for token, more := (*string)(nil), true; more; {
		page, err := f.page(ctx, token)
		if err != nil {
			return err
		}
		more = page.NextToken != nil
		for _, e := range page.StackEvents { // the newest first
			if id := aws.ToString(e.EventId); f.seen[id] {
				more = false
			} else {
				f.seen[id] = true
				fresh = append(fresh, e)
			}
		}
		token = page.NextToken
	}
	for _, e := range slices.Backward(fresh) {
		f.take(e)
	}
	return nil
}

func (f *follower) page(ctx context.Context, token *string) (*cloudformation.DescribeStackEventsOutput, error) {
	out, err := f.run.cloud.DescribeStackEvents(ctx, &cloudformation.DescribeStackEventsInput{StackName: &f.id, NextToken: token})
	if e, ok := errors.AsType[smithy.APIError](err); ok && e.ErrorCode() == "ValidationError" && strings.Contains(e.ErrorMessage(), "does not exist") {
		return &cloudformation.DescribeStackEventsOutput{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read events of stack %s: %w", f.run.stack.ID(), err)
	}
	return out, nil
}

func (f *follower) take(e types.StackEvent) {
	event := Event{
		At: aws.ToTime(e.Timestamp), Stack: f.run.stack.ID(), Resource: aws.ToString(e.LogicalResourceId),
		Type: aws.ToString(e.ResourceType), Status: string(e.ResourceStatus), Reason: aws.ToString(e.ResourceStatusReason),
	}
	if aws.ToString(e.PhysicalResourceId) == aws.ToString(e.StackId) {
		event.Resource = "" // the stack itself
	}
	if f.cause == "" && event.Resource != "" && strings.HasSuffix(event.Status, "_FAILED") && !cancelled(event.Reason) {
		f.cause = fmt.Sprintf("%s (%s): %s", event.Resource, event.Type, event.Reason)
	}
	f.run.report(event)
}

// cancelled reports a resource that failed only because another did.
func cancelled(reason string) bool {
	return strings.Contains(reason, "cancelled") || strings.Contains(reason, "canceled")
}
