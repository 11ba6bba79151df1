package api

import (
	"errors"
	"net/http"
	"regexp"

	"github.com/shingle-proxy/shingle"
)

// The routes below /client/v4 answer as Cloudflare's API for custom hostnames does, so
// that programs written for that one work here. They do what the operations of /v1 do,
// by the same code; docs/cloudflare.md has what is different from Cloudflare.

const (
	cloudflareBase  = "/client/v4/"
	cloudflareHosts = cloudflareBase + "zones/{zone}/custom_hostnames"
)

var zonePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// IsCloudflareZone reports whether s can be the ID of the zone of those routes.
func IsCloudflareZone(s string) bool { return zonePattern.MatchString(s) }

// cfEnvelope is the body of every answer.
type cfEnvelope struct {
	Result     any           `json:"result"`
	Success    bool          `json:"success"`
	Errors     []cfMessage   `json:"errors"`
	Messages   []cfMessage   `json:"messages"`
	ResultInfo *cfResultInfo `json:"result_info,omitempty"`
	// ID is that of what was deleted: Cloudflare's description of the API has it here,
	// and its answers have it in the result.
	ID string `json:"id,omitempty"`
}

type cfMessage struct {
	Code    int       `json:"code"`
	Message string    `json:"message"`
	Source  *cfSource `json:"source,omitempty"`
}

// cfSource is the part of the request that a message is about.
type cfSource struct {
	Pointer string `json:"pointer"` // a JSON pointer into the body, or "?" and a query parameter
}

type cfResultInfo struct {
	Page       int `json:"page"`
	PerPage    int `json:"per_page"`
	Count      int `json:"count"`
	TotalCount int `json:"total_count"`
	TotalPages int `json:"total_pages"`
}

// cfAnswer is what went well.
type cfAnswer struct {
	status   int
	result   any
	info     *cfResultInfo
	messages []cfMessage
	id       string
}

func (s *server) cloudflareRoutes() {
	const all, one, fallback = cloudflareHosts, cloudflareHosts + "/{id}", cloudflareHosts + "/fallback_origin"
	s.cloudflareRoute(http.MethodGet, all, everyone, s.cfList)
	s.cloudflareRoute(http.MethodPost, all, writers, s.cfCreate)
	s.cloudflareRoute(http.MethodGet, one, everyone, s.cfGet)
	s.cloudflareRoute(http.MethodPatch, one, writers, s.cfEdit)
	s.cloudflareRoute(http.MethodDelete, one, writers, s.cfDelete)
	s.cloudflareRoute(http.MethodGet, fallback, readers, s.cfGetFallback)
	s.cloudflareRoute(http.MethodPut, fallback, operators, s.cfPutFallback)
	s.cloudflareRoute(http.MethodDelete, fallback, operators, s.cfDeleteFallback)
}

func (s *server) cloudflareRoute(method, path string, who []shingle.TokenRole, do func(*http.Request) (*cfAnswer, error)) {
	s.allowed[method+" "+path] = who
	s.mux.HandleFunc(method+" "+path, func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("zone") != s.CloudflareZone {
			s.failCloudflare(w, cfZoneUnknown)
			return
		}
		a, err := do(r)
		if err != nil {
			s.failCloudflare(w, err)
			return
		}
		writeCloudflare(w, a.status, cfEnvelope{Result: a.result, Success: true, Messages: a.messages, ResultInfo: a.info, ID: a.id})
	})
}

func writeCloudflare(w http.ResponseWriter, status int, e cfEnvelope) {
	if e.Errors == nil {
		e.Errors = []cfMessage{}
	}
	if e.Messages == nil {
		e.Messages = []cfMessage{}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	writeJSON(w, e)
}

// failCloudflare answers with an error in Cloudflare's form.
func (s *server) failCloudflare(w http.ResponseWriter, err error) {
	f, ok := errors.AsType[*cfFault](err)
	if e, is := errors.AsType[*shingle.Error](err); is && e == errNothingHere {
		f = cfRouteUnknown
	} else if !ok {
		f = cfFaultOf(s.report(err))
	}
	writeCloudflare(w, f.status, cfEnvelope{Errors: f.errors})
}
