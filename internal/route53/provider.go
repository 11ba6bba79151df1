// Package route53 changes TXT records in an Amazon Route 53 hosted zone, as a
// libdns provider.
//
// A record set is replaced by deleting it as it was read and creating the new one,
// in one change: Route 53 carries that out whole or, when the set is no longer as it
// was read, not at all. So several processes may add and remove values of one name,
// and none undoes what another did.
package route53

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/libdns/libdns"

	"github.com/shingle-proxy/shingle/internal/awsconfig"
)

// Config is what a [Provider] is made of. A zero takes the default.
type Config struct {
	// ZoneID is the hosted zone's. Default: the public zone with the longest name
	// that the records are in, which takes the right to list zones.
	ZoneID string
	// Endpoint is the URL of the service. Default: AWS's own.
	Endpoint string
	// Credentials default to those of the environment: variables, files, or the
	// role of the machine.
	Credentials aws.CredentialsProvider
	// Poll is the time between two looks at whether a change has reached all name
	// servers. Default: 2 s.
	Poll time.Duration
}

// Provider implements [libdns.RecordAppender] and [libdns.RecordDeleter] for TXT
// records. It needs the rights route53:ListResourceRecordSets,
// route53:ChangeResourceRecordSets and route53:GetChange, and, without a ZoneID,
// route53:ListHostedZonesByName.
type Provider struct {
	cfg    Config
	client *route53.Client

	mu    sync.Mutex
	zones map[string]string // ID by name
}

const (
	callTimeout  = 10 * time.Second // of one call, with its retries
	maxConflicts = 10               // of one change with those of others
	maxTTL       = 24 * time.Hour
)

// Open returns a Provider. It reads the AWS configuration, and reaches out to the
// service only when records are changed.
func Open(ctx context.Context, cfg Config) (*Provider, error) {
	cfg.Poll = cmp.Or(cfg.Poll, 2*time.Second)
	options := []func(*config.LoadOptions) error{config.WithDefaultRegion("us-east-1")} // the service is global
	if cfg.Credentials != nil {
		options = append(options, config.WithCredentialsProvider(cfg.Credentials))
	}
	loaded, err := awsconfig.Load(ctx, options...)
	if err != nil {
		return nil, err
	}
	client := route53.NewFromConfig(loaded, func(o *route53.Options) {
		if cfg.Endpoint != "" {
			o.BaseEndpoint = aws.String(cfg.Endpoint)
		}
	})
	return &Provider{cfg: cfg, client: client, zones: map[string]string{}}, nil
}

// AppendRecords adds TXT values, and returns when all name servers of Route 53 have
// them: also one that is there already, by an attempt whose reply was lost or by another
// process, and may be on its way to them.
func (p *Provider) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	for _, r := range records {
		change, err := p.change(ctx, zone, r, true, func(values []string, value string) []string {
			if slices.Contains(values, value) {
				return values
			}
			return append(values, value)
		})
		if err != nil {
			return nil, fmt.Errorf("append TXT record: %w", err)
		}
		if err := p.await(ctx, change); err != nil {
			return nil, fmt.Errorf("wait for TXT record: %w", err)
		}
	}
	return records, nil
}

// DeleteRecords removes TXT values, whatever their TTL. It does not wait for the
// name servers.
func (p *Provider) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	for _, r := range records {
		_, err := p.change(ctx, zone, r, false, func(values []string, value string) []string {
			return slices.DeleteFunc(values, func(v string) bool { return v == value })
		})
		if err != nil {
			return nil, fmt.Errorf("delete TXT record: %w", err)
		}
	}
	return records, nil
}

// change replaces the record set of r's name by what edit makes of its values. It
// returns the change's ID, or "" when there was nothing to change. When it is to be waited for,
// a set that is as it should be is replaced by itself: Route 53 carries changes out in their
// order, so that who waits for this one has waited for those before.
func (p *Provider) change(ctx context.Context, zone string, r libdns.Record, wait bool, edit func(values []string, value string) []string) (id string, err error) {
	rr := r.RR()
	if rr.Type != "TXT" {
		return "", fmt.Errorf("%s records are not supported", rr.Type)
	}
	name, value := libdns.AbsoluteName(rr.Name, zone), quote(rr.Data)
	zoneID, err := p.zoneID(ctx, name)
	if err != nil {
		return "", err
	}
	for try := 0; ; try++ {
		old, err := p.read(ctx, zoneID, name)
		if err != nil {
			return "", err
		}
		batch := replace(old, name, rr.TTL, edit(valuesOf(old), value), wait)
		if len(batch) == 0 {
			return "", nil
		}
		id, err = p.submit(ctx, zoneID, batch)
		if _, conflict := errors.AsType[*types.InvalidChangeBatch](err); !conflict || try == maxConflicts {
			return id, err
		}
		select {
		case <-time.After(rand.N(50*time.Millisecond + 100*time.Millisecond*time.Duration(try))):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// replace returns the changes that turn old, which may be nil, into a set with
// these values; none when it is that, unless there have to be some.
func replace(old *types.ResourceRecordSet, name string, ttl time.Duration, values []string, anyway bool) (batch []types.Change) {
	if slices.Equal(valuesOf(old), values) && !anyway {
		return nil
	}
	if old != nil {
		batch = append(batch, types.Change{Action: types.ChangeActionDelete, ResourceRecordSet: old})
	}
	if len(values) == 0 {
		return batch
	}
	set := &types.ResourceRecordSet{Name: aws.String(name), Type: types.RRTypeTxt, TTL: aws.Int64(int64(min(ttl, maxTTL).Seconds()))}
	if old != nil {
		set.TTL = old.TTL
	}
	for _, v := range values {
		set.ResourceRecords = append(set.ResourceRecords, types.ResourceRecord{Value: aws.String(v)})
	}
	action := types.ChangeActionCreate
	if old != nil && slices.Equal(valuesOf(old), values) {
		action = types.ChangeActionUpsert // moto creates no set like the one before; DELETE finds out whether that is still there
	}
	return append(batch, types.Change{Action: action, ResourceRecordSet: set})
}

func (p *Provider) read(ctx context.Context, zoneID, name string) (*types.ResourceRecordSet, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := p.client.ListResourceRecordSets(ctx, &route53.ListResourceRecordSetsInput{
		HostedZoneId: aws.String(zoneID), StartRecordName: aws.String(name), StartRecordType: types.RRTypeTxt, MaxItems: aws.Int32(1),
	})
	if err != nil {
		return nil, err
	}
	for i := range out.ResourceRecordSets {
		if s := &out.ResourceRecordSets[i]; s.Type == types.RRTypeTxt && strings.EqualFold(aws.ToString(s.Name), name) {
			return s, nil
		}
	}
	return nil, nil
}

func (p *Provider) submit(ctx context.Context, zoneID string, batch []types.Change) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := p.client.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{
		HostedZoneId: aws.String(zoneID), ChangeBatch: &types.ChangeBatch{Changes: batch},
	})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.ChangeInfo.Id), nil
}

// await returns when a change has reached all name servers, or ctx ends.
func (p *Provider) await(ctx context.Context, change string) error {
	tick := time.NewTicker(p.cfg.Poll)
	defer tick.Stop()
	for change != "" {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		out, err := p.client.GetChange(call, &route53.GetChangeInput{Id: aws.String(change)})
		cancel()
		if err != nil {
			return err
		}
		if out.ChangeInfo.Status == types.ChangeStatusInsync {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// zoneID returns the hosted zone that name is in.
func (p *Provider) zoneID(ctx context.Context, name string) (string, error) {
	if p.cfg.ZoneID != "" {
		return p.cfg.ZoneID, nil
	}
	for _, at, ok := strings.Cut(name, "."); ok && at != ""; _, at, ok = strings.Cut(at, ".") {
		id, err := p.publicZone(ctx, at)
		if err != nil || id != "" {
			return id, err
		}
	}
	return "", fmt.Errorf("no public hosted zone of this account holds %s", name)
}

// publicZone returns the ID of the public zone with exactly that name, or "". One
// that was found is remembered.
func (p *Provider) publicZone(ctx context.Context, name string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id := p.zones[name]; id != "" {
		return id, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := p.client.ListHostedZonesByName(ctx, &route53.ListHostedZonesByNameInput{DNSName: aws.String(name), MaxItems: aws.Int32(10)})
	if err != nil {
		return "", err
	}
	for _, z := range out.HostedZones {
		if aws.ToString(z.Name) == name && (z.Config == nil || !z.Config.PrivateZone) {
			p.zones[name] = aws.ToString(z.Id)
			return p.zones[name], nil
		}
	}
	return "", nil
}

func valuesOf(s *types.ResourceRecordSet) (values []string) {
	if s != nil {
		for _, r := range s.ResourceRecords {
			values = append(values, aws.ToString(r.Value))
		}
	}
	return values
}

// quote writes a TXT value as Route 53 has it; ours are short and of plain
// characters.
func quote(value string) string { return strconv.Quote(value) }
