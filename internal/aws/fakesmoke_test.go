package aws

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// fakeFaults are what is wrong of what [Deployer.Smoke] looks at; none: all is well.
type fakeFaults struct {
	denied        string              // the action that is not allowed
	gone          map[string]bool     // stack/resource
	detecting     int                 // calls until the detection of somebody else has ended
	drift         map[string]string   // stack: MODIFIED, DELETED or FAILED
	alarms        map[string]string   // the physical ID: its state, or off
	unconfirmed   string              // region
	unrecoverable string              // region
	checks        map[string]int      // of a health check: how many of 16 checkers find it healthy
	endpoints     map[string][]string // of a group of the accelerator, their states
	accelerator   string              // its status, or "disabled"
	instances     map[string][]string // region: STATE HEALTH VERSION
}

// fakeRecords are the CNAME records of a zone.
type fakeRecords struct {
	records map[string]string
	pending int // looks until the last change is at all name servers
}

// serveFaults answers a call of the Query protocol, and reports whether it knows it.
func (f *fakeCloud) serveFaults(w http.ResponseWriter, region string, q url.Values) bool {
	switch q.Get("Action") {
	case "DescribeAutoScalingGroups":
		f.describeGroups(w, region)
	case "ListStackResources":
		f.listResources(w, region, q)
	case "DetectStackDrift":
		if f.find(region, q.Get("StackName")) == nil {
			fault(w, "ValidationError", "Stack ["+q.Get("StackName")+"] does not exist")
			return true
		}
		if f.faults.detecting > 0 {
			f.faults.detecting--
			fault(w, "ValidationError", "Drift detection is already in progress for stack ["+q.Get("StackName")+"]")
			return true
		}
		answer(w, "DetectStackDrift", "<StackDriftDetectionId>"+q.Get("StackName")+"</StackDriftDetectionId>")
	case "DescribeStackDriftDetectionStatus":
		f.describeDetection(w, q.Get("StackDriftDetectionId"))
	case "DescribeStackResourceDrifts":
		answer(w, "DescribeStackResourceDrifts", fmt.Sprintf("<StackResourceDrifts><member><LogicalResourceId>Firewall</LogicalResourceId><ResourceType>AWS::EC2::SecurityGroup</ResourceType><StackResourceDriftStatus>%s</StackResourceDriftStatus><PropertyDifferences><member><PropertyPath>/SecurityGroupIngress/0/CidrIp</PropertyPath><ExpectedValue>0.0.0.0/0</ExpectedValue><ActualValue>10.0.0.0/8</ActualValue></member></PropertyDifferences></member></StackResourceDrifts>", f.faults.drift[q.Get("StackName")]))
	case "DescribeAlarms":
		f.describeAlarms(w, q)
	case "GetTopicAttributes":
		n := 1
		if f.faults.unconfirmed == region {
			n = 0
		}
		answer(w, "GetTopicAttributes", fmt.Sprintf("<Attributes><entry><key>SubscriptionsConfirmed</key><value>%d</value></entry></Attributes>", n))
	default:
		return false
	}
	return true
}

// describeGroups has as many instances as the region's stack wants.
func (f *fakeCloud) describeGroups(w http.ResponseWriter, region string) {
	s := f.find(region, "shingle-prd-edge")
	if s == nil {
		answer(w, "DescribeAutoScalingGroups", "")
		return
	}
	list, known := f.faults.instances[region]
	if !known {
		var n int
		_, _ = fmt.Sscan(fmt.Sprint(s.template.Resources["Edges"].Properties["DesiredCapacity"]), &n)
		for range n {
			list = append(list, "InService Healthy 2")
		}
	}
	var b strings.Builder
	b.WriteString("<AutoScalingGroups><member><LaunchTemplate><Version>2</Version></LaunchTemplate><Instances>")
	for i, each := range list {
		is := strings.Fields(each)
		fmt.Fprintf(&b, "<member><InstanceId>i-%d</InstanceId><LifecycleState>%s</LifecycleState><HealthStatus>%s</HealthStatus><LaunchTemplate><Version>%s</Version></LaunchTemplate></member>", i, is[0], is[1], is[2])
	}
	answer(w, "DescribeAutoScalingGroups", b.String()+"</Instances></member></AutoScalingGroups>")
}

// listResources has one resource a page.
func (f *fakeCloud) listResources(w http.ResponseWriter, region string, q url.Values) {
	s := f.find(region, q.Get("StackName"))
	if s == nil {
		fault(w, "ValidationError", "Stack with id "+q.Get("StackName")+" does not exist")
		return
	}
	var b strings.Builder
	b.WriteString("<StackResourceSummaries>")
	for id, r := range s.template.Resources {
		if !f.faults.gone[s.name+"/"+id] {
			fmt.Fprintf(&b, "<member><LogicalResourceId>%s</LogicalResourceId><PhysicalResourceId>%s-%s</PhysicalResourceId><ResourceType>%s</ResourceType><ResourceStatus>CREATE_COMPLETE</ResourceStatus></member>", id, id, region, r.Type)
		}
	}
	answer(w, "ListStackResources", b.String()+"</StackResourceSummaries>")
}

// describeDetection ends a detection at the second look.
func (f *fakeCloud) describeDetection(w http.ResponseWriter, stack string) {
	detection, drift := "DETECTION_COMPLETE", "IN_SYNC"
	switch f.faults.drift[stack] {
	case "":
	case "FAILED":
		detection, drift = "DETECTION_FAILED", "UNKNOWN"
	default:
		drift = "DRIFTED"
	}
	if f.serial++; f.serial%2 == 0 {
		detection = "DETECTION_IN_PROGRESS"
	}
	answer(w, "DescribeStackDriftDetectionStatus", fmt.Sprintf("<StackId>x</StackId><StackDriftDetectionId>%s</StackDriftDetectionId><StackDriftStatus>%s</StackDriftStatus><DetectionStatus>%s</DetectionStatus><DetectionStatusReason>no right to read</DetectionStatusReason><Timestamp>2026-01-01T00:00:00Z</Timestamp>", stack, drift, detection))
}

func (f *fakeCloud) describeAlarms(w http.ResponseWriter, q url.Values) {
	var b strings.Builder
	b.WriteString("<MetricAlarms>")
	for i := 1; q.Has(fmt.Sprintf("AlarmNames.member.%d", i)); i++ {
		name := q.Get(fmt.Sprintf("AlarmNames.member.%d", i))
		state, actions := "OK", true
		switch is := f.faults.alarms[name]; is {
		case "":
		case "missing":
			continue
		case "off":
			actions = false
		default:
			state = is
		}
		fmt.Fprintf(&b, "<member><AlarmName>%s</AlarmName><AlarmDescription>what it is about</AlarmDescription><StateValue>%s</StateValue><StateUpdatedTimestamp>2026-01-02T03:04:05Z</StateUpdatedTimestamp><ActionsEnabled>%t</ActionsEnabled><AlarmActions><member>arn</member></AlarmActions></member>", name, state, actions)
	}
	answer(w, "DescribeAlarms", b.String()+"</MetricAlarms>")
}

// serveHealthCheck is Route 53's word on a health check.
func (f *fakeCloud) serveHealthCheck(w http.ResponseWriter, id string) {
	f.call = fakeCall{"route53:GetHealthCheckStatus", "us-east-1", id}
	well, known := f.faults.checks[id]
	if !known {
		well = 16
	}
	_, _ = fmt.Fprint(w, "<GetHealthCheckStatusResponse><HealthCheckObservations>")
	for i := range 16 {
		status := "Failure: Connection timed out"
		if i < well {
			status = "Success: HTTP Status Code 200, OK"
		}
		_, _ = fmt.Fprintf(w, "<HealthCheckObservation><Region>us-east-1</Region><IPAddress>192.0.2.%d</IPAddress><StatusReport><Status>%s</Status></StatusReport></HealthCheckObservation>", i, status)
	}
	_, _ = fmt.Fprint(w, "</HealthCheckObservations></GetHealthCheckStatusResponse>")
}

// serveAccelerator is as much of Global Accelerator as smoke needs.
func (f *fakeCloud) serveAccelerator(w http.ResponseWriter, action, group string) {
	if action == "DescribeAccelerator" {
		status, enabled := "DEPLOYED", f.faults.accelerator != "disabled"
		if enabled && f.faults.accelerator != "" {
			status = f.faults.accelerator
		}
		_, _ = fmt.Fprintf(w, `{"Accelerator":{"Enabled":%t,"Status":%q}}`, enabled, status)
		return
	}
	states, known := f.faults.endpoints[group]
	if !known {
		states = []string{"HEALTHY", "HEALTHY"}
	}
	var list []string
	for i, state := range states {
		list = append(list, fmt.Sprintf(`{"EndpointId":"i-%d","HealthState":%q,"HealthReason":"Failed"}`, i, state))
	}
	_, _ = fmt.Fprintf(w, `{"EndpointGroup":{"EndpointDescriptions":[%s]}}`, strings.Join(list, ","))
}

func (f *fakeCloud) describeBackups(w http.ResponseWriter, region string) {
	recovery := "ENABLED"
	if f.faults.unrecoverable == region {
		recovery = "DISABLED"
	}
	_, _ = fmt.Fprintf(w, `{"ContinuousBackupsDescription":{"ContinuousBackupsStatus":"ENABLED","PointInTimeRecoveryDescription":{"PointInTimeRecoveryStatus":%q}}}`, recovery)
}

// serveRecords is as much of a zone's records as smoke needs: a change is at all name
// servers at the second look.
func (f *fakeCloud) serveRecords(w http.ResponseWriter, r *http.Request) {
	const info = "<ChangeInfo><Id>/change/C1</Id><Status>%s</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo>"
	switch {
	case strings.Contains(r.URL.Path, "/change/"):
		f.call = fakeCall{"route53:GetChange", "us-east-1", "C1"}
		status := "INSYNC"
		if f.pending > 0 {
			f.pending--
			status = "PENDING"
		}
		_, _ = fmt.Fprintf(w, "<GetChangeResponse>"+info+"</GetChangeResponse>", status)
	case r.Method == http.MethodGet:
		f.call = fakeCall{"route53:ListResourceRecordSets", "us-east-1", ""}
		_, _ = fmt.Fprint(w, "<ListResourceRecordSetsResponse><ResourceRecordSets>")
		for name, target := range f.records {
			_, _ = fmt.Fprintf(w, "<ResourceRecordSet><Name>%s</Name><Type>CNAME</Type><TTL>60</TTL><ResourceRecords><ResourceRecord><Value>%s</Value></ResourceRecord></ResourceRecords></ResourceRecordSet>", name, target)
		}
		_, _ = fmt.Fprint(w, "</ResourceRecordSets><IsTruncated>false</IsTruncated><MaxItems>1</MaxItems></ListResourceRecordSetsResponse>")
	default:
		f.call = fakeCall{"route53:ChangeResourceRecordSets", "us-east-1", ""}
		f.changeRecord(w, r, info)
	}
}

func (f *fakeCloud) changeRecord(w http.ResponseWriter, r *http.Request, info string) {
	var q struct {
		Change struct {
			Action string
			Set    struct {
				Name  string
				Value string `xml:"ResourceRecords>ResourceRecord>Value"`
			} `xml:"ResourceRecordSet"`
		} `xml:"ChangeBatch>Changes>Change"`
	}
	if err := xml.NewDecoder(r.Body).Decode(&q); err != nil {
		http.Error(w, err.Error(), 400)
		return
	}
	set := q.Change.Set
	switch _, there := f.records[set.Name]; {
	case q.Change.Action == "UPSERT":
		f.records[set.Name], f.pending = set.Value, 2
	case !there:
		w.WriteHeader(400)
		_, _ = fmt.Fprint(w, `<InvalidChangeBatch><Messages><Message>Tried to delete resource record set but it was not found</Message></Messages></InvalidChangeBatch>`)
		return
	default:
		delete(f.records, set.Name)
	}
	_, _ = fmt.Fprintf(w, "<ChangeResourceRecordSetsResponse>"+info+"</ChangeResourceRecordSetsResponse>", "PENDING")
}
