// Package aws puts Shingle on AWS: which stacks a stage is made of, as
// CloudFormation templates, and what they cost. It is pure: what it makes depends
// on the Deployment alone.
package aws

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// Front is how visitors find the nearest edge.
type Front string

// The fronts.
const (
	FrontRoute53     Front = "route53"     // latency records to the edges' own addresses
	FrontAccelerator Front = "accelerator" // two anycast addresses of AWS Global Accelerator
)

// MasterKey is what protects the private keys.
type MasterKey string

// The master keys.
const (
	MasterKeyParameter MasterKey = "parameter" // an encrypted parameter of Systems Manager: free
	MasterKeyKMS       MasterKey = "kms"       // a multi-region KMS key, which nobody can read
)

// Deployment is one stage of Shingle in an AWS account.
type Deployment struct {
	// Stage is in the name of everything: lower-case letters, digits and hyphens.
	Stage string
	// Regions are where edges are. The first is the home region: of the control
	// plane, and of the writes to the table.
	Regions []Region
	// InstanceType of the edges: an arm64 one with a price in the table.
	InstanceType string
	Front        Front
	MasterKey    MasterKey
	// MasterKeyARN is the KMS key that an earlier life of the stage left, and that its
	// table is under; empty: the stage has made its own. A Deployer finds it.
	MasterKeyARN string `json:",omitempty"`
	// KeptReplicas are the regions whose replica of the KMS key no stack has made: what an
	// earlier life of the stage, or of the region, left. A Deployer finds them.
	KeptReplicas []string `json:",omitempty"`

	// Zone is the DNS zone, such as example.com, in which Name is the name that
	// customers' CNAME records lead to, such as edge.example.com. ZoneID is the
	// ID of the zone in Route 53; without it the zone is made. With an accelerator,
	// whose addresses never change, Zone may be empty: then the name is somewhere
	// else, and whoever has it sets the records.
	Zone, ZoneID, Name string
	// Target is the product: a host name or a URL.
	Target string
	// Email is where the CA and the alarms write to.
	Email string
	// SSHFrom, if set, is the network (CIDR) that may reach SSH on the edges.
	// Without it there is Session Manager alone.
	SSHFrom string
	// Pages is what the control plane shows to people.
	Pages Pages `json:",omitzero"`
	// Settings are further ones of the stage's processes.
	Settings Settings `json:",omitzero"`
}

// Region is a region with edges.
type Region struct {
	Name  string
	Edges int // instances, at least 1
}

// ParseRegion reads "eu-west-1" or "eu-west-1:2".
func ParseRegion(s string) (Region, error) {
	name, count, many := strings.Cut(s, ":")
	r := Region{Name: name, Edges: 1}
	if many {
		if _, err := fmt.Sscanf(count, "%d", &r.Edges); err != nil || fmt.Sprint(r.Edges) != count {
			return r, shingle.Errorf(shingle.CodeInvalid, "region %q: behind the colon is the number of edges, such as eu-west-1:2", s)
		}
	}
	return r, nil
}

// Bounds of a deployment.
const (
	maxRegions = 20
	maxEdges   = 20 // a region: addresses are made for each
)

var (
	stageName  = regexp.MustCompile(`^[a-z][a-z0-9-]{0,15}$`)
	regionName = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)
	zoneID     = regexp.MustCompile(`^Z[A-Z0-9]{3,31}$`)
)

// faults collects what is wrong with settings.
type faults []error

func (f *faults) add(setting, format string, args ...any) {
	*f = append(*f, shingle.Errorf(shingle.CodeInvalid, "--%s: %s", setting, fmt.Sprintf(format, args...)))
}

// Validate returns everything that is wrong, each with the setting's name.
func (d *Deployment) Validate() error {
	var f faults
	d.validateSize(&f)
	d.validateNames(&f)
	d.validateSettings(&f)
	d.validatePages(&f)
	return errors.Join(f...)
}

// ValidateSize is [Deployment.Validate] for what a bill depends on.
func (d *Deployment) ValidateSize() error {
	var f faults
	d.validateSize(&f)
	return errors.Join(f...)
}

func (d *Deployment) validateSize(f *faults) {
	if !stageName.MatchString(d.Stage) {
		f.add("stage", "%q: a letter, then letters, digits and hyphens, 16 at most, all lower-case", d.Stage)
	}
	d.validateRegions(f)
	if p, ok := Prices().find(d.InstanceType); !ok || p.Per != "hour" || !arm64(d.InstanceType) {
		f.add("instance-type", "%q is not one of t4g.nano, t4g.micro and t4g.small", d.InstanceType)
	}
	if d.Front != FrontRoute53 && d.Front != FrontAccelerator {
		f.add("front", "%q is neither route53 nor accelerator", d.Front)
	}
	if d.MasterKey != MasterKeyParameter && d.MasterKey != MasterKeyKMS {
		f.add("aws-master-key", "%q is neither parameter nor kms", d.MasterKey)
	}
}

func (d *Deployment) validateRegions(f *faults) {
	if len(d.Regions) == 0 || len(d.Regions) > maxRegions {
		f.add("region", "name 1 to %d regions; the first is the home region", maxRegions)
	}
	for i, r := range d.Regions {
		switch {
		case !regionName.MatchString(r.Name):
			f.add("region", "%q is no name of a region, such as eu-west-1", r.Name)
		case r.Edges < 1 || r.Edges > maxEdges:
			f.add("region", "%s has %d edges: 1 to %d can be", r.Name, r.Edges, maxEdges)
		case slices.ContainsFunc(d.Regions[:i], func(o Region) bool { return o.Name == r.Name }):
			f.add("region", "%s is there twice; for more edges: %s:2", r.Name, r.Name)
		}
	}
}

func (d *Deployment) validateNames(f *faults) {
	zone, zoneErr := shingle.NormalizeHost(d.Zone)
	elsewhere := d.Zone == "" && d.Front == FrontAccelerator
	if zoneErr != nil && !elsewhere {
		f.add("zone", "%q is no domain name, such as example.com", d.Zone)
	}
	name, err := shingle.NormalizeHost(d.Name)
	if err != nil {
		f.add("edge-name", "%q is no host name, such as edge.example.com", d.Name)
	} else if zoneErr == nil && !strings.HasSuffix(name, "."+zone) {
		f.add("edge-name", "%q is not below the zone %q", d.Name, d.Zone)
	}
	if elsewhere && d.ZoneID != "" {
		f.add("zone", "name the zone that has the ID %s", d.ZoneID)
	}
	if d.ZoneID != "" && !zoneID.MatchString(d.ZoneID) {
		f.add("zone-id", "%q is no ID of a hosted zone, such as Z0123456789ABCDEFGHIJ", d.ZoneID)
	}
	if d.Target == "" {
		f.add("target", "name the product behind the domains, such as app.example.com")
	}
	if !strings.Contains(d.Email, "@") {
		f.add("email", "%q is no address; the CA and the alarms write to it", d.Email)
	}
}

func arm64(instanceType string) bool { return strings.HasPrefix(instanceType, "t4g.") }

// Home is the region of the control plane, where the table is written.
func (d *Deployment) Home() string { return d.Regions[0].Name }

func (d *Deployment) edges() (n int) {
	for _, r := range d.Regions {
		n += r.Edges
	}
	return n
}
