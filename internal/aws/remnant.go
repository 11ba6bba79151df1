package aws

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
)

// Remnant is something of a stage that is there without its stacks.
type Remnant struct {
	What string
	USD  float64 // in 30 days
	Do   string  // to be rid of it
}

// Remnants returns what is left of a stage whose stacks were removed.
func (x *Deployer) Remnants(ctx context.Context) (list []Remnant, err error) {
	for _, look := range []func(context.Context) ([]Remnant, error){x.tableRemnant, x.parameterRemnants, x.keyRemnant, x.zoneRemnant} {
		found, err := look(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	return list, nil
}

const deleteData = "shingle remove --delete-data"

func (x *Deployer) tableRemnant(ctx context.Context) ([]Remnant, error) {
	is, err := x.lookAtTable(ctx, x.Deployment.Home())
	if err != nil || is == nil {
		return nil, err
	}
	regions := withReplicas([]string{x.Deployment.Home()}, is)
	gigabytes := float64(aws.ToInt64(is.TableSizeBytes)) / 1e9
	cost := gigabytes * float64(len(regions)) * (usd("table-storage") + usd("table-recovery"))
	what := fmt.Sprintf("the table %s in %s: every domain and every certificate (%.3f GB)", x.Deployment.table(), strings.Join(regions, ", "), gigabytes)
	return []Remnant{{what, cost, deleteData}}, nil
}

func (x *Deployer) parameterRemnants(ctx context.Context) (list []Remnant, err error) {
	regions, err := x.Regions(ctx)
	if err != nil {
		return nil, err
	}
	home := x.Deployment.Home()
	for _, region := range union([]string{home}, regions) {
		names := []string{x.Deployment.keyParameter()}
		if region == home {
			names = append(names, x.Deployment.clientSecretParameter(), x.Deployment.regionsParameter())
		}
		for _, name := range names {
			text, err := x.parameter(ctx, region, name)
			if err != nil {
				return nil, err
			}
			if text != "" {
				list = append(list, Remnant{"the parameter " + name + " in " + region, 0, deleteData})
			}
		}
	}
	return list, nil
}

func (x *Deployer) keyRemnant(ctx context.Context) ([]Remnant, error) {
	is, err := x.stageKey(ctx)
	if err != nil || is == nil || is.DeletionDate != nil {
		return nil, err
	}
	what := fmt.Sprintf("the KMS key %s in %s, which opens the table; each of its first two yearly rotations adds as much", x.Deployment.keyAlias(), x.Deployment.Home())
	return []Remnant{{what, usd("kms-key"), deleteData}}, nil
}

func (x *Deployer) zoneRemnant(ctx context.Context) ([]Remnant, error) {
	zone, err := x.stageZone(ctx)
	if err != nil || zone == nil {
		return nil, err
	}
	id := strings.TrimPrefix(aws.ToString(zone.Id), "/hostedzone/")
	what := fmt.Sprintf("the zone %s (%s), to which the registrar may delegate", strings.TrimSuffix(aws.ToString(zone.Name), "."), id)
	return []Remnant{{what, usd("zone"), "delete its records in the Route 53 console, then aws route53 delete-hosted-zone --id " + id}}, nil
}

// maxZonePages bounds a look at all zones of an account, with 100 in a page.
const maxZonePages = 20

// stageZone returns the zone that the stage has made, or nil.
func (x *Deployer) stageZone(ctx context.Context) (*types.HostedZone, error) {
	client := route53.NewFromConfig(x.Account.in(x.Deployment.Home()))
	in := &route53.ListHostedZonesByNameInput{}
	if x.Deployment.Zone != "" {
		in.DNSName = &x.Deployment.Zone
	}
	for range maxZonePages {
		out, err := client.ListHostedZonesByName(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("look for a zone of the stage: %w", err)
		}
		for _, z := range out.HostedZones {
			if z.Config != nil && aws.ToString(z.Config.Comment) == x.Deployment.zoneComment() && (x.Deployment.Zone == "" || strings.TrimSuffix(aws.ToString(z.Name), ".") == x.Deployment.Zone) {
				return &z, nil
			}
		}
		if !out.IsTruncated || x.Deployment.Zone != "" {
			break
		}
		in.DNSName, in.HostedZoneId = out.NextDNSName, out.NextHostedZoneId
	}
	return nil, nil //nolint:nilnil // there is none, which is no error
}

// usd is a price of the table.
func usd(id string) float64 {
	p, _ := Prices().find(id)
	return p.USD
}
