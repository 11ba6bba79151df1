package aws

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
)

func TestRemove(t *testing.T) {
	w := newWorld(t, deployment(FrontAccelerator, usEast, euWest))
	w.deploy(t)
	w.cloud.fail["shingle-prd-base/delete/Artifacts"] = "The bucket you tried to delete is not empty"
	err := w.Remove(t.Context())
	if err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Fatalf("got %v", err)
	}
	if err := w.Deploy(t.Context(), Plan{}); err == nil || !strings.Contains(err.Error(), "shingle remove") {
		t.Errorf("deploying onto what was removed by half: %v", err)
	}
	delete(w.cloud.fail, "shingle-prd-base/delete/Artifacts")
	for range 2 { // again: nothing is there
		if err := w.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.cloud.objects); n != 0 {
		t.Errorf("%d artifacts are left", n)
	}
	for _, s := range w.Deployment.Stacks() {
		if got := w.status(s.Region, s.Name); got != "none" {
			t.Errorf("%s is %s", s.ID(), got)
		}
	}
}

// TestRemove_KnowsTheRegionsOfWhatWasCutShort removes a first deployment of two regions that
// failed before there was a record of it, and one that is being updated.
func TestRemove_KnowsTheRegionsOfWhatWasCutShort(t *testing.T) {
	w := newWorld(t, deployment(FrontRoute53, usEast, euWest))
	w.cloud.fail["shingle-prd-control/Control"] = "no"
	if err := w.Deploy(t.Context(), Plan{}); err == nil {
		t.Fatal("it went well")
	}
	fromHome := func() { w.Deployment = &Deployment{Stage: "prd", Regions: []Region{usEast}} } // all that is said
	fromHome()
	if err := w.Found(t.Context()); err != nil || w.Deployment.Home() != "us-east-1" || len(w.Deployment.Regions) != 2 {
		t.Errorf("found: %+v, %v", w.Deployment.Regions, err)
	}
	status, err := w.Status(t.Context())
	if err != nil || !slices.ContainsFunc(status.Stacks, func(s StackStatus) bool {
		return s.Stack == "eu-west-1/shingle-prd-base" && s.Status == "CREATE_COMPLETE"
	}) {
		t.Errorf("its status: %+v, %v", status, err)
	}
	fromHome()
	if err := w.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone := func() {
		t.Helper()
		for _, s := range w.cloud.stacks {
			if s.status != "DELETE_COMPLETE" {
				t.Errorf("left is %s in %s: %s", s.name, s.region, s.status)
			}
		}
	}
	gone()
	clear(w.cloud.fail)
	w.Deployment = deployment(FrontRoute53, usEast, euWest)
	w.deploy(t)
	s := w.cloud.find("eu-west-1", "shingle-prd-edge")
	s.status, s.left = "UPDATE_IN_PROGRESS", 3
	s.steps = []func(){func() { s.status = "UPDATE_COMPLETE" }}
	fromHome()
	if err := w.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone()
}

// TestStage_FromAnotherHomeIsRefused has somebody name the regions in another order: what is
// in the second belongs to a stage with another home, and is neither changed nor removed.
func TestStage_FromAnotherHomeIsRefused(t *testing.T) {
	w := newWorld(t, deployment(FrontRoute53, usEast, euWest))
	w.deploy(t)
	w.Deployment = deployment(FrontRoute53, euWest, usEast)
	_, planErr := w.Plan(t.Context())
	for what, err := range map[string]error{"plan": planErr, "deploy": w.Deploy(t.Context(), Plan{}), "remove": w.Remove(t.Context())} {
		if !errors.Is(err, shingle.ErrConflict) || !strings.Contains(err.Error(), "eu-west-1 is not the home region of stage prd") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got := w.status("eu-west-1", "shingle-prd-edge"); got != "CREATE_COMPLETE" {
		t.Errorf("the edges are %s", got)
	}
}

// TestRemnants_SayWhatStaysAndWhatItCosts counts what is left of a stage with a KMS key
// without its stacks, and without its data.
func TestRemnants_SayWhatStaysAndWhatItCosts(t *testing.T) {
	d := deployment(FrontRoute53, usEast, euWest)
	d.MasterKey = MasterKeyKMS
	w := newWorld(t, d)
	w.deploy(t)
	for _, c := range []struct {
		do   func(context.Context) error
		want []string
		usd  float64
	}{
		{w.Remove, []string{"the table shingle-prd in us-east-1, eu-west-1", "the parameter /shingle/prd/regions in us-east-1", "the KMS key alias/shingle-prd", "the zone example.com (ZMADE"}, 2*2*0.45 + 1 + 0.5},
		{w.DeleteData, []string{"the zone example.com (ZMADE"}, 0.5},
	} {
		w.Deployment = &Deployment{Stage: "prd", Regions: []Region{usEast}}
		if err := c.do(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := w.Remnants(t.Context())
		if err != nil || len(list) != len(c.want) {
			t.Fatalf("%+v, %v", list, err)
		}
		var sum float64
		for i, r := range list {
			sum += r.USD
			if !strings.HasPrefix(r.What, c.want[i]) || r.Do == "" {
				t.Errorf("%+v, and not %s", r, c.want[i])
			}
		}
		if !near(sum, c.usd) {
			t.Errorf("it costs %.2f, not %.2f", sum, c.usd)
		}
	}
	if !slices.Equal(w.cloud.keys, []string{"PendingDeletion"}) || !slices.ContainsFunc(w.events, func(e Event) bool { return e.Status == "to be deleted" && strings.Contains(e.Reason, "in 30 days") }) {
		t.Errorf("the keys are %v", w.cloud.keys)
	}
}

// TestDeploy_OntoAKeyThatIsToBeDeleted is refused, with what to do.
func TestDeploy_OntoAKeyThatIsToBeDeleted(t *testing.T) {
	d := deployment(FrontRoute53, usEast)
	d.MasterKey = MasterKeyKMS
	w := newWorld(t, d)
	w.deploy(t)
	if err := w.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.cloud.keyState = "PendingDeletion" // by hand, or by a run that was cut short
	err := w.Deploy(t.Context(), Plan{})
	if !errors.Is(err, shingle.ErrConflict) || !strings.Contains(err.Error(), "aws kms cancel-key-deletion --region us-east-1 --key-id mrk-") {
		t.Fatal(err)
	}
	if err := w.DeleteData(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.MasterKeyARN = ""
	w.deploy(t)
	if w.cloud.key == "" || len(w.cloud.keys) != 1 {
		t.Errorf("the key is %q, beside %v", w.cloud.key, w.cloud.keys)
	}
}

// TestDeleteData_AfterTheRecordIsGone deletes the data of a stage of two regions when
// its stacks, which knew of the second, were removed before.
func TestDeleteData_AfterTheRecordIsGone(t *testing.T) {
	w := newWorld(t, deployment(FrontRoute53, usEast, euWest))
	w.deploy(t)
	if err := w.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.Deployment = &Deployment{Stage: "prd", Regions: []Region{usEast}}
	for range 2 { // again: nothing is there
		if err := w.DeleteData(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.cloud.tables) > 0 {
		t.Errorf("left are the tables: %v", w.cloud.tables)
	}
}
