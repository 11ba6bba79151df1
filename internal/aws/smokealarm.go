package aws

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/schemas"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/smithy-go/transport/http/protocol/awsquery"
)

// cloudWatch speaks the service's older protocol, which whoever plays AWS speaks too.
func (a *Account) cloudWatch(region string) *cloudwatch.Client {
	return cloudwatch.NewFromConfig(a.in(region), func(o *cloudwatch.Options) {
		o.Protocol = awsquery.New(schemas.GraniteServiceVersion20100801)
	})
}

// smokeAlarms looks for each alarm of the templates: that it is there, is silent, and that
// somebody would hear of it.
func (x *Deployer) smokeAlarms(ctx context.Context) (string, error) {
	var wrong reasons
	all, undecided, do := 0, 0, ""
	for _, s := range x.Deployment.Stacks() {
		if s.Kind != kindControl && s.Kind != kindEdge {
			continue
		}
		ids, err := x.resources(ctx, &s, "AWS::CloudWatch::Alarm")
		if err != nil {
			return "", err
		}
		all += len(ids)
		n, err := x.alarmsOf(ctx, &s, ids, &wrong)
		if err != nil {
			return "", err
		}
		undecided += n
		if len(wrong) > 0 && do == "" {
			do = `docs/aws.md, "Alarms", says what each is about; shortly after a deployment, wait ten minutes and try again`
		}
		before := len(wrong)
		if err := x.heardIn(ctx, &s, &wrong); err != nil {
			return "", err
		}
		if len(wrong) > before && do == "" {
			do = "follow the link in the mail that SNS has sent to " + x.Deployment.Email + "; to have it sent again: aws sns subscribe"
		}
	}
	found := plural(all, "alarm", "alarms") + ", silent"
	if undecided > 0 {
		found += fmt.Sprintf(", %d without data yet", undecided)
	}
	return found + "; they go by mail to " + x.Deployment.Email, wrong.fault(do)
}

// alarmsOf returns how many alarms have no data yet.
func (x *Deployer) alarmsOf(ctx context.Context, s *Stack, ids map[string]string, wrong *reasons) (undecided int, err error) {
	var names []string
	for _, id := range ids {
		if id != "" {
			names = append(names, id)
		}
	}
	is := map[string]cwtypes.MetricAlarm{}
	if len(names) > 0 { // without a name it would be all of the account
		out, err := x.Account.cloudWatch(s.Region).DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{AlarmNames: names})
		if err != nil {
			return 0, fmt.Errorf("look at the alarms in %s: %w", s.Region, err)
		}
		for _, a := range out.MetricAlarms {
			is[aws.ToString(a.AlarmName)] = a
		}
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		a, there := is[ids[id]]
		switch {
		case !there:
			wrong.add("%s in %s is not there", id, s.Region)
		case a.StateValue == cwtypes.StateValueAlarm:
			since := ""
			if a.StateUpdatedTimestamp != nil {
				since = " since " + a.StateUpdatedTimestamp.UTC().Format(time.DateTime)
			}
			wrong.add("%s in %s is in ALARM%s: %s", id, s.Region, since, aws.ToString(a.AlarmDescription))
		case a.ActionsEnabled != nil && !*a.ActionsEnabled || len(a.AlarmActions) == 0: // they are on unless it says otherwise
			wrong.add("%s in %s tells nobody: its actions are off", id, s.Region)
		case a.StateValue == cwtypes.StateValueInsufficientData:
			undecided++
		}
	}
	return undecided, nil
}

// heardIn looks whether somebody has confirmed to want the alarms of a stack.
func (x *Deployer) heardIn(ctx context.Context, s *Stack, wrong *reasons) error {
	ids, err := x.resources(ctx, s, "AWS::SNS::Topic")
	if err != nil {
		return err
	}
	for id, arn := range ids {
		if arn == "" {
			wrong.add("the topic %s in %s is not there", id, s.Region)
			continue
		}
		out, err := sns.NewFromConfig(x.Account.in(s.Region)).GetTopicAttributes(ctx, &sns.GetTopicAttributesInput{TopicArn: &arn})
		if err != nil {
			return fmt.Errorf("look at the topic of the alarms in %s: %w", s.Region, err)
		}
		if n := out.Attributes["SubscriptionsConfirmed"]; n == "" || n == "0" {
			wrong.add("nobody hears the alarms of %s in %s: the subscription is not confirmed", strings.TrimPrefix(s.Name, "shingle-"+x.Deployment.Stage+"-"), s.Region)
		}
	}
	return nil
}
