package kit

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// Connect is what the templates of Domain Connect are made of, all of which is the
// operator's.
type Connect struct {
	Provider  string       // the operator's domain; empty: Domain Connect is not offered
	Name      string       // as DNS providers show it; empty: Provider
	Target    string       // that customers' CNAME records lead to, below which each tenant has a label
	Addresses []netip.Addr // of the edges, for the root of a zone; none: it has no template
}

// The services, one a template.
const (
	serviceHost = "shingle-host" // a name below the zone's root
	serviceRoot = "shingle-root" // the root, which can have no CNAME record
)

const connectTTL = 3600

// connectTemplate is a template; the specification has what the members mean.
type connectTemplate struct {
	ProviderID          string          `json:"providerId"`
	ProviderName        string          `json:"providerName"`
	ServiceID           string          `json:"serviceId"`
	ServiceName         string          `json:"serviceName"`
	Version             int             `json:"version"`
	Description         string          `json:"description"`
	VariableDescription string          `json:"variableDescription"`
	SyncPubKeyDomain    string          `json:"syncPubKeyDomain"`
	HostRequired        bool            `json:"hostRequired,omitempty"`
	Records             []connectRecord `json:"records"`
}

type connectRecord struct {
	Type     string `json:"type"`
	Host     string `json:"host"`
	PointsTo string `json:"pointsTo,omitempty"`
	Data     string `json:"data,omitempty"`
	TTL      int    `json:"ttl"`
	Mode     string `json:"txtConflictMatchingMode,omitempty"`
}

// templates returns those that there are. What never differs is written out in them, so
// that a request can ask for little else.
func (c *Connect) templates() []connectTemplate {
	base := connectTemplate{
		ProviderID: c.Provider, ProviderName: cmp.Or(c.Name, c.Provider), ServiceName: "Custom domain", Version: 1, SyncPubKeyDomain: c.Provider,
	}
	var list []connectTemplate
	if c.Target != "" {
		t := base
		t.ServiceID, t.HostRequired = serviceHost, true
		t.Description, t.VariableDescription = "Has a name lead to the service", "label: the customer's own, which proves whose the name is"
		t.Records = []connectRecord{{Type: "CNAME", Host: "@", PointsTo: "%label%." + c.Target, TTL: connectTTL}}
		list = append(list, t)
	}
	if len(c.Addresses) > 0 {
		t := base
		t.ServiceID = serviceRoot
		t.Description, t.VariableDescription = "Has the root of a domain lead to the service", "proof: shows whose the domain is"
		for _, a := range c.Addresses {
			t.Records = append(t.Records, connectRecord{Type: addressType(a), Host: "@", PointsTo: a.String(), TTL: connectTTL})
		}
		t.Records = append(t.Records, connectRecord{Type: "TXT", Host: "_shingle-challenge", Data: "%proof%", TTL: connectTTL, Mode: "All"})
		list = append(list, t)
	}
	return list
}

// published are the templates that are served.
func (c *Connect) published() []connectTemplate {
	if c.Provider == "" {
		return nil
	}
	return c.templates()
}

// file is the name of a template's file in the public repository.
func (t *connectTemplate) file() string {
	return strings.ToLower(t.ProviderID + "." + t.ServiceID + ".json")
}

func (t *connectTemplate) encode() ([]byte, error) {
	data, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode template: %w", err)
	}
	return append(data, '\n'), nil
}

// ConnectSetup returns what the operator publishes for Domain Connect, with the key that
// is made for it the first time. It returns [shingle.ErrNotFound] where it is off.
func (k *Kit) ConnectSetup(ctx context.Context) (s shingle.ConnectSetup, err error) {
	if k.cfg.Connect.Provider == "" {
		return s, shingle.Errorf(shingle.CodeNotFound, "Domain Connect is off: set --domain-connect to your domain")
	}
	key, err := k.connectKey.get(ctx, true)
	if err != nil {
		return s, err
	}
	label, texts, err := published(key)
	if err != nil {
		return s, err
	}
	s = shingle.ConnectSetup{Provider: k.cfg.Connect.Provider, KeyName: label + "." + k.cfg.Connect.Provider, KeyTexts: texts}
	for _, t := range k.cfg.Connect.published() {
		data, err := t.encode()
		if err != nil {
			return s, err
		}
		s.Templates = append(s.Templates, shingle.ConnectTemplate{File: t.file(), JSON: data})
	}
	return s, nil
}
