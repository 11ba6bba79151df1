package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Outputs returns what people need to know of the stage: name and value.
func (x *Deployer) Outputs(ctx context.Context) (rows [][2]string, err error) {
	for _, s := range x.Deployment.Stacks() {
		is, err := x.run(&s).look(ctx, s.Name)
		if err != nil && !errors.Is(err, errNoStack) {
			return nil, err
		}
		for _, name := range []string{"URL", "Addresses", "NameServers"} {
			if v := is.outputs[name]; v != "" {
				rows = append(rows, [2]string{s.Template.Outputs[name].Description, v})
			}
		}
		for _, address := range edgeAddresses(&s, is.outputs) {
			rows = append(rows, [2]string{"Address of an edge in " + s.Region, address})
		}
	}
	return rows, nil
}

// Entry is how a stage is reached.
type Entry struct {
	API       string   // URL
	Addresses []string // of the edges or, with an accelerator, of that
}

// Entry returns how the stage is reached.
func (x *Deployer) Entry(ctx context.Context) (e Entry, err error) {
	for _, s := range x.Deployment.Stacks() {
		is, err := x.run(&s).look(ctx, s.Name)
		if err != nil {
			return e, err
		}
		if s.Kind == kindControl {
			e.API = strings.TrimSuffix(is.outputs["URL"], "/")
		}
		if v := is.outputs["Addresses"]; s.Kind == kindFront && v != "" {
			e.Addresses = append(e.Addresses, strings.Split(v, ",")...)
		}
		e.Addresses = append(e.Addresses, edgeAddresses(&s, is.outputs)...)
	}
	return e, nil
}

// edgeAddresses are those of the edges of a region, which its base stack has.
func edgeAddresses(s *Stack, outputs map[string]string) (list []string) {
	for i := 1; s.Kind == kindBase && outputs[fmt.Sprintf("Address%d", i)] != ""; i++ {
		list = append(list, outputs[fmt.Sprintf("Address%d", i)])
	}
	return list
}
