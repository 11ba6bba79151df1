package aws

import (
	"fmt"
	"slices"
	"strings"
)

// Stack is a CloudFormation stack of a stage.
type Stack struct {
	Kind   string
	Name   string // unique in the account and region
	Region string
	After  []string // IDs of the stacks that must be there before
	// Inputs are the parameters that other stacks answer. All others are the
	// deployer's to know.
	Inputs   map[string]Source
	Tags     map[string]string
	Template Template
}

// The kinds of stacks.
const (
	kindBase    = "base"
	kindData    = "data"
	kindKey     = "key"
	kindControl = "control"
	kindFront   = "front"
	kindEdge    = "edge"
)

// Source is an output of a stack.
type Source struct{ Stack, Output string }

// ID names a stack among those of a deployment.
func (s *Stack) ID() string { return s.Region + "/" + s.Name }

// Stacks returns the stacks of the deployment, in an order in which they can be
// made. Reversed, it is one in which they can be removed. d must be valid.
//
//	base     a bucket for the binary and the edges' addresses; in each region
//	data     the table, and the KMS key if it is one           home
//	key      a replica of the KMS key                          in each other region
//	control  API and scheduled work                            home
//	front    the accelerator, or latency records               home
//	edge     network and instances                             in each region
func (d *Deployment) Stacks() []Stack {
	var list []Stack
	for _, r := range d.Regions {
		list = append(list, d.base(r))
	}
	list = append(list, d.data())
	for _, r := range d.Regions {
		if d.ownsReplica(r.Name) {
			list = append(list, d.key(r))
		}
	}
	list = append(list, d.control(), d.front())
	for _, r := range d.Regions {
		list = append(list, d.edge(r))
	}
	for i := range list {
		list[i].finish()
	}
	return list
}

// finish derives what follows from the inputs.
func (s *Stack) finish() {
	s.Template.Version = "2010-09-09"
	for _, in := range s.Inputs {
		if !slices.Contains(s.After, in.Stack) {
			s.After = append(s.After, in.Stack)
		}
	}
	slices.Sort(s.After)
}

func (d *Deployment) newStack(kind, region, what string) Stack {
	return Stack{
		Kind: kind, Name: d.name(kind), Region: region, Inputs: map[string]Source{}, Tags: map[string]string{"shingle:stage": d.Stage},
		Template: Template{
			Description: fmt.Sprintf("Shingle, stage %s: %s", d.Stage, what),
			Parameters:  map[string]Parameter{}, Resources: map[string]Resource{}, Outputs: map[string]Output{},
		},
	}
}

// input makes a parameter of s that an output of another stack answers.
func (s *Stack) input(name, what string, of *Stack, output string) props {
	s.Template.Parameters[name] = text(what + ": output " + output + " of " + of.Name)
	s.Inputs[name] = Source{of.ID(), output}
	return ref(name)
}

func (s *Stack) output(name, what string, v any) {
	s.Template.Outputs[name] = Output{Description: what, Value: v}
}

// name is that of something in the account: shingle-prd-edge.
func (d *Deployment) name(what string) string { return "shingle-" + d.Stage + "-" + what }

// table is the name of the table.
func (d *Deployment) table() string { return "shingle-" + d.Stage }

// keyParameter is the name of the parameter with the master key. CloudFormation
// cannot make encrypted ones: the deployer does.
func (d *Deployment) keyParameter() string { return "/shingle/" + d.Stage + "/master-key" }

// keyAlias is the name of the KMS key, if the stage has one.
func (d *Deployment) keyAlias() string { return "alias/shingle-" + d.Stage }

// zoneComment tells a zone that the stage made from all others.
func (d *Deployment) zoneComment() string { return "Shingle, stage " + d.Stage }

func (d *Deployment) tags() []props {
	return []props{{"Key": "shingle:stage", "Value": d.Stage}}
}

// logical turns the name of a region into a part of a logical ID: EuWest1.
func logical(region string) string {
	var b strings.Builder
	for _, part := range strings.Split(region, "-") {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}
