// Package dns01 answers DNS-01 validations (RFC 8555 section 8.4) of customers'
// domains in a zone of ours. A customer sets one CNAME record from the name where
// the CA looks to a name in our zone; what the CA is to find we publish there,
// through whoever hosts the zone.
package dns01

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/libdns/libdns"

	"github.com/shingle-proxy/shingle"
)

// Provider changes the records of our zone where it is hosted. Values of one name
// are a set: to append or delete one must leave those alone that others append or
// delete at the same time, in other processes too.
type Provider interface {
	libdns.RecordAppender
	libdns.RecordDeleter
}

// Lookup asks the servers that are responsible, whatever resolvers remember.
type Lookup interface {
	// Aliases returns the CNAME records from a name on. The error says why the
	// chain may be longer: [shingle.ErrInvalid] when somebody's DNS is broken.
	Aliases(ctx context.Context, name string) ([]shingle.Alias, error)

	// Texts returns the TXT values of a name, by server. It returns
	// [shingle.ErrUnavailable] when none answers.
	Texts(ctx context.Context, name string) (byServer map[string][]string, err error)
}

// Config is what a [Zone] is made of. Name, Provider and Lookup are required; a
// zero elsewhere takes the default.
type Config struct {
	// Name is the zone's, such as acme.example.com. It may be a part of a zone: then
	// all names below it are ours.
	Name     string
	Provider Provider
	Lookup   Lookup

	Wait time.Duration // for all name servers to have what is published. Default: 2 min
	Poll time.Duration // between two looks at them. Default: 2 s
}

// Zone is a zone of ours to which customers delegate. Its methods are safe for
// concurrent use.
type Zone struct{ cfg Config }

const (
	recordTTL   = 10 * time.Second
	maxZoneName = 200 // leaves room for the label
)

// New checks cfg and returns a Zone.
func New(cfg Config) (*Zone, error) {
	name, err := shingle.NormalizeHost(cfg.Name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("DNS-01 zone: %s", shingle.MessageOf(err))
	case len(name) > maxZoneName:
		return nil, fmt.Errorf("DNS-01 zone: the name is longer than %d characters", maxZoneName)
	case cfg.Provider == nil || cfg.Lookup == nil:
		return nil, errors.New("DNS-01 zone: Provider and Lookup are required")
	case cfg.Wait < 0 || cfg.Poll < 0:
		return nil, errors.New("DNS-01 zone: Wait and Poll cannot be negative")
	}
	cfg.Name = name
	cfg.Wait, cfg.Poll = cmp.Or(cfg.Wait, 2*time.Minute), cmp.Or(cfg.Poll, 2*time.Second)
	return &Zone{cfg}, nil
}

// Name returns the zone's name, in lower case without the final dot.
func (z *Zone) Name() string { return z.cfg.Name }

// Delegated returns nil when name leads to target by CNAME records. It returns
// [shingle.ErrInvalid] with what is there instead, and any other error when that
// could not be learned.
func (z *Zone) Delegated(ctx context.Context, name, target string) error {
	chain, err := z.cfg.Lookup.Aliases(ctx, name)
	switch {
	case slices.ContainsFunc(chain, func(a shingle.Alias) bool { return a.Target == target }):
		return nil // whatever is, or is not yet, at its end
	case err != nil:
		return err
	case len(chain) == 0:
		return shingle.Errorf(shingle.CodeInvalid, "%s has no CNAME record", name)
	}
	return shingle.Errorf(shingle.CodeInvalid, "%s leads to %s, which is not this domain's name here", name, chain[len(chain)-1].Target)
}

// Publish adds value to the TXT records of name, and returns when every name server
// of the zone that answers has it. It returns [shingle.ErrUnavailable] when the
// provider fails or the name servers take too long.
func (z *Zone) Publish(ctx context.Context, name, value string) error {
	ctx, cancel := context.WithTimeout(ctx, z.cfg.Wait)
	defer cancel()
	if _, err := z.cfg.Provider.AppendRecords(ctx, z.cfg.Name+".", z.record(name, value)); err != nil {
		return &shingle.Error{Code: shingle.CodeUnavailable, Message: "the DNS provider did not take the record", Err: err}
	}
	return z.await(ctx, name, value)
}

// await looks until all name servers have the value.
func (z *Zone) await(ctx context.Context, name, value string) error {
	tick := time.NewTicker(z.cfg.Poll)
	defer tick.Stop()
	why := "no name server was asked"
	for {
		byServer, err := z.cfg.Lookup.Texts(ctx, name)
		missing := lacking(byServer, value)
		switch {
		case err == nil && len(missing) == 0:
			return nil
		case ctx.Err() != nil: // what it broke off says nothing
		case err != nil:
			why = shingle.MessageOf(err)
		default:
			why = "not yet at " + strings.Join(missing, " and ")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return &shingle.Error{Code: shingle.CodeUnavailable, Message: "the record is not to be seen in time: " + why, Err: ctx.Err()}
		}
	}
}

// lacking returns the servers that do not have the value.
func lacking(byServer map[string][]string, value string) (servers []string) {
	for server, values := range byServer {
		if !slices.Contains(values, value) {
			servers = append(servers, server)
		}
	}
	slices.Sort(servers)
	return servers
}

// Withdraw removes value, and no other, from the TXT records of name. It is no
// error when it is not there.
func (z *Zone) Withdraw(ctx context.Context, name, value string) error {
	if _, err := z.cfg.Provider.DeleteRecords(ctx, z.cfg.Name+".", z.record(name, value)); err != nil {
		return fmt.Errorf("withdraw TXT record of %s: %w", name, err)
	}
	return nil
}

func (z *Zone) record(name, value string) []libdns.Record {
	return []libdns.Record{libdns.TXT{Name: libdns.RelativeName(name, z.cfg.Name), TTL: recordTTL, Text: value}}
}
