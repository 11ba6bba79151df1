package aws

import (
	"math"
	"testing"
)

func deployment(front Front, regions ...Region) *Deployment {
	return &Deployment{
		Stage: "prd", Regions: regions, InstanceType: "t4g.nano", Front: front, MasterKey: MasterKeyParameter,
		Zone: "example.com", Name: "edge.example.com", Target: "app.example.com", Email: "ops@example.com",
	}
}

func near(a, b float64) bool { return math.Abs(a-b) < 0.005 }

func TestReference_CostsWhatItSays(t *testing.T) {
	b := Reference()
	if !near(b.Scoped(), 26.39) || !near(b.Total(), 38.33) {
		t.Errorf("the reference costs %.3f, all in %.3f; want 26.39 and 38.33", b.Scoped(), b.Total())
	}
}

// TestCost_MeetsTheTargets holds the bills against what docs/aws.md says, with 100
// domains.
func TestCost_MeetsTheTargets(t *testing.T) {
	us, eu, ap := Region{"us-east-1", 1}, Region{"eu-west-1", 1}, Region{"ap-northeast-1", 1}
	elsewhere := deployment(FrontAccelerator, us)
	elsewhere.Zone = ""
	for _, c := range []struct {
		name string
		d    *Deployment
		most float64
	}{
		{"one region, Route 53", deployment(FrontRoute53, us), 8},
		{"three regions, Route 53", deployment(FrontRoute53, us, eu, ap), 23},
		{"one region, Global Accelerator", elsewhere, 33},
	} {
		b := c.d.Cost(Load{Domains: 100, NewDomains: 10, APICalls: 10_000})
		t.Logf("%s: %.3f", c.name, b.Total())
		if b.Total() >= c.most {
			t.Errorf("%s: %.3f, not under %.2f: %+v", c.name, b.Total(), c.most, b.Lines)
		}
	}
}

// TestCost_CountsWhatTheStacksHave holds the quantities against the templates.
func TestCost_CountsWhatTheStacksHave(t *testing.T) {
	for name, d := range variants() {
		instances := 0.0
		for _, r := range d.Regions {
			instances += float64(r.Edges)
		}
		accelerators := d.count("AWS::GlobalAccelerator::Accelerator")
		want := map[string]float64{
			d.InstanceType: instances * hours, "disk": instances * diskGB, "ipv4": (instances + 2*accelerators) * hours,
			"accelerator": accelerators * hours, "alarm": d.count("AWS::CloudWatch::Alarm"), "health-check": d.count("AWS::Route53::HealthCheck"),
			"kms-key": d.count("AWS::KMS::Key") + d.count("AWS::KMS::ReplicaKey"),
		}
		if addresses := d.count("AWS::EC2::EIP"); d.Front == FrontRoute53 && addresses != instances {
			t.Errorf("%s: %v addresses for %v edges", name, addresses, instances)
		}
		b := d.Cost(Load{})
		for _, l := range b.Lines {
			if n, ok := want[l.ID]; ok && n != l.Quantity {
				t.Errorf("%s: %s: the bill has %v, the stacks %v", name, l.What, l.Quantity, n)
			}
			delete(want, l.ID)
		}
		for id, n := range want {
			if n > 0 {
				t.Errorf("%s: the bill lacks %v of %s", name, n, id)
			}
		}
	}
}

func TestPrices_AreComplete(t *testing.T) {
	table := Prices()
	if table.Noted == "" || table.Region == "" {
		t.Error("the price table does not say of when and where it is")
	}
	seen := map[string]bool{}
	for _, p := range table.Prices {
		if p.ID == "" || p.USD <= 0 || p.Per == "" || p.Source == "" || seen[p.ID] {
			t.Errorf("incomplete or twice: %+v", p)
		}
		seen[p.ID] = true
	}
	for _, front := range []Front{FrontRoute53, FrontAccelerator} {
		d := deployment(front, Region{"us-east-1", 2})
		d.MasterKey = MasterKeyKMS
		d.Cost(Load{Domains: 1, TrafficGB: 1, APICalls: 1}) // panics when a price is missing
	}
}
