package aws

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// Action is what a change does to a resource.
type Action string

// The actions.
const (
	ActionAdd    Action = "add"
	ActionModify Action = "modify"
	ActionRemove Action = "remove"
	ActionImport Action = "import" // a resource that is there already: the table of a stage that was removed
)

// Change is that of one resource.
type Change struct {
	Stack    string `json:"stack"` // its ID
	Resource string `json:"resource"`
	Type     string `json:"type"`
	Action   Action `json:"action"`
	// Replaces reports that the resource is made anew and the old one deleted, or
	// may be: CloudFormation does not always know.
	Replaces bool `json:"replaces,omitempty"`
	// Details are the properties that change.
	Details []string `json:"details,omitempty"`
}

// Destroys reports whether the change deletes or replaces what cannot be had
// again: a table, a key, a zone.
func (c *Change) Destroys() bool {
	return (c.Action == ActionRemove || c.Replaces) && keeps(c.Type)
}

// keeps reports whether a kind of resource has what cannot be made again.
func keeps(kind string) bool {
	switch kind {
	case "AWS::DynamoDB::GlobalTable", "AWS::DynamoDB::Table", "AWS::KMS::Key", "AWS::Route53::HostedZone":
		return true
	}
	return false
}

func (c *Change) String() string {
	s := fmt.Sprintf("%s %s (%s)", c.Action, c.Resource, c.Type)
	if c.Replaces {
		s = "replace " + strings.TrimPrefix(s, string(ActionModify)+" ")
	}
	if len(c.Details) > 0 {
		s += ": " + strings.Join(c.Details, ", ")
	}
	return s
}

// changes translates those of a change set.
func changes(stack string, list []types.Change) (out []Change) {
	for _, each := range list {
		r := each.ResourceChange
		if r == nil {
			continue
		}
		c := Change{Stack: stack, Resource: aws.ToString(r.LogicalResourceId), Type: aws.ToString(r.ResourceType)}
		switch r.Action {
		case types.ChangeActionAdd:
			c.Action = ActionAdd
		case types.ChangeActionRemove:
			c.Action = ActionRemove
		case types.ChangeActionImport:
			c.Action = ActionImport
		default:
			c.Action = ActionModify
			c.Replaces = r.Replacement == types.ReplacementTrue || r.Replacement == types.ReplacementConditional
		}
		for _, d := range r.Details {
			if d.Target != nil && d.Target.Name != nil {
				c.Details = append(c.Details, *d.Target.Name)
			}
		}
		out = append(out, c)
	}
	return out
}
