package api

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// Codes of errors. All but cfUnsupported are Cloudflare's, with its meaning.
const (
	cfRateLimited = 971
	cfUnreadable  = 1400
	cfBadMetadata = 1401
	cfDuplicate   = 1406
	cfBadHostname = 1407
	cfBadOrigin   = 1415
	cfBadHTTP2    = 1422
	cfBadTLS13    = 1424
	cfBadMinTLS   = 1425
	cfBadChain    = 1426
	cfBadKey      = 1428
	cfBadMethod   = 1432
	cfBadType     = 1433
	cfBadSSL      = 1434
	cfNotFound    = 1436
	cfBadContain  = 1437
	cfOneFilter   = 1438
	cfImmutable   = 1439
	cfBadBundle   = 1449
	cfInternal    = 1500
	cfNoRoute     = 7000
	cfNoMethod    = 7001
	cfNoZone      = 7003
	cfNotAllowed  = 9109
	cfNoLogin     = 10000

	// cfUnsupported is what Cloudflare takes and Shingle does not.
	cfUnsupported = 99001
)

// cfFault is an error as Cloudflare has it.
type cfFault struct {
	status int
	errors []cfMessage
}

// Error returns the messages.
func (f *cfFault) Error() string {
	var list []string
	for _, e := range f.errors {
		list = append(list, e.Message)
	}
	return strings.Join(list, "; ")
}

// cfRefuse returns the fault of a part of a request.
func cfRefuse(code int, pointer, format string, args ...any) *cfFault {
	return &cfFault{http.StatusBadRequest, []cfMessage{{Code: code, Message: fmt.Sprintf(format, args...), Source: &cfSource{pointer}}}}
}

// cfUnsupportedAt refuses what Cloudflare takes. The message begins with the field.
func cfUnsupportedAt(pointer, format string, args ...any) *cfFault {
	field := strings.ReplaceAll(strings.TrimLeft(pointer, "/?"), "/", ".")
	return cfRefuse(cfUnsupported, pointer, "%s: %s", field, fmt.Sprintf(format, args...))
}

var (
	cfRouteUnknown = &cfFault{http.StatusNotFound, []cfMessage{{Code: cfNoRoute, Message: "No route for that URI: there is nothing at this address but custom_hostnames"}}}
	cfZoneUnknown  = &cfFault{http.StatusNotFound, []cfMessage{{Code: cfNoZone, Message: "Could not route to this address, perhaps your zone identifier is invalid? It is the one of --cloudflare-zone"}}}
)

// cfFields are the codes and places of what [shingle.Domain.Validate], an upload and
// the store find wrong.
var cfFields = map[string]struct {
	code    int
	pointer string
}{
	"body.host":                     {cfBadHostname, "/hostname"},
	"body.origin":                   {cfBadOrigin, "/custom_origin_server"},
	"body.settings.metadata":        {cfBadMetadata, "/custom_metadata"},
	"body.settings.tls.min_version": {cfBadMinTLS, "/ssl/settings/min_tls_version"},
	"body.chain":                    {cfBadChain, "/ssl/custom_certificate"},
	"body.key":                      {cfBadKey, "/ssl/custom_key"},
	"path.host":                     {cfNotFound, ""},
}

// cfCodes are those of problems that are about no field.
var cfCodes = map[int]struct {
	code   int
	prefix string // by which programs may know it, as Cloudflare words it
}{
	http.StatusUnauthorized:       {cfNoLogin, "Authentication error: "},
	http.StatusForbidden:          {cfNotAllowed, "Unauthorized to access requested resource: "},
	http.StatusNotFound:           {cfNotFound, "The custom hostname was not found. "},
	http.StatusMethodNotAllowed:   {cfNoMethod, ""},
	http.StatusConflict:           {cfDuplicate, "Duplicate custom hostname found. "},
	http.StatusPreconditionFailed: {cfImmutable, ""},
	http.StatusTooManyRequests:    {cfRateLimited, ""},
}

// cfFaultOf turns a problem into Cloudflare's form.
func cfFaultOf(p *Problem) *cfFault {
	status := p.Status
	if p.Code == shingle.CodeInvalid && status == http.StatusUnprocessableEntity {
		status = http.StatusBadRequest
	}
	is, known := cfCodes[status]
	switch {
	case known:
	case status >= http.StatusInternalServerError:
		is.code = cfInternal
	default:
		is.code = cfUnreadable
	}
	f := &cfFault{status: status}
	for _, field := range p.Errors {
		if at, ok := cfFields[field.Location]; ok && status == http.StatusBadRequest {
			f.add(at.code, field.Message, at.pointer)
		} else {
			f.add(is.code, is.prefix+field.Message, "")
		}
	}
	if f.errors == nil {
		f.add(is.code, is.prefix+p.Detail, "")
	}
	return f
}

func (f *cfFault) add(code int, message, pointer string) {
	m := cfMessage{Code: code, Message: message}
	if pointer != "" {
		m.Source = &cfSource{pointer}
	}
	f.errors = append(f.errors, m)
}
