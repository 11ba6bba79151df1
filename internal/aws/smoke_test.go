package aws

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
)

// trouble is what can go wrong with a stage, and which step says so.
type trouble struct {
	name   string
	front  Front
	key    MasterKey
	do     func(w *world)
	step   string
	reason string // regexp
	advice string // a part of it
}

var troubles = []trouble{
	{name: "nothing"},
	{name: "nothing, with an accelerator", front: FrontAccelerator},
	{name: "nothing, with a KMS key", key: MasterKeyKMS},
	{name: "nothing, while somebody else looks for drift", do: func(w *world) { w.cloud.faults.detecting = 9 }},
	{
		name: "a stack is gone", do: func(w *world) { w.cloud.find("us-east-1", "shingle-prd-control").name = "other" },
		step: "stacks alarms drift", reason: `^us-east-1/shingle-prd-control is not there$`, advice: "shingle deploy",
	},
	{
		name: "a stack's update was taken back", do: func(w *world) { w.cloud.find("eu-west-1", "shingle-prd-edge").status = "UPDATE_ROLLBACK_COMPLETE" },
		step: "stacks", reason: `^eu-west-1/shingle-prd-edge is UPDATE_ROLLBACK_COMPLETE: it works as before`, advice: "shingle deploy",
	},
	{
		name: "a rollback failed", do: func(w *world) {
			s := w.cloud.find("us-east-1", "shingle-prd-front")
			s.status, s.reason = "UPDATE_ROLLBACK_FAILED", "the zone is gone"
		},
		step: "stacks", reason: `is UPDATE_ROLLBACK_FAILED \(the zone is gone\)$`, advice: "shingle deploy",
	},
	{
		name: "a deployment is under way", do: func(w *world) { w.cloud.find("us-east-1", "shingle-prd-edge").status = "UPDATE_IN_PROGRESS" },
		step: "stacks", reason: `shingle-prd-edge is UPDATE_IN_PROGRESS$`, advice: "wait",
	},
	{
		name: "somebody opened less of the firewall", do: func(w *world) { w.cloud.faults.drift["shingle-prd-edge"] = "MODIFIED" },
		step: "drift", reason: `us-east-1/shingle-prd-edge: Firewall \(AWS::EC2::SecurityGroup\) was changed: /SecurityGroupIngress/0/CidrIp is 10\.0\.0\.0/8, not 0\.0\.0\.0/0`, advice: "undo it",
	},
	{
		name: "somebody deleted a resource", do: func(w *world) { w.cloud.faults.drift["shingle-prd-control"] = "DELETED" },
		step: "drift", reason: `was deleted$`, advice: "undo it",
	},
	{
		name: "drift cannot be told", do: func(w *world) { w.cloud.faults.drift["shingle-prd-data"] = "FAILED" },
		step: "drift", reason: `shingle-prd-data could not be compared \(no right to read\)`,
	},
	{
		name: "an instance is sick", do: func(w *world) { w.cloud.faults.instances["us-east-1"] = []string{"InService Unhealthy 2"} },
		step: "instances", reason: `^in us-east-1 0 of 1 are in service, healthy and of this version, i-0 is InService and Unhealthy$`, advice: "journalctl",
	},
	{
		name: "a region has no instance", do: func(w *world) { w.cloud.faults.instances["eu-west-1"] = []string{} },
		step: "instances", reason: `^in eu-west-1 0 of 2`, advice: "wait five minutes",
	},
	{
		name: "an instance was left out of a deployment", do: func(w *world) {
			w.cloud.faults.instances["eu-west-1"] = []string{"InService Healthy 2", "InService Healthy 1"}
		},
		step: "instances", reason: `^in eu-west-1 1 of 2 .*, i-1 runs an older version$`,
	},
	{
		name: "Route 53 finds an address sick", do: func(w *world) { w.cloud.faults.checks["HealthEuWest12-us-east-1"] = 2 },
		step: "front", reason: `^HealthEuWest12: 2 of 16 of Route 53's checkers find it healthy \(Failure: Connection timed out\)$`, advice: "5 minutes",
	},
	{
		name: "a health check is gone", do: func(w *world) { w.cloud.faults.gone["shingle-prd-front/HealthUsEast11"] = true },
		step: "front", reason: `^HealthUsEast11 is not there$`,
	},
	{
		name: "no endpoint has entered", front: FrontAccelerator, do: func(w *world) {
			w.cloud.faults.endpoints["the-edgesudpuseast1-of-shingle-prd-front-us-east-1"] = []string{}
		},
		step: "front", reason: `^in us-east-1 0 of 1 endpoints for UDP are healthy \(none has entered\)$`, advice: "5 minutes",
	},
	{
		name: "an endpoint is sick", front: FrontAccelerator, do: func(w *world) {
			w.cloud.faults.endpoints["the-edgestcpeuwest1-of-shingle-prd-front-us-east-1"] = []string{"HEALTHY", "UNHEALTHY"}
		},
		step: "front", reason: `^in eu-west-1 1 of 2 endpoints for TCP are healthy \(i-1 is UNHEALTHY Failed\)$`,
	},
	{
		name: "the accelerator is off", front: FrontAccelerator, do: func(w *world) { w.cloud.faults.accelerator = "disabled" },
		step: "front", reason: `^the accelerator is disabled$`, advice: "update-accelerator",
	},
	{
		name: "the accelerator is being changed", front: FrontAccelerator, do: func(w *world) { w.cloud.faults.accelerator = "IN_PROGRESS" },
		step: "front", reason: `^the accelerator is IN_PROGRESS$`,
	},
	{
		name: "the table is not protected", do: func(w *world) { w.cloud.tables["us-east-1"].protected = false },
		step: "table", reason: `^in us-east-1 it is not protected from deletion$`, advice: "update-table",
	},
	{
		name: "the table cannot be recovered", do: func(w *world) { w.cloud.faults.unrecoverable = "eu-west-1" },
		step: "table", reason: `^in eu-west-1 point-in-time recovery is off$`, advice: "update-continuous-backups",
	},
	{
		name: "a replica is gone", do: func(w *world) { delete(w.cloud.tables, "eu-west-1") },
		step: "table", reason: `^in eu-west-1 there is no table shingle-prd$`,
	},
	{
		name: "the master key is gone", do: func(w *world) { delete(w.cloud.parameters, "eu-west-1/shingle/prd/master-key") },
		step: "master-key", reason: `^in eu-west-1 there is no parameter /shingle/prd/master-key$`, advice: "from your backup",
	},
	{
		name: "the KMS key's replica is to be deleted", key: MasterKeyKMS, do: func(w *world) { w.cloud.copies["eu-west-1"] = "PendingDeletion" },
		step: "master-key", reason: `^in eu-west-1 the key k1 is PendingDeletion$`,
	},
	{
		name: "the KMS key's replica is gone", key: MasterKeyKMS, do: func(w *world) { delete(w.cloud.copies, "eu-west-1") },
		step: "master-key", reason: `^in eu-west-1 there is no key k1$`,
	},
	{
		name: "the KMS key is disabled", key: MasterKeyKMS, do: func(w *world) { w.cloud.keyState = "Disabled" },
		step: "master-key", reason: `^in us-east-1 the key k1 is Disabled$`, advice: "enable the key",
	},
	{
		name: "an alarm sounds", do: func(w *world) { w.cloud.faults.alarms["EdgeNotServing-eu-west-1"] = "ALARM" },
		step: "alarms", reason: `^EdgeNotServing in eu-west-1 is in ALARM since 2026-01-02 03:04:05: what it is about$`, advice: "docs/aws.md",
	},
	{
		name: "an alarm is gone", do: func(w *world) { w.cloud.faults.alarms["BudgetIsLow-us-east-1"] = "missing" },
		step: "alarms", reason: `^BudgetIsLow in us-east-1 is not there$`,
	},
	{
		name: "an alarm was never made", do: func(w *world) { w.cloud.faults.gone["shingle-prd-control/ControlFails"] = true },
		step: "alarms", reason: `^ControlFails in us-east-1 is not there$`,
	},
	{
		name: "an alarm's actions are off", do: func(w *world) { w.cloud.faults.alarms["Errors-us-east-1"] = "off" },
		step: "alarms", reason: `^Errors in us-east-1 tells nobody`,
	},
	{
		name: "nobody has confirmed the mail", do: func(w *world) { w.cloud.faults.unconfirmed = "eu-west-1" },
		step: "alarms", reason: `^nobody hears the alarms of edge in eu-west-1: the subscription is not confirmed$`, advice: "link in the mail",
	},
	{
		name: "no right to look", do: func(w *world) { w.cloud.faults.denied = "DescribeAlarms" },
		step: "alarms", reason: `^look at the alarms in us-east-1: AWS answers AccessDenied: User: me is not authorized to perform: DescribeAlarms$`, advice: "deployer-policy.json",
	},
}

// TestSmoke_SaysWhatIsWrong has one thing after the other be wrong with a stage: the step
// that it concerns says so, and no other.
func TestSmoke_SaysWhatIsWrong(t *testing.T) {
	for _, each := range troubles {
		t.Run(each.name, func(t *testing.T) {
			w := troubled(t, &each)
			for _, step := range append(w.Smoke(), w.SmokeDrift()) {
				found, err := step.Do(t.Context())
				concerned := strings.Contains(" "+each.step+" ", " "+step.Name+" ")
				switch {
				case err == nil && concerned:
					t.Errorf("%s is well: %s", step.Name, found)
				case err == nil:
					t.Logf("%s: %s", step.Name, found)
				case !concerned:
					t.Errorf("%s: %v", step.Name, err)
				case strings.HasPrefix(each.step, step.Name):
					fault, told := errors.AsType[*shingle.SmokeFault](err)
					if !told || !regexp.MustCompile(each.reason).MatchString(fault.Reason) || !strings.Contains(fault.Do, each.advice) {
						t.Errorf("%s: %v, and to be done: %+v", step.Name, err, fault)
					}
				}
				if step.Within <= 0 || step.What == "" {
					t.Errorf("%s has no bound, or does not say what it looks at", step.Name)
				}
			}
		})
	}
}

// troubled is a stage of two regions with what is wrong.
func troubled(t *testing.T, each *trouble) *world {
	d := deployment(FrontRoute53, usEast, euWest)
	if each.front != "" {
		d.Front = each.front
	}
	if each.key != "" {
		d.MasterKey = each.key
	}
	w := newWorld(t, d)
	w.deploy(t)
	if each.key == MasterKeyKMS {
		w.cloud.key, w.cloud.copies = "arn:aws:kms:us-east-1:1:key/k1", map[string]string{"eu-west-1": "Enabled"}
	}
	w.cloud.faults = fakeFaults{
		gone: map[string]bool{}, drift: map[string]string{}, alarms: map[string]string{}, checks: map[string]int{}, endpoints: map[string][]string{}, instances: map[string][]string{},
	}
	if each.do != nil {
		each.do(w)
	}
	return w
}

// TestRecords_AreSetAndRemoved: a record is told of when it is everywhere, is removed also
// when the reply to that is lost, and is not missed.
func TestRecords_AreSetAndRemoved(t *testing.T) {
	const name = "shingle-smoke-x.example.com"
	w := newWorld(t, deployment(FrontRoute53, usEast))
	w.deploy(t)
	w.cloud.records = map[string]string{}
	zone, err := w.Records(t.Context())
	if err != nil || zone.Name() != "example.com" || zone.id != "Zone-us-east-1" {
		t.Fatalf("the zone is %+v, %v", zone, err)
	}
	if err := zone.SetCNAME(t.Context(), name, "label.edge.example.com"); err != nil || w.cloud.pending > 0 {
		t.Errorf("set: %v, %d looks too early", err, w.cloud.pending)
	}
	if w.cloud.records[name+"."] != "label.edge.example.com." {
		t.Errorf("there are %v", w.cloud.records)
	}
	w.cloud.records["zz."+name+"."] = "of somebody else."
	w.cloud.lose = map[string]int{"route53:ChangeResourceRecordSets": 1}
	for range 2 {
		if err := zone.RemoveCNAME(t.Context(), name); err != nil || len(w.cloud.records) != 1 {
			t.Errorf("removed: %v, there are %v", err, w.cloud.records)
		}
	}
	w.Deployment.Zone = ""
	if zone, err := w.Records(t.Context()); zone != nil || err != nil {
		t.Errorf("without a zone: %+v, %v", zone, err)
	}
}
