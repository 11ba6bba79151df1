package migrate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
)

// maxACMEFile bounds an acme.json; that of ten thousand certificates has 100 MB.
const maxACMEFile = 1 << 30

// traefik is an acme.json of Traefik. It is in memory as a whole.
type traefik struct{ list []traefikEntry }

type traefikEntry struct {
	resolver, issuer string
	traefikCertificate
}

// resolver is what the file has for each resolver; in version 1 it had nothing else.
type resolver struct {
	Account struct {
		Registration struct {
			URI string `json:"uri"`
		}
	}
	Certificates []traefikCertificate
}

type traefikCertificate struct {
	Domain struct {
		Main string `json:"main"`
	} `json:"domain"`
	Certificate []byte `json:"certificate"` // PEM
	Key         []byte `json:"key"`         // PEM
}

func openTraefik(file string) (Source, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxACMEFile {
		return nil, fmt.Errorf("%s is too large for an acme.json", file)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	resolvers, err := parseACME(data)
	if err != nil {
		return nil, fmt.Errorf("%s is not an acme.json of Traefik: %w", file, err)
	}
	t := &traefik{}
	for name, r := range resolvers {
		if r == nil {
			continue // a resolver that has nothing yet
		}
		for _, c := range r.Certificates {
			t.list = append(t.list, traefikEntry{name, directoryAt(r.Account.Registration.URI), c})
		}
	}
	slices.SortStableFunc(t.list, func(a, b traefikEntry) int {
		return cmp.Or(cmp.Compare(a.resolver, b.resolver), cmp.Compare(a.Domain.Main, b.Domain.Main))
	})
	return t, nil
}

// parseACME reads the file of version 2 and 3, or of version 1, whose resolver has no
// name.
func parseACME(data []byte) (map[string]*resolver, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return nil, errors.New("it is not a JSON object") // the parser's error could quote a key
	}
	if _, ok := members["Certificates"]; ok {
		members = map[string]json.RawMessage{"": data}
	}
	out := map[string]*resolver{}
	for name, member := range members {
		var r *resolver
		if err := json.Unmarshal(member, &r); err != nil {
			return nil, fmt.Errorf("the member %q is no resolver", name)
		}
		out[name] = r
	}
	return out, nil
}

// List implements [Source].
func (t *traefik) List(context.Context) ([]Ref, error) {
	refs := make([]Ref, len(t.list))
	for i, e := range t.list {
		where := e.Domain.Main
		if e.resolver != "" {
			where = e.resolver + " " + where
		}
		refs[i] = Ref{Where: where, index: i}
	}
	return refs, nil
}

// Load implements [Source].
func (t *traefik) Load(_ context.Context, r Ref) (Certificate, error) {
	e := t.list[r.index]
	return Certificate{Chain: string(e.Certificate), Key: string(e.Key), Issuer: e.issuer, Problem: forTests(e.issuer)}, nil
}
