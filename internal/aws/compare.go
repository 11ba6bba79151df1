package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
)

// compare returns what differs between the stack's template and the one that it
// was made from. It cannot know what will be replaced.
func (r *stackRun) compare(ctx context.Context) ([]Change, error) {
	body, err := r.template(ctx)
	if err != nil {
		return nil, err
	}
	var was, is struct {
		Resources map[string]struct {
			Type       string
			Properties map[string]any
		}
	}
	if err := json.Unmarshal(body, &was); err != nil {
		return nil, fmt.Errorf("read template of stack %s, which is not one of ours: %w", r.stack.ID(), err)
	}
	if err := json.Unmarshal(r.stack.Template.JSON(), &is); err != nil {
		return nil, err
	}
	var list []Change
	for _, id := range slices.Sorted(maps.Keys(is.Resources)) {
		now := is.Resources[id]
		before, there := was.Resources[id]
		c := Change{Stack: r.stack.ID(), Resource: id, Type: now.Type, Action: ActionAdd}
		if there {
			c.Action, c.Details = ActionModify, differing(before.Properties, now.Properties)
			if len(c.Details) == 0 {
				continue
			}
		}
		list = append(list, c)
	}
	for _, id := range slices.Sorted(maps.Keys(was.Resources)) {
		if _, stays := is.Resources[id]; !stays {
			list = append(list, Change{Stack: r.stack.ID(), Resource: id, Type: was.Resources[id].Type, Action: ActionRemove})
		}
	}
	return list, nil
}

// template returns what the stack was made from.
func (r *stackRun) template(ctx context.Context) ([]byte, error) {
	out, err := r.cloud.GetTemplate(ctx, &cloudformation.GetTemplateInput{StackName: &r.stack.Name})
	if err != nil {
		return nil, fmt.Errorf("read template of stack %s: %w", r.stack.ID(), err)
	}
	return []byte(aws.ToString(out.TemplateBody)), nil
}

// differing returns the names of the properties that are not the same.
func differing(a, b map[string]any) (names []string) {
	all := map[string]bool{}
	for name := range a {
		all[name] = true
	}
	for name := range b {
		all[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !reflect.DeepEqual(a[name], b[name]) {
			names = append(names, name)
		}
	}
	return names
}
