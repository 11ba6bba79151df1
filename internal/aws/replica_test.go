package aws

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// TestReplicas_ComeAndGoWithTheirRegion has the master key in each region of the stage: made
// behind the one at home, deleted with its region, and called back while it is there.
func TestReplicas_ComeAndGoWithTheirRegion(t *testing.T) {
	d := deployment(FrontRoute53, usEast, euWest)
	d.MasterKey = MasterKeyKMS
	w := newWorld(t, d)
	var order []string
	w.cloud.onExecute = func(stack string) { order = append(order, stack) }
	w.deploy(t)
	of := func(stack string) int { return slices.Index(order, "shingle-prd-"+stack) }
	if of("key") < of("data") || w.cloud.copies["eu-west-1"] != "Enabled" || w.status("us-east-1", "shingle-prd-key") != "none" {
		t.Fatalf("made in the order %v: %v", order, w.cloud.copies)
	}
	order = nil
	w.deploy(t)
	if len(order) > 0 {
		t.Errorf("a second deployment changed %v", order)
	}
	regions := func(state string, list ...Region) {
		t.Helper()
		again := deployment(FrontRoute53, list...) // from the flags
		again.MasterKey = MasterKeyKMS
		w.Deployment = again
		plan, err := w.Plan(t.Context())
		if err != nil || len(plan.Destroys()) > 0 {
			t.Fatalf("%+v, %v", plan.Destroys(), err)
		}
		if err := w.Deploy(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
		if got := w.cloud.copies["eu-west-1"]; got != state {
			t.Errorf("with the regions %v the replica is %q, not %q", list, got, state)
		}
		if plan, err := w.Plan(t.Context()); err != nil || len(plan.Changes) > 0 {
			t.Errorf("with the regions %v: again %v, %v", list, plan.Changes, err)
		}
	}
	regions("PendingDeletion", usEast)
	regions("Enabled", usEast, euWest) // called back
	regions("PendingDeletion", usEast)
	delete(w.cloud.copies, "eu-west-1") // its days are over
	regions("Enabled", usEast, euWest)  // made anew
	if err := w.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	key := w.cloud.key
	if w.cloud.copies["eu-west-1"] != "PendingDeletion" || key == "" {
		t.Errorf("after the stage was removed: %v, the key at home %q", w.cloud.copies, key)
	}
	regions("Enabled", usEast, euWest)
	if w.cloud.key != key || w.Deployment.MasterKeyARN != key {
		t.Errorf("the next life has the key %q, not %q", w.Deployment.MasterKeyARN, key)
	}
	if err := w.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.cloud.copies["eu-west-1"] != "PendingDeletion" {
		t.Errorf("a replica that was called back: %v", w.cloud.copies)
	}
}

// TestReplicas_EdgesUseTheirOwn holds each region's processes against its key: by its name at
// home, with rights on the replica alone.
func TestReplicas_EdgesUseTheirOwn(t *testing.T) {
	d := deployment(FrontRoute53, usEast, euWest)
	d.MasterKey = MasterKeyKMS
	for _, s := range d.Stacks() {
		text := string(s.Template.JSON())
		if s.Kind == kindEdge && s.Region == "us-east-1" && (!strings.Contains(text, `SHINGLE_MASTER_KEY=kms:${MasterKeyArn}\n`) || strings.Contains(text, "Fn::Split")) {
			t.Errorf("at home: %s", text)
		}
		if s.Kind == kindEdge && s.Region == "eu-west-1" {
			if !strings.Contains(text, `SHINGLE_MASTER_KEY=kms:${MasterKeyArn}@${AWS::Region}\n`) || !slices.Contains(s.After, "eu-west-1/shingle-prd-key") {
				t.Errorf("elsewhere, behind %v: %s", s.After, text)
			}
			rights, _ := json.Marshal(d.masterKeyRights(&s))
			if !strings.Contains(string(rights), `"arn:${AWS::Partition}:kms:${AWS::Region}:${AWS::AccountId}:${Name}"`) {
				t.Errorf("rights elsewhere: %s", rights)
			}
		}
	}
}
