package aws

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// world is a deployer on the fake, and what it reported.
type world struct {
	*Deployer
	cloud  *fakeCloud
	events []Event
}

func newWorld(t *testing.T, d *Deployment) *world {
	cloud, account := newFakeCloud(t)
	a, err := newArtifacts([]byte("the binary"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{cloud: cloud}
	w.Deployer = &Deployer{Account: account, Deployment: d, Artifacts: a, Poll: 100 * time.Microsecond, Report: func(e Event) { w.events = append(w.events, e) }}
	return w
}

func (w *world) deploy(t *testing.T) {
	t.Helper()
	if err := w.Deploy(t.Context(), Plan{}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) status(region, name string) string {
	w.cloud.mu.Lock()
	defer w.cloud.mu.Unlock()
	if s := w.cloud.find(region, name); s != nil {
		return s.status
	}
	return "none"
}

var (
	usEast = Region{"us-east-1", 1}
	euWest = Region{"eu-west-1", 2}
)

func TestDeploy_MakesAllInOrderAndThenChangesNothing(t *testing.T) {
	for _, shape := range []string{"error", "failed"} {
		w := newWorld(t, deployment(FrontRoute53, usEast, euWest))
		w.cloud.emptyShape = shape
		var order []string
		w.cloud.onExecute = func(stack string) { order = append(order, stack) }
		w.deploy(t)
		for _, s := range w.Deployment.Stacks() {
			if got := w.status(s.Region, s.Name); got != "CREATE_COMPLETE" {
				t.Errorf("%s is %s", s.ID(), got)
			}
		}
		if len(order) != 7 || slices.Index(order, "shingle-prd-front") < slices.Index(order, "shingle-prd-base") ||
			slices.Index(order, "shingle-prd-edge") < slices.Index(order, "shingle-prd-data") {
			t.Errorf("made in the order %v", order)
		}
		order = nil
		plan, err := w.Plan(t.Context())
		if err != nil || len(plan.Changes) != 0 {
			t.Errorf("%s: the plan of no change: %v, %v", shape, plan, err)
		}
		artifacts := w.Artifacts
		w.Artifacts = nil
		if plan, err := w.Plan(t.Context()); err != nil || len(plan.Changes) != 0 || len(plan.Unsure) != 0 {
			t.Errorf("%s: the plan without a binary: %v, %v", shape, plan, err)
		}
		w.Artifacts = artifacts
		w.deploy(t)
		if len(order) != 0 {
			t.Errorf("%s: a second deployment changed %v", shape, order)
		}
		if n := len(w.cloud.sets); n != 0 {
			t.Errorf("%s: %d change sets were left behind", shape, n)
		}
		if n := len(w.cloud.objects); n != 4 {
			t.Errorf("%d artifacts were uploaded to two regions, not 4", n)
		}
	}
}

func TestDeploy_SaysWhichResourceFailedFirst(t *testing.T) {
	w := newWorld(t, deployment(FrontAccelerator, usEast))
	w.cloud.fail["shingle-prd-front/Accelerator"] = "You have reached the limit of accelerators"
	err := w.Deploy(t.Context(), Plan{})
	if err == nil || !strings.Contains(err.Error(), "Accelerator (AWS::GlobalAccelerator::Accelerator): You have reached the limit") {
		t.Fatalf("got %v", err)
	}
	if got := w.status("us-east-1", "shingle-prd-edge"); got != "none" {
		t.Errorf("the edges, which stand on what failed, are %s", got)
	}
	delete(w.cloud.fail, "shingle-prd-front/Accelerator")
	w.deploy(t) // clears away what failed to be made, and goes on
	if got := w.status("us-east-1", "shingle-prd-edge"); got != "CREATE_COMPLETE" {
		t.Errorf("after another deployment the edges are %s", got)
	}
}

func TestDeploy_FailingUpdateIsRolledBack(t *testing.T) {
	d := deployment(FrontRoute53, usEast)
	w := newWorld(t, d)
	w.deploy(t)
	d.InstanceType = "t4g.micro"
	w.cloud.fail["shingle-prd-edge/Machine"] = "t4g.micro is not there"
	w.cloud.failBack["shingle-prd-edge"] = "the network is gone"
	err := w.Deploy(t.Context(), Plan{})
	if err == nil || !strings.Contains(err.Error(), "t4g.micro is not there") {
		t.Fatalf("got %v", err)
	}
	if err = w.Deploy(t.Context(), Plan{}); err == nil || !strings.Contains(err.Error(), "the network is gone") {
		t.Fatalf("a rollback that fails again: %v", err)
	}
	delete(w.cloud.failBack, "shingle-prd-edge")
	delete(w.cloud.fail, "shingle-prd-edge/Machine")
	w.deploy(t)
	if got := w.status("us-east-1", "shingle-prd-edge"); got != "UPDATE_COMPLETE" {
		t.Errorf("after the rollback was completed: %s", got)
	}
}

func TestDeploy_RegionComesAndGoes(t *testing.T) {
	d := deployment(FrontRoute53, usEast)
	w := newWorld(t, d)
	w.deploy(t)
	d.Regions = append(d.Regions, euWest)
	plan, err := w.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(plan.Unsure, "us-east-1/shingle-prd-front") || len(plan.Destroys()) != 0 {
		t.Errorf("plan for another region: unsure %v, destroys %v", plan.Unsure, plan.Destroys())
	}
	w.deploy(t)
	if got := w.status("eu-west-1", "shingle-prd-edge"); got != "CREATE_COMPLETE" {
		t.Errorf("edges of the new region: %s", got)
	}
	d.Regions = d.Regions[:1]
	var order []string
	w.cloud.onExecute = func(stack string) {
		order = append(order, stack+" with the edges "+w.cloud.find("eu-west-1", "shingle-prd-edge").is())
	}
	plan, err = w.Plan(t.Context())
	if n := len(slices.DeleteFunc(plan.Changes, func(c Change) bool { return c.Type != "AWS::CloudFormation::Stack" })); err != nil || n != 2 {
		t.Errorf("the plan removes %d stacks, %v", n, err)
	}
	w.deploy(t)
	if !slices.Equal(order, []string{"shingle-prd-front with the edges CREATE_COMPLETE", "shingle-prd-data with the edges none", "shingle-prd-control with the edges none"}) {
		t.Errorf("the region went in the order %v", order)
	}
	for _, stack := range []string{"shingle-prd-base", "shingle-prd-edge"} {
		if got := w.status("eu-west-1", stack); got != "none" {
			t.Errorf("%s of the region that went is %s", stack, got)
		}
	}
}

func TestDeploy_DestroysOnlyWhatWasAgreedTo(t *testing.T) {
	d := deployment(FrontRoute53, usEast)
	d.ZoneID = ""
	w := newWorld(t, d)
	w.deploy(t)
	d.ZoneID = "Z0123456789"
	err := w.Deploy(t.Context(), Plan{})
	if !errors.Is(err, ErrUnexpected) {
		t.Fatalf("a zone would be deleted: %v", err)
	}
	plan, err := w.Plan(t.Context())
	if err != nil || len(plan.Destroys()) != 1 {
		t.Fatalf("plan: %+v, %v", plan, err)
	}
	if err := w.Deploy(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
}

func TestDeploy_WaitsForWhatIsUnderWay(t *testing.T) {
	d := deployment(FrontRoute53, usEast)
	w := newWorld(t, d)
	w.deploy(t)
	w.cloud.mu.Lock()
	s := w.cloud.find("us-east-1", "shingle-prd-data")
	s.status, s.left = "UPDATE_IN_PROGRESS", 3
	s.steps = []func(){func() { s.status = "UPDATE_COMPLETE" }}
	w.cloud.throttle = 3
	w.cloud.mu.Unlock()
	w.deploy(t)
}

// TestDeploy_RepliesThatAreLost has connections end after what was asked for was done: the
// next attempt, which is refused, is not taken for a failure.
func TestDeploy_RepliesThatAreLost(t *testing.T) {
	for _, action := range []string{"cloudformation:CreateChangeSet", "cloudformation:ExecuteChangeSet", "ssm:PutParameter"} {
		d := deployment(FrontRoute53, usEast, euWest)
		d.Pages = pages()
		w := newWorld(t, d)
		w.ClientSecret = "hush"
		w.cloud.lose[action] = 3
		w.deploy(t)
		if got := w.status("us-east-1", "shingle-prd-edge"); got != "CREATE_COMPLETE" || w.cloud.lose[action] > 0 {
			t.Errorf("%s: the edges are %s; %d replies were not lost", action, got, w.cloud.lose[action])
		}
	}
}

func TestDeploy_MasterKeyIsOneInAllRegionsAndNeverReplaced(t *testing.T) {
	d := deployment(FrontRoute53, usEast)
	w := newWorld(t, d)
	w.deploy(t)
	w.cloud.rows = 1
	d.Regions = append(d.Regions, euWest)
	w.deploy(t)
	name := "/shingle/prd/master-key"
	home, other := w.cloud.parameters["us-east-1"+name], w.cloud.parameters["eu-west-1"+name]
	if keys, err := shingle.ParseMasterKeys(home); err != nil || len(keys) != 1 || home != other {
		t.Errorf("the keys are alike: %v; %d of them, %v", home == other, len(keys), err)
	}
	delete(w.cloud.parameters, "us-east-1"+name)
	w.deploy(t) // the other region has it
	if w.cloud.parameters["us-east-1"+name] != other {
		t.Error("the home region got another key")
	}
	clear(w.cloud.parameters)
	err := w.Deploy(t.Context(), Plan{})
	if !errors.Is(err, shingle.ErrConflict) || len(w.cloud.parameters) != 1 { // that of the regions
		t.Errorf("a table without its key: %v", err)
	}
}

// TestDeploy_MasterKeyOfTwoAtOnce has another deployment be a moment earlier: at home the
// first one decides; keys that have nothing in common are not deployed.
func TestDeploy_MasterKeyOfTwoAtOnce(t *testing.T) {
	theirs, other := shingle.FormatMasterKeys([][]byte{[]byte(strings.Repeat("1", 32))}), shingle.FormatMasterKeys([][]byte{[]byte(strings.Repeat("2", 32))})
	const home, second = "us-east-1/shingle/prd/master-key", "eu-west-1/shingle/prd/master-key"
	for _, c := range []struct {
		name          string
		there, rivals map[string]string
		want          string // in both; empty: a conflict
	}{
		{"at home", nil, map[string]string{home: theirs}, theirs},
		{"in both", nil, map[string]string{home: theirs, second: theirs}, theirs},
		{"in both, and not the same", nil, map[string]string{home: theirs, second: other}, ""},
		{"in the second", map[string]string{home: theirs}, map[string]string{second: other}, ""},
		{"of an earlier life", map[string]string{home: theirs, second: other}, nil, ""},
		{"in the second, after a rotation", map[string]string{home: theirs}, map[string]string{second: theirs + other}, theirs},
	} {
		w := newWorld(t, deployment(FrontRoute53, usEast, euWest))
		maps.Copy(w.cloud.parameters, c.there)
		w.cloud.rivals = c.rivals
		err := w.Deploy(t.Context(), Plan{})
		if c.want == "" {
			if !errors.Is(err, shingle.ErrConflict) || !strings.Contains(err.Error(), "in eu-west-1 than in us-east-1") || len(w.cloud.stacks) > 0 {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if got := w.cloud.parameters; err != nil || got[home] != c.want || !strings.HasPrefix(got[second], c.want) {
			t.Errorf("%s: %v: %v", c.name, got, err)
		}
	}
}

// TestDeploy_RegionGoesWithItsCopyOfTheMasterKey, unless that has a key which home has not.
func TestDeploy_RegionGoesWithItsCopyOfTheMasterKey(t *testing.T) {
	const home, second, regions = "us-east-1/shingle/prd/master-key", "eu-west-1/shingle/prd/master-key", "us-east-1/shingle/prd/regions"
	d := deployment(FrontRoute53, usEast, euWest)
	w := newWorld(t, d)
	w.deploy(t)
	d.Regions = d.Regions[:1]
	successor := shingle.FormatMasterKeys([][]byte{[]byte(strings.Repeat("2", 32))})
	w.cloud.parameters[second] += successor
	for range 2 {
		w.deploy(t)
		if w.cloud.parameters[second] == "" || w.cloud.parameters[regions] != "us-east-1 eu-west-1" {
			t.Errorf("a key that home has not: %v", w.cloud.parameters)
		}
	}
	w.cloud.parameters[home] += successor
	w.deploy(t)
	if w.cloud.parameters[second] != "" || w.cloud.parameters[regions] != "us-east-1" {
		t.Errorf("a copy: %v", w.cloud.parameters)
	}
}

func TestEntry_IsHowTheStageIsReached(t *testing.T) {
	for front, want := range map[Front][]string{
		FrontRoute53: {
			"the-address1-of-shingle-prd-base-us-east-1", "the-address1-of-shingle-prd-base-eu-west-1", "the-address2-of-shingle-prd-base-eu-west-1",
		},
		FrontAccelerator: {"the-addresses-of-shingle-prd-front-us-east-1"},
	} {
		w := newWorld(t, deployment(front, usEast, euWest))
		w.deploy(t)
		e, err := w.Entry(t.Context())
		if err != nil || e.API != "the-url-of-shingle-prd-control-us-east-1" || !slices.Equal(e.Addresses, want) {
			t.Errorf("%s: %+v, %v", front, e, err)
		}
	}
}

// TestDeploy_TakesUpWhatAnEarlierLifeLeft removes a stage, whose table, key and zone
// stay, and deploys it again.
func TestDeploy_TakesUpWhatAnEarlierLifeLeft(t *testing.T) {
	d := deployment(FrontRoute53, usEast)
	d.MasterKey = MasterKeyKMS
	w := newWorld(t, d)
	w.deploy(t)
	made := func(stack, resource string) bool {
		w.cloud.mu.Lock()
		defer w.cloud.mu.Unlock()
		_, ok := w.cloud.find("us-east-1", stack).template.Resources[resource]
		return ok
	}
	if !made("shingle-prd-data", "MasterKey") || !made("shingle-prd-front", "Zone") {
		t.Fatal("the first life made no key or no zone")
	}
	if err := w.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	key, zone := w.cloud.key, w.cloud.zone
	if w.cloud.tables["us-east-1"] == nil || key == "" || zone == "" {
		t.Fatalf("the removal kept the tables: %v, the key %q and the zone %q", w.cloud.tables, key, zone)
	}
	w.cloud.rows, w.cloud.key = 1, ""
	if err := w.Deploy(t.Context(), Plan{}); !errors.Is(err, shingle.ErrConflict) || !strings.Contains(err.Error(), "alias/shingle-prd") {
		t.Fatalf("records without their key: %v", err)
	}
	w.cloud.key = key
	w.deploy(t)
	if made("shingle-prd-data", "MasterKey") || made("shingle-prd-front", "Zone") || d.ZoneID != zone || d.MasterKeyARN != key {
		t.Errorf("the second life has the zone %q and the key %q", d.ZoneID, d.MasterKeyARN)
	}
	again := deployment(FrontRoute53, usEast) // from the flags, which do not know
	again.MasterKey, again.InstanceType = MasterKeyKMS, d.InstanceType
	w.Deployment, w.cloud.zone = again, "" // not even looked for
	if plan, err := w.Plan(t.Context()); err != nil || len(plan.Changes) != 0 {
		t.Errorf("a deployment without changes: %+v, %v", plan.Changes, err)
	}
}

// TestDeploy_CutShortKeepsItsOwn goes on with a first deployment that failed before
// there was a record of it: what it has made is its own, and not taken for a relic.
func TestDeploy_CutShortKeepsItsOwn(t *testing.T) {
	d := deployment(FrontRoute53, usEast)
	d.MasterKey = MasterKeyKMS
	w := newWorld(t, d)
	w.cloud.fail["shingle-prd-control/Control"] = "no"
	if err := w.Deploy(t.Context(), Plan{}); err == nil {
		t.Fatal("it went well")
	}
	for range 2 { // until the stacks beside the failed one are there, too
		_ = w.Deploy(t.Context(), Plan{})
	}
	clear(w.cloud.fail)
	w.deploy(t)
	if got := w.status("us-east-1", "shingle-prd-data"); got != "CREATE_COMPLETE" || d.MasterKeyARN != "" {
		t.Errorf("the data are %s, with the key %q", got, d.MasterKeyARN)
	}
}

// TestDeploy_FirstCreationThatFailsLeavesNothing has the stack with the table fail, in
// each of its resources, also when the table is there by then: the next deployment
// works without anybody's help.
func TestDeploy_FirstCreationThatFailsLeavesNothing(t *testing.T) {
	for _, fails := range []string{"MasterKey", "MasterKeyName", "Table", "half/Table"} {
		d := deployment(FrontRoute53, usEast)
		d.MasterKey = MasterKeyKMS
		w := newWorld(t, d)
		w.cloud.fail["shingle-prd-data/"+fails] = "no such luck"
		if err := w.Deploy(t.Context(), Plan{}); err == nil || !strings.Contains(err.Error(), "no such luck") {
			t.Fatalf("%s: %v", fails, err)
		}
		if w.cloud.key != "" || (w.cloud.tables["us-east-1"] != nil) != (fails == "half/Table") {
			t.Errorf("%s: left are the key %q and tables: %v", fails, w.cloud.key, w.cloud.tables)
		}
		clear(w.cloud.fail)
		w.deploy(t)
		if w.status("us-east-1", "shingle-prd-data") != "CREATE_COMPLETE" || w.cloud.tables["us-east-1"] == nil || w.cloud.key == "" || d.MasterKeyARN != "" {
			t.Errorf("%s: after another deployment: key %q, tables: %v", fails, w.cloud.key, w.cloud.tables)
		}
	}
}
