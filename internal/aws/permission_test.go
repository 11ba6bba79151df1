package aws

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestDeployerPolicy_IsWhatIsCalled has a deployer do all that it can, and holds its
// policy against that.
func TestDeployerPolicy_IsWhatIsCalled(t *testing.T) {
	d := deployment(FrontRoute53, usEast)
	d.MasterKey = MasterKeyKMS
	w := newWorld(t, d)
	if _, err := w.Account.ID(t.Context(), d.Home()); err != nil {
		t.Fatal(err)
	}
	w.deploy(t)
	for _, regions := range [][]Region{{usEast, euWest}, {usEast}, {usEast, euWest}, {usEast}} { // its replica goes, and is called back
		d.Regions = regions
		w.deploy(t)
	}
	d.InstanceType = "t4g.micro"
	w.cloud.fail["shingle-prd-edge/Machine"], w.cloud.failBack["shingle-prd-edge"] = "no", "no"
	for range 2 { // the second goes on with the rollback
		if err := w.Deploy(t.Context(), Plan{}); err == nil {
			t.Fatal("a failing update went well")
		}
	}
	clear(w.cloud.fail)
	clear(w.cloud.failBack)
	if _, err := w.Plan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.cloud.faults.drift = map[string]string{"shingle-prd-base": "MODIFIED"}
	w.cloud.records = map[string]string{}
	zone, err := w.Records(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(zone.SetCNAME(t.Context(), "x.example.com", "y.example.com"), zone.RemoveCNAME(t.Context(), "x.example.com")); err != nil {
		t.Fatal(err)
	}
	for _, front := range []Front{FrontAccelerator, d.Front} {
		w.Deployment.Front = front
		for _, step := range append(w.Smoke(), w.SmokeDrift()) {
			_, _ = step.Do(t.Context()) // of the other front there is nothing
		}
	}
	if _, err := w.Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept := newWorld(t, deployment(FrontRoute53, usEast))
	kept.deploy(t) // with a parameter
	maps.Copy(w.cloud.calls, kept.cloud.calls)
	if err := w.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.DeleteData(t.Context()); err != nil {
		t.Fatal(err)
	}
	called := slices.Sorted(maps.Keys(w.cloud.calls))
	if own := slices.Sorted(slices.Values(ownActions)); !slices.Equal(called, own) {
		t.Errorf("called:  %v\nallowed: %v", called, own)
	}
	if p := string(d.DeployerPolicy()); !strings.Contains(p, `"route53:*"`) || !strings.Contains(p, `"cloudformation:ExecuteChangeSet"`) {
		t.Errorf("the policy is %s", p)
	}
}
