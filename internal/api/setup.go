package api

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shingle-proxy/shingle"
)

// SetupKit makes what customers set up their DNS by.
type SetupKit interface {
	// SetupPath returns the path, below the URL of the control plane, of the page for
	// a domain, which is good until then. It returns [shingle.ErrInvalid] for a time out
	// of bounds, and [shingle.ErrForbidden] when it is not known what to set.
	SetupPath(ctx context.Context, d shingle.Domain, until time.Time) (string, error)
	// SetupEmail returns the subject and the text of an e-mail with such a link, or
	// [shingle.ErrInvalid] when it is not written in the language.
	SetupEmail(d shingle.Domain, language, link string, until time.Time) (subject, text string, err error)
	// ConnectSetup returns what the operator publishes for Domain Connect, or
	// [shingle.ErrNotFound] where that is off.
	ConnectSetup(ctx context.Context) (shingle.ConnectSetup, error)
}

// setupLife is how long a link is good unless it is said.
const setupLife = 7 * 24 * time.Hour

// NewSetupLink is the body of the creation of a link.
type NewSetupLink struct {
	ExpiresAt time.Time `json:"expires_at,omitzero" doc:"When it ends, within a year. Default: in 7 days"`
}

// SetupLink leads to the page by which a customer sets up a domain.
type SetupLink struct {
	URL       string    `json:"url" example:"https://setup.example.com/setup/blog.customer.com/AGk..." doc:"The page. Whoever has it sees what to set, and may have the domain checked"`
	Widget    string    `json:"widget" doc:"HTML that shows the same in a page of yours"`
	ExpiresAt time.Time `json:"expires_at"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// NewSetupEmail is the body of the creation of an e-mail.
type NewSetupEmail struct {
	NewSetupLink
	Language string `json:"language,omitempty" enum:"en,de,es,fr,ja" default:"en"`
}

// SetupEmail is a text to forward.
type SetupEmail struct {
	SetupLink
	Language string `json:"language"`
	Subject  string `json:"subject"`
	Text     string `json:"text" doc:"Plain text, with the link and the records in short"`
}

// DomainConnect is what the operator publishes so that DNS providers which speak Domain
// Connect enter customers' records for them.
type DomainConnect struct {
	Provider  string            `json:"provider" doc:"The operator's domain, by which the templates are known"`
	KeyName   string            `json:"key_name" doc:"The name of TXT records with the key that verifies requests" example:"_dcshingle5c1ef0a3.example.com"`
	KeyTexts  []string          `json:"key_texts" nullable:"false" doc:"Their values, a record each"`
	Templates []ConnectTemplate `json:"templates" nullable:"false" doc:"For DNS providers, and the public repository of templates"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// ConnectTemplate is a template of Domain Connect.
type ConnectTemplate struct {
	File string `json:"file" doc:"Its name in that repository" example:"example.com.shingle-host.json"`
	URL  string `json:"url" doc:"Where it is served too"`
	JSON string `json:"json"`

	_ struct{} `additionalProperties:"true"` // more will come
}

type connectAnswer struct{ Body DomainConnect }

// ReachedInput is where a request reached the API.
type ReachedInput struct{ at string }

// Resolve implements [huma.Resolver].
func (in *ReachedInput) Resolve(ctx huma.Context) []error {
	u := ctx.URL()
	in.at = shingle.ReachedAt(ctx.TLS() != nil || u.Scheme == "https", ctx.Header("X-Forwarded-Proto"), ctx.Host())
	return nil
}

type setupLinkInput struct {
	HostInput
	ReachedInput
	Body *NewSetupLink
}

type setupEmailInput struct {
	HostInput
	ReachedInput
	Body *NewSetupEmail
}

type (
	setupLinkAnswer  struct{ Body SetupLink }
	setupEmailAnswer struct{ Body SetupEmail }
)

func (s *server) setupRoutes(a huma.API) {
	errs := []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusForbidden, http.StatusNotFound}
	link := operation("create-setup-link", http.MethodPost, "/v1/domains/{host}/setup-link", "Make a link to a domain's set-up page", errs...)
	link.Description = "The page shows the customer, without a token, what to enter at their DNS provider, and checks live. " +
		"The link ends when it expires or is revoked, when the domain is deleted, or when another tenant gets it."
	register(s, a, link, func(ctx context.Context, in *setupLinkInput) (*setupLinkAnswer, error) {
		var until time.Time
		if in.Body != nil {
			until = in.Body.ExpiresAt
		}
		_, l, err := s.setupLink(ctx, in.Host, in.at, until)
		return &setupLinkAnswer{l}, err
	})
	end := operation("revoke-setup-links", http.MethodDelete, "/v1/domains/{host}/setup-link", "Revoke the links to a domain's set-up page",
		http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusPreconditionFailed)
	end.Description = "All that were made for this domain so far end at once, in e-mails and widgets too; those of other domains stay. " +
		"Links are signed, not kept, so there is no list of them. It is logged as domain.updated, with another setup_generation."
	register(s, a, end, s.revokeSetupLinks)
	email := operation("create-setup-email", http.MethodPost, "/v1/domains/{host}/setup-email", "Write an e-mail that asks for a domain's DNS records", errs...)
	email.Description = "It is not sent: it is a text to forward, with a new link."
	register(s, a, email, s.setupEmail)
	connect := operation("get-domain-connect", http.MethodGet, "/v1/domain-connect", "Show what to publish for Domain Connect", http.StatusNotFound)
	connect.Description = "With --domain-connect. The signing key is made the first time."
	register(s, a, connect, s.domainConnect)
}

func (s *server) revokeSetupLinks(ctx context.Context, in *HostInput) (*struct{}, error) {
	_, err := s.change(ctx, in.Host, "", func(d *shingle.Domain) error {
		d.SetupGeneration++
		return nil
	})
	return nil, err
}

func (s *server) domainConnect(ctx context.Context, in *ReachedInput) (*connectAnswer, error) {
	is, err := s.SetupKit.ConnectSetup(ctx)
	if err != nil {
		return nil, err
	}
	out := DomainConnect{Provider: is.Provider, KeyName: is.KeyName, KeyTexts: is.KeyTexts, Templates: []ConnectTemplate{}}
	for _, t := range is.Templates {
		out.Templates = append(out.Templates, ConnectTemplate{File: t.File, URL: s.reachedAt(in.at) + "/setup/domain-connect/" + t.File, JSON: string(t.JSON)})
	}
	return &connectAnswer{out}, nil
}

// reachedAt is where customers reach what the kit serves.
func (s *server) reachedAt(reached string) string {
	if s.ControlURL != "" {
		return s.ControlURL
	}
	return reached
}

func (s *server) setupLink(ctx context.Context, host, reached string, expires time.Time) (d shingle.Domain, l SetupLink, err error) {
	if d, err = s.find(ctx, host); err != nil {
		return d, l, err
	}
	until := expires.UTC().Truncate(time.Second)
	if expires.IsZero() {
		until = s.Now().UTC().Truncate(time.Second).Add(setupLife)
	}
	path, err := s.SetupKit.SetupPath(ctx, d, until)
	if err != nil {
		return d, l, err
	}
	base := s.reachedAt(reached)
	l = SetupLink{URL: base + path, ExpiresAt: until}
	l.Widget = fmt.Sprintf(`<script src="%s/setup/kit.js" data-link="%s" async></script>`, html.EscapeString(base), html.EscapeString(l.URL))
	return d, l, nil
}

func (s *server) setupEmail(ctx context.Context, in *setupEmailInput) (*setupEmailAnswer, error) {
	n := NewSetupEmail{Language: "en"}
	if in.Body != nil {
		n = *in.Body
	}
	d, l, err := s.setupLink(ctx, in.Host, in.at, n.ExpiresAt)
	if err != nil {
		return nil, err
	}
	out := SetupEmail{SetupLink: l, Language: n.Language}
	if out.Subject, out.Text, err = s.SetupKit.SetupEmail(d, out.Language, l.URL, l.ExpiresAt); err != nil {
		return nil, err
	}
	return &setupEmailAnswer{out}, nil
}
