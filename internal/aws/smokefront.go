package aws

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/globalaccelerator"
	gatypes "github.com/aws/aws-sdk-go-v2/service/globalaccelerator/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
)

// acceleratorRegion is where the API of Global Accelerator is.
const acceleratorRegion = "us-west-2"

const (
	enterHint = "an edge that serves is entered anew within 5 minutes, by itself: wait, and try again; then see shingle edges, and journalctl -u shingle on the instance"
	// quorum is how many of Route 53's checkers must find an address healthy for it to be
	// answered: 18 %.
	quorum = 0.18
)

// smokeHealthChecks looks at what decides which addresses DNS answers with.
func (x *Deployer) smokeHealthChecks(ctx context.Context) (string, error) {
	front := x.Deployment.front()
	ids, err := x.resources(ctx, &front, "AWS::Route53::HealthCheck")
	if err != nil {
		return "", err
	}
	var wrong reasons
	client := route53.NewFromConfig(x.Account.in(x.Deployment.Home()))
	for _, name := range slices.Sorted(maps.Keys(ids)) {
		if ids[name] == "" {
			wrong.add("%s is not there", name)
			continue
		}
		id := ids[name]
		out, err := client.GetHealthCheckStatus(ctx, &route53.GetHealthCheckStatusInput{HealthCheckId: &id})
		if err != nil {
			return "", fmt.Errorf("look at health check %s: %w", name, err)
		}
		well, why := 0, ""
		for _, o := range out.HealthCheckObservations {
			switch {
			case o.StatusReport == nil:
			case strings.HasPrefix(aws.ToString(o.StatusReport.Status), "Success"):
				well++
			case why == "":
				why = aws.ToString(o.StatusReport.Status)
			}
		}
		if n := len(out.HealthCheckObservations); n == 0 || float64(well) <= quorum*float64(n) {
			wrong.add("%s: %d of %d of Route 53's checkers find it healthy%s", name, well, n, because(why))
		}
	}
	return plural(len(ids), "address", "addresses") + ", healthy", wrong.fault(enterHint)
}

// smokeAccelerator looks at the accelerator, and for as many healthy endpoints as there
// are edges, for each protocol.
func (x *Deployer) smokeAccelerator(ctx context.Context) (string, error) {
	d, front := x.Deployment, x.Deployment.front()
	is, err := x.run(&front).look(ctx, front.Name)
	if err != nil {
		return "", err
	}
	client := globalaccelerator.NewFromConfig(x.Account.in(acceleratorRegion))
	var wrong reasons
	do, all := enterHint, 0
	for _, r := range d.Regions {
		for _, protocol := range protocols {
			n, why, err := endpointsOf(ctx, client, is.outputs[groupID(protocol, r.Name)])
			if err != nil {
				return "", fmt.Errorf("look at the endpoints of %s for %s: %w", r.Name, protocol, err)
			}
			if all += n; n < r.Edges {
				wrong.add("in %s %d of %d endpoints for %s are healthy%s", r.Name, n, r.Edges, protocol, because(why))
			}
		}
	}
	arn, _, _ := strings.Cut(is.outputs[groupID(protocols[0], d.Home())], "/listener/")
	out, err := client.DescribeAccelerator(ctx, &globalaccelerator.DescribeAcceleratorInput{AcceleratorArn: &arn})
	if err != nil {
		return "", fmt.Errorf("look at the accelerator: %w", err)
	}
	switch a := out.Accelerator; {
	case !aws.ToBool(a.Enabled):
		wrong.add("the accelerator is disabled")
		do = "enable it again: in the console, or by aws globalaccelerator update-accelerator --enabled"
	case a.Status != gatypes.AcceleratorStatusDeployed:
		wrong.add("the accelerator is %s", a.Status)
	}
	return fmt.Sprintf("enabled and deployed, %s healthy", plural(all, "endpoint", "endpoints")), wrong.fault(do)
}

// endpointsOf returns how many endpoints of a group are healthy, and what is said of
// others.
func endpointsOf(ctx context.Context, client *globalaccelerator.Client, group string) (healthy int, why string, err error) {
	out, err := client.DescribeEndpointGroup(ctx, &globalaccelerator.DescribeEndpointGroupInput{EndpointGroupArn: &group})
	if err != nil {
		return 0, "", err
	}
	var others []string
	for _, e := range out.EndpointGroup.EndpointDescriptions {
		if e.HealthState == gatypes.HealthStateHealthy {
			healthy++
			continue
		}
		others = append(others, strings.TrimSpace(fmt.Sprintf("%s is %s %s", aws.ToString(e.EndpointId), e.HealthState, aws.ToString(e.HealthReason))))
	}
	if len(out.EndpointGroup.EndpointDescriptions) == 0 {
		others = []string{"none has entered"}
	}
	return healthy, strings.Join(others, ", "), nil
}
