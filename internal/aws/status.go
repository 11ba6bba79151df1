package aws

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
)

// Status is how a stage is.
type Status struct {
	Stacks []StackStatus `json:"stacks"`
	Edges  []EdgeStatus  `json:"edges"`
}

// StackStatus is how a stack is, in CloudFormation's words; "none" when it is not
// there.
type StackStatus struct {
	Stack  string `json:"stack"`
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
}

// EdgeStatus is how an instance is, in the words of Auto Scaling.
type EdgeStatus struct {
	Region   string `json:"region"`
	Instance string `json:"instance"`
	State    string `json:"state"`  // such as InService
	Health   string `json:"health"` // Healthy or Unhealthy
	Binary   string `json:"binary"` // SHA-256 of what new instances run
	Current  bool   `json:"current"`
}

// Status looks at all stacks and instances, also those that a run which was cut short has left.
func (x *Deployer) Status(ctx context.Context) (Status, error) {
	var all Status
	regions, err := x.Regions(ctx)
	if err != nil {
		return all, err
	}
	stale, err := x.stale(ctx, regions)
	if err != nil {
		return all, err
	}
	for _, s := range append(x.Deployment.Stacks(), stale...) {
		is, err := x.run(&s).look(ctx, s.Name)
		switch {
		case errors.Is(err, errNoStack):
			all.Stacks = append(all.Stacks, StackStatus{Stack: s.ID(), Status: "none"})
			continue
		case err != nil:
			return all, err
		}
		all.Stacks = append(all.Stacks, StackStatus{Stack: s.ID(), Status: string(is.status), Reason: is.reason})
		if s.Kind != kindEdge {
			continue
		}
		edges, err := x.edgesIn(ctx, s.Region, is.params["BinarySHA256"])
		if err != nil {
			return all, err
		}
		all.Edges = append(all.Edges, edges...)
	}
	return all, nil
}

func (x *Deployer) edgesIn(ctx context.Context, region, binary string) (list []EdgeStatus, err error) {
	out, err := autoscaling.NewFromConfig(x.Account.in(region)).DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{
		AutoScalingGroupNames: []string{x.Deployment.name("edges")},
	})
	if err != nil {
		return nil, fmt.Errorf("look at the edges in %s: %w", region, err)
	}
	for _, g := range out.AutoScalingGroups {
		newest := ""
		if g.LaunchTemplate != nil {
			newest = aws.ToString(g.LaunchTemplate.Version)
		}
		for _, i := range g.Instances {
			e := EdgeStatus{Region: region, Instance: aws.ToString(i.InstanceId), State: string(i.LifecycleState), Health: aws.ToString(i.HealthStatus), Binary: binary}
			e.Current = i.LaunchTemplate != nil && aws.ToString(i.LaunchTemplate.Version) == newest
			list = append(list, e)
		}
	}
	return list, nil
}
