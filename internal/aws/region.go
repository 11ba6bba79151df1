package aws

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/shingle-proxy/shingle"
)

// A parameter in the home region notes in which regions something of the stage may be: it
// is written before anything is made in another region, and forgets a region when nothing
// is left there. So whatever is cut short can be gone on with, also when the stack with the
// record of the deployment is not there yet, or no more. The last thing to be deleted is it.

// regionsParameter is the name of that parameter.
func (d *Deployment) regionsParameter() string { return "/shingle/" + d.Stage + "/regions" }

// Regions returns the regions in which something of the stage may be, home the first; none
// when nobody has ever deployed it from that home.
func (x *Deployer) Regions(ctx context.Context) ([]string, error) {
	before, err := x.Before(ctx)
	if err != nil {
		return nil, err
	}
	return x.regions(ctx, before)
}

// Found has the deployer's deployment be what there is: what the stage was deployed as, or
// else the stage in the regions in which something of it may be.
func (x *Deployer) Found(ctx context.Context) error {
	before, err := x.Before(ctx)
	if err != nil {
		return err
	}
	if before != nil {
		x.Deployment = before
		return nil
	}
	regions, err := x.regions(ctx, nil)
	for _, name := range without(regions, x.Deployment.regionNames()) {
		x.Deployment.Regions = append(x.Deployment.Regions, Region{Name: name, Edges: 1})
	}
	return err
}

// regions is Regions of a stage that was deployed as before. Stacks that nobody has noted
// belong to a stage whose home is elsewhere.
func (x *Deployer) regions(ctx context.Context, before *Deployment) ([]string, error) {
	text, err := x.parameter(ctx, x.Deployment.Home(), x.Deployment.regionsParameter())
	if err != nil {
		return nil, err
	}
	list := strings.Fields(text)
	if before != nil {
		list = union(list, before.regionNames())
	}
	if len(list) > 0 {
		return list, nil
	}
	home := x.Deployment.Home()
	others, err := x.there(ctx, x.Deployment.everything([]string{home}))
	if err == nil && len(others) > 0 {
		err = shingle.Errorf(shingle.CodeConflict, "there is the stack %s, but %s is not the home region of stage %s: name that one by --region, before all others", others[0].ID(), home, x.Deployment.Stage)
	}
	return nil, err
}

// noteRegions notes the regions in which something is or will be.
func (x *Deployer) noteRegions(ctx context.Context, regions []string) error {
	name, home := x.Deployment.regionsParameter(), x.Deployment.Home()
	text := strings.Join(regions, " ")
	is, err := x.parameter(ctx, home, name)
	if err != nil || is == text {
		return err
	}
	return x.putParameter(ctx, home, &ssm.PutParameterInput{
		Name: &name, Value: &text, Type: ssmtypes.ParameterTypeString, Overwrite: aws.Bool(true),
		Description: aws.String("The regions in which something of Shingle's stage " + x.Deployment.Stage + " is; written by shingle deploy"),
	})
}

// everything returns all stacks that a stage may have in regions, home the first.
func (d *Deployment) everything(regions []string) []Stack {
	all := &Deployment{Stage: d.Stage, MasterKey: MasterKeyKMS} // with the stacks of its replicas
	for _, name := range regions {
		all.Regions = append(all.Regions, Region{Name: name, Edges: 1})
	}
	return all.Stacks()
}

// there returns the stacks that are there.
func (x *Deployer) there(ctx context.Context, stacks []Stack) (list []Stack, err error) {
	for _, s := range stacks {
		_, err := x.run(&s).look(ctx, s.Name)
		switch {
		case err == nil:
			list = append(list, s)
		case !errors.Is(err, errNoStack):
			return nil, err
		}
	}
	return list, nil
}

// stale returns the stacks in regions that are no longer wanted.
func (x *Deployer) stale(ctx context.Context, regions []string) ([]Stack, error) {
	wanted := x.Deployment.Stacks()
	all := x.Deployment.everything(union(x.Deployment.regionNames(), regions))
	return x.there(ctx, filter(all, func(s Stack) bool {
		return !slices.ContainsFunc(wanted, func(o Stack) bool { return o.ID() == s.ID() })
	}))
}

func (d *Deployment) regionNames() (names []string) {
	for _, r := range d.Regions {
		names = append(names, r.Name)
	}
	return names
}

// union returns a, and what is in b alone behind it.
func union(a, b []string) []string {
	return append(slices.Clone(a), without(b, a)...)
}

// without returns what is in a alone.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}
