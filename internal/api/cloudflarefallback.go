package api

import (
	"encoding/json"
	"io"
	"net/http"

	"github.com/shingle-proxy/shingle"
)

// cfFallback is the edges' target as Cloudflare shows a fallback origin.
type cfFallback struct {
	Origin string   `json:"origin"`
	Status string   `json:"status"`
	Errors []string `json:"errors"`
}

func (s *server) cfGetFallback(r *http.Request) (*cfAnswer, error) {
	if err := cfNoQuery(r); err != nil {
		return nil, err
	}
	if s.Target == "" {
		return nil, &cfFault{http.StatusNotFound, []cfMessage{{Code: cfUnsupported, Message: "origin: it is the --target of the edges, which this process does not know: give --target to shingle control too"}}}
	}
	return &cfAnswer{status: http.StatusOK, result: cfFallback{cfOrigin(s.Target), "active", []string{}}}, nil
}

// cfPutFallback takes the target that there is. Another is set where the edges are.
func (s *server) cfPutFallback(r *http.Request) (*cfAnswer, error) {
	data, err := io.ReadAll(r.Body) // readBody has the bound
	if err != nil {
		return nil, err
	}
	var in struct {
		Origin string `json:"origin"`
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, cfRefuse(cfUnreadable, "", "Unable to decode the JSON request body. It must be like {\"origin\":\"app.example.com\"}")
	}
	want, err := shingle.ParseOrigin(in.Origin)
	if err != nil {
		return nil, cfRefuse(cfBadOrigin, "/origin", "%s", shingle.MessageOf(err))
	}
	if have, err := shingle.ParseOrigin(s.Target); err != nil || have != want {
		return nil, cfUnsupportedAt("/origin", "another is not supported: it is the --target that the edges are started with")
	}
	return s.cfGetFallback(r)
}

func (s *server) cfDeleteFallback(*http.Request) (*cfAnswer, error) {
	return nil, cfUnsupportedAt("/origin", "it cannot be deleted: it is the --target that the edges are started with")
}
