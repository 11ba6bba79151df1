package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shingle-proxy/shingle"
)

// Token is an API token as the API shows it.
type Token struct {
	ID        string    `json:"id" doc:"The second word of the token's text, so that a text that turns up somewhere can be found and revoked"`
	Name      string    `json:"name" doc:"Who did it, in events" example:"deploy"`
	Role      string    `json:"role" enum:"admin,operator,read,tenant"`
	Tenant    string    `json:"tenant,omitempty" doc:"Whose domains it sees and changes"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero" doc:"Absent: never"`
	LastUsed  time.Time `json:"last_used,omitzero" doc:"Within an hour; absent: never"`
	Token     string    `json:"token,omitempty" doc:"What to send as Authorization: Bearer; shown when it is made and never again"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// NewToken is the body of a create.
type NewToken struct {
	Name      string    `json:"name" doc:"At most 64 letters, digits and ._@-; of the tokens in use one alone has it" example:"deploy"`
	Role      string    `json:"role" enum:"admin,operator,read,tenant" doc:"admin: everything; operator: everything but tokens; read: look at the same; tenant: the domains of one tenant, their certificates and events"`
	Tenant    string    `json:"tenant,omitempty" doc:"Needed for the role tenant"`
	ExpiresAt time.Time `json:"expires_at,omitzero" doc:"Absent: never"`
}

// TokenList is a page of tokens, in no order that means anything.
type TokenList struct {
	Tokens []Token `json:"tokens" nullable:"false"`
	Next   string  `json:"next,omitempty" doc:"Send it as after for the next page; absent at the end"`

	_ struct{} `additionalProperties:"true"` // more will come
}

type (
	tokenAnswer      struct{ Body Token }
	tokensAnswer     struct{ Body TokenList }
	createTokenInput struct{ Body NewToken }
)

func (s *server) tokenRoutes(a huma.API) {
	const all, one = "/v1/tokens", "/v1/tokens/{id}"
	body := []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}
	create := operation("create-token", http.MethodPost, all, "Make an API token", append(body, http.StatusConflict)...)
	create.DefaultStatus = http.StatusCreated
	create.Description = "The answer holds its text, this once."
	register(s, a, create, s.createToken)
	register(s, a, operation("list-tokens", http.MethodGet, all, "List the API tokens"), s.listTokens)
	own := operation("get-own-token", http.MethodGet, "/v1/token", "Show the token of the request")
	own.Description = "Whether it is good, and what it may do."
	register(s, a, own, s.ownToken)
	register(s, a, operation("get-token", http.MethodGet, one, "Show an API token", http.StatusNotFound), s.getToken)
	remove := operation("delete-token", http.MethodDelete, one, "Revoke an API token", http.StatusNotFound)
	remove.Description = "The process that answers refuses it at once, others of the fleet within five seconds."
	register(s, a, remove, s.deleteToken)
}

func (s *server) createToken(ctx context.Context, in *createTokenInput) (*tokenAnswer, error) {
	b := in.Body
	text, t, err := s.Tokens.CreateToken(ctx, shingle.Token{Name: b.Name, Role: shingle.TokenRole(b.Role), Tenant: b.Tenant, ExpiresAt: b.ExpiresAt})
	if err != nil {
		return nil, err
	}
	out := showToken(&t)
	out.Token = text
	return &tokenAnswer{out}, nil
}

func (s *server) listTokens(ctx context.Context, in *PageInput) (*tokensAnswer, error) {
	if in.After != "" && !shingle.IsTokenID(in.After) {
		return nil, at("query.after", errCursor)
	}
	list, next, err := s.Tokens.Tokens(ctx, in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	out := TokenList{Tokens: make([]Token, len(list)), Next: next}
	for i := range list {
		out.Tokens[i] = showToken(&list[i])
	}
	return &tokensAnswer{out}, nil
}

func (s *server) getToken(ctx context.Context, in *IDInput) (*tokenAnswer, error) {
	t, err := s.Tokens.Token(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &tokenAnswer{showToken(&t)}, nil
}

// ownToken needs no read: the request was let in by it.
func (s *server) ownToken(ctx context.Context, _ *struct{}) (*tokenAnswer, error) {
	t := callerOf(ctx)
	return &tokenAnswer{showToken(&t)}, nil
}

func (s *server) deleteToken(ctx context.Context, in *IDInput) (*struct{}, error) {
	return nil, s.Tokens.DeleteToken(ctx, in.ID)
}

func showToken(t *shingle.Token) Token {
	return Token{
		ID: t.ID, Name: t.Name, Role: string(t.Role), Tenant: t.Tenant,
		CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt, LastUsed: t.LastUsed,
	}
}
