package certs

import (
	"context"
	"slices"
	"strings"

	"github.com/mholt/acmez/v3/acme"

	"github.com/shingle-proxy/shingle"
)

// methods are the types of challenge that the CAA records of a host leave to a CA (RFC
// 8657 section 4); nil: all.
type methods []string

// allowed asks which types of challenge an order at ca may use.
func (i *issuance) allowed(ctx context.Context, ca *authority) methods {
	if i.cfg.Methods == nil {
		return nil
	}
	return i.cfg.Methods(ctx, i.host, ca.Directory)
}

func (m methods) use(challenge string) bool { return m == nil || slices.Contains(m, challenge) }

// refusal is that of a host whose records leave none of the types that we could use. It
// is what the CA would say, who would count the attempt.
func (m methods) refusal(ours []string) error {
	return &failure{problem: acme.ProblemTypeCAA, early: true, acts: shingle.WhoCustomer, public: shingle.Errorf(shingle.CodeUnavailable,
		"CAA records of the domain let the certificate authority validate by %s alone: add %s to their validationmethods", plain(strings.Join(m, " or ")), strings.Join(ours, " or "))}
}
