package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shingle-proxy/shingle"
)

// Keys is what the API shows and does about the keys that seal what is secret in
// the store.
type Keys interface {
	// MasterKeys returns the master keys that are needed, and the current one.
	MasterKeys(ctx context.Context) ([]shingle.MasterKeyUse, error)
	// CurrentMasterKey returns the ID of that under which new data keys are wrapped.
	CurrentMasterKey(ctx context.Context) (string, error)
	// Rewrap does the next step of a rewrap.
	Rewrap(ctx context.Context, r shingle.Rewrap) (shingle.RewrapPage, error)
}

// KeyList is the master keys.
type KeyList struct {
	Keys []MasterKey `json:"keys" nullable:"false"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// MasterKey is a master key as the API shows it: not the key itself.
type MasterKey struct {
	ID       string `json:"id" example:"file-1f3a5c7e9b2d4f60" doc:"Of a key file, or the ARN of a KMS key"`
	Current  bool   `json:"current" doc:"New data keys are wrapped under it"`
	DataKeys int    `json:"data_keys" doc:"Wrapped under it; when there are none it can be removed"`
	Problem  string `json:"problem,omitempty" doc:"Why the process that answers cannot use it"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// Rewrap says what to do about keys. Without members every data key is wrapped under
// the current master key.
type Rewrap struct {
	Deep   bool   `json:"deep,omitempty" doc:"Seal every secret anew, under new data keys; one that was broken off is gone on with"`
	Lost   string `json:"lost,omitempty" doc:"ID of a master key or data key that nobody has any more: drop what only it opens. Certificates are then issued anew"`
	DryRun bool   `json:"dry_run,omitempty" doc:"Change nothing, and count what would be changed"`
	After  string `json:"after,omitempty" doc:"next of the last answer"`
	Force  bool   `json:"force,omitempty" doc:"Go on although a live process of the fleet lacks the current master key: it can serve nothing after its next start"`
}

// RewrapStep is what one step did.
type RewrapStep struct {
	Next        string          `json:"next,omitempty" doc:"Send it as after for the next step; absent at the end"`
	WaitSeconds float64         `json:"wait_seconds,omitempty" doc:"Before the next step, until every process has heard of the new data key"`
	Looked      int             `json:"looked" doc:"Records that were looked at"`
	Changed     map[string]int  `json:"changed" doc:"Records that were, or would be, changed, by their kind"`
	Failed      int             `json:"failed" doc:"Records that could not be opened"`
	Failures    []RewrapFailure `json:"failures,omitempty" nullable:"false" doc:"The first of them"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// RewrapFailure is a record that could not be opened.
type RewrapFailure struct {
	Record  string `json:"record" example:"certs/blog.customer.com"`
	Message string `json:"message"`

	_ struct{} `additionalProperties:"true"` // more will come
}

type (
	keysAnswer   struct{ Body KeyList }
	rewrapInput  struct{ Body Rewrap }
	rewrapAnswer struct{ Body RewrapStep }
)

func (s *server) keyRoutes(a huma.API) {
	register(s, a, operation("list-keys", http.MethodGet, "/v1/keys", "List the master keys"), s.listKeys)
	rewrap := operation("rewrap", http.MethodPost, "/v1/keys/rewrap", "Rotate keys, or give a lost one up: the next step",
		http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	rewrap.Description = "The first step is refused (403) while a live process of the fleet lacks the current master key. A step takes some seconds at most. What it did stays done: a rewrap that is begun again passes it over. One process does so at a time; a step that answers 503 can be repeated."
	register(s, a, rewrap, s.rewrap)
}

func (s *server) listKeys(ctx context.Context, _ *struct{}) (*keysAnswer, error) {
	list, err := s.Keys.MasterKeys(ctx)
	if err != nil {
		return nil, err
	}
	out := &keysAnswer{KeyList{Keys: make([]MasterKey, len(list))}}
	for i, k := range list {
		out.Body.Keys[i] = MasterKey{ID: k.ID, Current: k.Current, DataKeys: k.DataKeys, Problem: k.Problem}
	}
	return out, nil
}

func (s *server) rewrap(ctx context.Context, in *rewrapInput) (*rewrapAnswer, error) {
	if err := s.spread(ctx, &in.Body); err != nil {
		return nil, err
	}
	p, err := s.Keys.Rewrap(ctx, shingle.Rewrap{Deep: in.Body.Deep, Lost: in.Body.Lost, DryRun: in.Body.DryRun, After: in.Body.After})
	if err != nil {
		return nil, err
	}
	out := RewrapStep{Next: p.Next, WaitSeconds: p.Wait.Seconds(), Looked: p.Looked, Changed: p.Changed, Failed: p.Failed}
	for _, f := range p.Failures {
		out.Failures = append(out.Failures, RewrapFailure{Record: f.Record, Message: f.Message})
	}
	return &rewrapAnswer{out}, nil
}

// spread refuses the first step of a rewrap while a live process lacks the master key
// under which data keys are to come: it could serve nothing after its next start. One
// that fell silent is not waited for, and one of a version without reports not known.
func (s *server) spread(ctx context.Context, r *Rewrap) error {
	if s.Edges == nil || r.After != "" || r.DryRun || r.Force {
		return nil
	}
	current, err := s.currentKey(ctx)
	if err != nil || current == "" {
		return err
	}
	var lack []string
	err = s.eachEdge(ctx, func(m *shingle.Member) {
		if m.Lacks(current, s.Now()) {
			lack = append(lack, fmt.Sprintf("%s (%s, %s)", m.ID, m.Role, cmp.Or(m.Address, m.API, m.Name)))
		}
	})
	if err != nil || len(lack) == 0 {
		return err
	}
	names := strings.Join(lack[:min(len(lack), 5)], ", ")
	if len(lack) > 5 {
		names += fmt.Sprintf(" and %d more", len(lack)-5)
	}
	return shingle.Errorf(shingle.CodeForbidden, "the master key %s is not everywhere yet: %s cannot use it, and could serve nothing after the next start. "+
		"Bring it there first; it shows in shingle edges within a minute (--report), of an AWS key within ten. With force (--force) it goes on all the same", current, names)
}

// currentKey returns the ID of the master key that wraps; empty when nothing tells.
func (s *server) currentKey(ctx context.Context) (string, error) {
	if s.Keys == nil {
		return "", nil
	}
	return s.Keys.CurrentMasterKey(ctx)
}

// deleteCertificate has a certificate replaced, and removes it.
func (s *server) deleteCertificate(ctx context.Context, in *HostInput) (*struct{}, error) {
	host, err := hostInPath(in.Host)
	if err != nil {
		return nil, err
	}
	return nil, s.Certificates.Discard(ctx, host)
}

// MasterKeys returns the master keys that are needed, and the current one.
func (c *Client) MasterKeys(ctx context.Context) ([]MasterKey, error) {
	var out KeyList
	err := c.call(ctx, http.MethodGet, "/v1/keys", nil, &out)
	return out.Keys, err
}

// Rewrap does the next step of a rewrap.
func (c *Client) Rewrap(ctx context.Context, r Rewrap) (out RewrapStep, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/keys/rewrap", r, &out)
}

// DeleteCertificate removes a certificate and has it issued anew, or returns
// [shingle.ErrNotFound].
func (c *Client) DeleteCertificate(ctx context.Context, host string) error {
	path, err := certificatePath(host)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodDelete, path, nil, nil)
}
