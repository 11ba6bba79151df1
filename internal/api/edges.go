package api

import (
	"context"
	"iter"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shingle-proxy/shingle"
)

// Edges is the list of the processes of the fleet.
type Edges interface {
	// Members returns those whose IDs sort after `after`, at most limit (1 to 1000),
	// and the ID to go on from; empty at the end.
	Members(ctx context.Context, after string, limit int) (list []shingle.Member, next string, err error)
	// Member returns one, or [shingle.ErrNotFound].
	Member(ctx context.Context, id string) (shingle.Member, error)
}

// Edge is a process of the fleet, as it last said of itself.
type Edge struct {
	ID         string     `json:"id" doc:"Of its data folder: the process after it there has the same"`
	State      string     `json:"state" enum:"alive,degraded,draining,silent" doc:"degraded: it serves, by what may be old; draining: it is about to end, and serves until then; silent: it was killed, its machine is gone, or it cannot reach the store"`
	Attention  []string   `json:"attention" nullable:"false" doc:"What an operator should look at, for people; empty: all is well"`
	Role       string     `json:"role" enum:"edge,control,serve" doc:"serve: both in one process"`
	Name       string     `json:"name" doc:"The machine's"`
	Version    string     `json:"version"`
	Region     string     `json:"region,omitempty" doc:"Where it reads the table; absent: there is none"`
	Address    string     `json:"address,omitempty" example:"10.0.1.2:443" doc:"Where it serves visitors over HTTPS; absent: it does not"`
	API        string     `json:"api,omitempty" example:"127.0.0.1:8090" doc:"Where it serves the API; absent: it does not, or as a function"`
	Started    time.Time  `json:"started"`
	Reported   time.Time  `json:"reported" doc:"Each process reports once a minute (--report); one that ends as it should is gone from the list at once, another after a day"`
	Answers    bool       `json:"answers" doc:"It is the process that answers"`
	Leads      bool       `json:"leads" doc:"It does the housekeeping of the fleet: certificates, checks, events, jobs"`
	Degraded   []string   `json:"degraded" nullable:"false" doc:"Why it may serve what is old"`
	Table      *EdgeTable `json:"table,omitempty" doc:"Of domains; absent: it has none"`
	Load       *EdgeLoad  `json:"load,omitempty" doc:"Absent: it serves no visitors"`
	MasterKeys []string   `json:"master_keys" nullable:"false" doc:"IDs of those that it can use: all key files, and of KMS the key that it wraps under"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// EdgeTable is the table of domains of an edge, at its last report.
type EdgeTable struct {
	Domains    int      `json:"domains"`
	AgeSeconds *float64 `json:"age_seconds,omitempty" doc:"Since it was in step with the store, at the report; absent: not since the start"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// EdgeLoad is what an edge has to do.
type EdgeLoad struct {
	Connections       int     `json:"connections" doc:"Of clients over HTTPS, at the report"`
	MaxConnections    int     `json:"max_connections" doc:"That it takes"`
	RequestsPerSecond float64 `json:"requests_per_second" doc:"Since the report before"`
	ErrorsPerSecond   float64 `json:"errors_per_second" doc:"Answers of 5xx among them, those of origins included"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// EdgeList is a page of edges.
type EdgeList struct {
	Edges []Edge `json:"edges" nullable:"false"`
	Next  string `json:"next,omitempty" doc:"Send it as after for the next page; absent at the end"`

	_ struct{} `additionalProperties:"true"` // more will come
}

type (
	edgeInput struct {
		ID string `path:"id" maxLength:"64"`
	}
	edgeAnswer  struct{ Body Edge }
	edgesAnswer struct{ Body EdgeList }
)

func (s *server) edgeRoutes(a huma.API) {
	list := operation("list-edges", http.MethodGet, "/v1/edges", "List the processes of the fleet")
	list.Description = "Edges, control processes and those that are both, each as it last said of itself, mostly within the last minute (--report). Processes of versions without reports are missing."
	register(s, a, list, s.listEdges)
	register(s, a, operation("get-edge", http.MethodGet, "/v1/edges/{id}", "Show a process of the fleet", http.StatusNotFound), s.getEdge)
}

func (s *server) listEdges(ctx context.Context, in *PageInput) (*edgesAnswer, error) {
	if in.After != "" && !shingle.IsTokenID(in.After) { // which has the same letters
		return nil, at("query.after", errCursor)
	}
	list, next, err := s.Edges.Members(ctx, in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	key := s.comparedKey(ctx)
	out := EdgeList{Edges: make([]Edge, len(list)), Next: next}
	for i := range list {
		out.Edges[i] = s.showEdge(&list[i], key)
	}
	return &edgesAnswer{out}, nil
}

func (s *server) getEdge(ctx context.Context, in *edgeInput) (*edgeAnswer, error) {
	m, err := s.Edges.Member(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &edgeAnswer{s.showEdge(&m, s.comparedKey(ctx))}, nil
}

// comparedKey is the current master key; empty when it cannot be known now, as the list is
// needed then most.
func (s *server) comparedKey(ctx context.Context) string {
	key, err := s.currentKey(ctx)
	if err != nil {
		s.Logger.Warn("the master keys of the edges are not compared", "error", err)
	}
	return key
}

// eachEdge calls f with every process on the list.
func (s *server) eachEdge(ctx context.Context, f func(*shingle.Member)) error {
	for after := ""; ; {
		list, next, err := s.Edges.Members(ctx, after, 1000)
		if err != nil {
			return err
		}
		for i := range list {
			f(&list[i])
		}
		if after = next; after == "" {
			return nil
		}
	}
}

func (s *server) showEdge(m *shingle.Member, masterKey string) Edge {
	now := s.Now()
	out := Edge{
		ID: m.ID, State: string(m.State(now)), Attention: orNone(m.Attention(now, s.Version, masterKey)),
		Role: m.Role, Name: m.Name, Version: m.Version, Region: m.Region, Address: m.Address, API: m.API,
		Started: m.Started, Reported: m.Reported, Answers: m.Self, Leads: m.Leads, Degraded: orNone(m.Degraded), MasterKeys: orNone(m.MasterKeys),
	}
	if t := m.Table; t != nil {
		out.Table = &EdgeTable{Domains: t.Domains}
		if !t.Synced.IsZero() {
			age := max(0, m.Reported.Sub(t.Synced).Seconds())
			out.Table.AgeSeconds = &age
		}
	}
	if l := m.Load; l != nil {
		out.Load = &EdgeLoad{Connections: l.Connections, MaxConnections: l.MaxConnections, RequestsPerSecond: l.Requests, ErrorsPerSecond: l.Errors}
	}
	return out
}

// orNone makes a list that is an array in JSON, also without members.
func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// Edges returns all processes of the fleet, page by page. It ends with the first error.
func (c *Client) Edges(ctx context.Context) iter.Seq2[Edge, error] {
	return pages(ctx, c, "/v1/edges?limit=200", func(l EdgeList) ([]Edge, string) { return l.Edges, l.Next })
}

// Edge returns one process of the fleet, or [shingle.ErrNotFound].
func (c *Client) Edge(ctx context.Context, id string) (out Edge, err error) {
	if !shingle.IsTokenID(id) {
		return out, shingle.Errorf(shingle.CodeInvalid, "%.64q is no ID of an edge", id)
	}
	return out, c.call(ctx, http.MethodGet, "/v1/edges/"+id, nil, &out)
}
