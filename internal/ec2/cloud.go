package ec2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logstypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/globalaccelerator"
	gatypes "github.com/aws/aws-sdk-go-v2/service/globalaccelerator/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/shingle-proxy/shingle/internal/awsconfig"
)

// acceleratorRegion is where the API of Global Accelerator is.
const acceleratorRegion = "us-west-2"

// Config says of what the instance is a part.
type Config struct {
	Group string // name of the Auto Scaling group
	Stack string // ARN of the stack that made it as the resource Edges
	// EndpointGroups are the ARNs of the accelerator's groups for this region.
	// Without them the instance takes one of the addresses that are tagged with
	// Stage.
	EndpointGroups []string
	Stage          string
	// Log is the log group that hears once a minute how the instance is; empty: none.
	Log string

	// Endpoint and MetadataEndpoint, for tests, are URLs in place of AWS's.
	Endpoint, MetadataEndpoint string
}

// The names that templates and instances agree on.
const (
	groupResource = "Edges"
	leaveHook     = "drain"
	addressTag    = "shingle:edges"
)

// account is AWS by its APIs.
type account struct {
	cfg         Config
	instance    string // ID
	metadata    *imds.Client
	scaling     *autoscaling.Client
	stacks      *cloudformation.Client
	addresses   *addresses
	accelerator *globalaccelerator.Client
	logs        *cloudwatchlogs.Client
}

// Open asks the instance's metadata who it is. It fails on a machine that is no
// instance.
func Open(ctx context.Context, cfg Config) (Cloud, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	metadata := imds.New(imds.Options{Endpoint: cfg.MetadataEndpoint})
	who, err := metadata.GetInstanceIdentityDocument(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("read the instance's metadata: %w", err)
	}
	loaded, err := awsconfig.Load(ctx, config.WithRegion(who.Region), config.WithLogger(logging.Nop{}),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(10*time.Second)))
	if err != nil {
		return nil, err
	}
	if cfg.Endpoint != "" {
		loaded.BaseEndpoint = &cfg.Endpoint
	}
	return &account{
		logs: cloudwatchlogs.NewFromConfig(loaded),
		cfg:  cfg, instance: who.InstanceID, metadata: metadata, scaling: autoscaling.NewFromConfig(loaded),
		stacks: cloudformation.NewFromConfig(loaded), addresses: newAddresses(loaded, cfg.Endpoint),
		accelerator: globalaccelerator.NewFromConfig(loaded, func(o *globalaccelerator.Options) { o.Region = acceleratorRegion }),
	}, nil
}

// Leaving implements [Cloud].
func (a *account) Leaving(ctx context.Context) (bool, error) {
	out, err := a.metadata.GetMetadata(ctx, &imds.GetMetadataInput{Path: "autoscaling/target-lifecycle-state"})
	if status, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && status.HTTPStatusCode() == http.StatusNotFound {
		return false, nil // of no group
	}
	if err != nil {
		return false, err
	}
	defer out.Content.Close()
	state, err := io.ReadAll(io.LimitReader(out.Content, 64))
	return strings.TrimSpace(string(state)) == "Terminated", err
}

// Signal implements [Cloud].
func (a *account) Signal(ctx context.Context) error {
	_, err := a.stacks.SignalResource(ctx, &cloudformation.SignalResourceInput{
		StackName: &a.cfg.Stack, LogicalResourceId: aws.String(groupResource), UniqueId: &a.instance, Status: cfntypes.ResourceSignalStatusSuccess,
	})
	if err != nil && strings.Contains(err.Error(), "ValidationError") {
		return nil // nobody waits for it: the instance replaces one that died
	}
	return err
}

// Unfit implements [Cloud].
func (a *account) Unfit(ctx context.Context) error {
	_, err := a.scaling.SetInstanceHealth(ctx, &autoscaling.SetInstanceHealthInput{
		InstanceId: &a.instance, HealthStatus: aws.String("Unhealthy"), ShouldRespectGracePeriod: aws.Bool(false),
	})
	return err
}

// LetGo implements [Cloud].
func (a *account) LetGo(ctx context.Context) error {
	_, err := a.scaling.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{
		AutoScalingGroupName: &a.cfg.Group, LifecycleHookName: aws.String(leaveHook), InstanceId: &a.instance, LifecycleActionResult: aws.String("CONTINUE"),
	})
	if e, ok := errors.AsType[smithy.APIError](err); ok && e.ErrorCode() == "ValidationError" {
		return nil // nobody waits for it any more: it was let go by an attempt whose reply was lost, or the time is over
	}
	return err
}

// Enter implements [Cloud].
func (a *account) Enter(ctx context.Context) error {
	if len(a.cfg.EndpointGroups) == 0 {
		return a.takeAddress(ctx)
	}
	for _, group := range a.cfg.EndpointGroups {
		if err := a.addEndpoint(ctx, group); err != nil {
			return err
		}
	}
	return nil
}

// Leave implements [Cloud].
func (a *account) Leave(ctx context.Context) error {
	if len(a.cfg.EndpointGroups) == 0 {
		return a.giveAddress(ctx)
	}
	for _, group := range a.cfg.EndpointGroups {
		there, err := a.isEndpoint(ctx, group)
		if err == nil && there {
			_, err = a.accelerator.RemoveEndpoints(ctx, &globalaccelerator.RemoveEndpointsInput{
				EndpointGroupArn: aws.String(group), EndpointIdentifiers: []gatypes.EndpointIdentifier{{EndpointId: &a.instance}},
			})
			if err != nil && a.isNow(ctx, group, false) { // by an attempt whose reply was lost
				err = nil
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *account) isEndpoint(ctx context.Context, group string) (bool, error) {
	out, err := a.accelerator.DescribeEndpointGroup(ctx, &globalaccelerator.DescribeEndpointGroupInput{EndpointGroupArn: &group})
	if err != nil {
		return false, err
	}
	for _, e := range out.EndpointGroup.EndpointDescriptions {
		if aws.ToString(e.EndpointId) == a.instance {
			return true, nil
		}
	}
	return false, nil
}

func (a *account) addEndpoint(ctx context.Context, group string) error {
	there, err := a.isEndpoint(ctx, group)
	if err != nil || there {
		return err
	}
	_, err = a.accelerator.AddEndpoints(ctx, &globalaccelerator.AddEndpointsInput{
		EndpointGroupArn: &group,
		EndpointConfigurations: []gatypes.EndpointConfiguration{{
			EndpointId: &a.instance, Weight: aws.Int32(128), ClientIPPreservationEnabled: aws.Bool(true),
		}},
	})
	if err != nil && a.isNow(ctx, group, true) { // by an attempt whose reply was lost
		return nil
	}
	return err
}

// isNow reports whether the instance is, or is not, an endpoint by now, whatever a call has
// said: of one that is repeated AWS does not tell what it says.
func (a *account) isNow(ctx context.Context, group string, wanted bool) bool {
	there, err := a.isEndpoint(ctx, group)
	return err == nil && there == wanted
}

// takeAddress takes one of the stage's that is free. Of two instances that want the
// same, AWS gives it to one.
func (a *account) takeAddress(ctx context.Context) error {
	list, err := a.addresses.tagged(ctx, addressTag, a.cfg.Stage)
	if err != nil {
		return err
	}
	free := ""
	for _, each := range list {
		switch {
		case each.InstanceID == a.instance:
			return nil
		case each.AssociationID == "":
			free = each.AllocationID
		}
	}
	if free == "" {
		return ErrFull
	}
	return a.addresses.associate(ctx, free, a.instance)
}

func (a *account) giveAddress(ctx context.Context) error {
	list, err := a.addresses.tagged(ctx, addressTag, a.cfg.Stage)
	for _, each := range list {
		if err == nil && each.InstanceID == a.instance {
			err = a.addresses.disassociate(ctx, each.AssociationID)
		}
	}
	return err
}

// Record implements [Cloud]. The instance's stream of the log is made when there is
// none.
func (a *account) Record(ctx context.Context, at time.Time, line []byte) error {
	in := &cloudwatchlogs.PutLogEventsInput{
		LogGroupName: &a.cfg.Log, LogStreamName: &a.instance,
		LogEvents: []logstypes.InputLogEvent{{Timestamp: aws.Int64(at.UnixMilli()), Message: aws.String(string(line))}},
	}
	_, err := a.logs.PutLogEvents(ctx, in)
	if _, missing := errors.AsType[*logstypes.ResourceNotFoundException](err); !missing {
		return err
	}
	_, err = a.logs.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: &a.cfg.Log, LogStreamName: &a.instance})
	_, made := errors.AsType[*logstypes.ResourceAlreadyExistsException](err)
	if err == nil || made {
		_, err = a.logs.PutLogEvents(ctx, in)
	}
	return err
}
