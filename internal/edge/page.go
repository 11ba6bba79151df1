package edge

import "strconv"

// page is a small answer of the edge's own: no internals, no markup, so that a
// terminal shows it as well as a browser.
type page struct {
	status int
	text   string
}

var (
	pageProbe          = page{200, "This name is served.\n"}
	pageMoved          = page{308, "This page is served under another address.\n"}
	pageForbidden      = page{403, "This page may not be seen from where you are.\n"}
	pageNotFound       = page{404, "No site is set up under this name.\n"}
	pageTooMany        = page{429, "There were too many requests from where you are. Please wait a moment.\n"}
	pageMisdirected    = page{421, "This connection is for another name.\n"}
	pageBadRequest     = page{400, "The request cannot be understood.\n"}
	pageNotImplemented = page{501, "This server does not do that.\n"}
	pageBadGateway     = page{502, "The site behind this name does not answer properly. Please try again in a moment.\n"}
	pageBusy           = page{503, "The site behind this name is busy. Please try again in a moment.\n"}
	pageMaintenance    = page{503, "This site is being worked on. Please try again later.\n"}
	pageUnknown        = page{503, "This site cannot be served at the moment. Please try again later.\n"}
	pageTimeout        = page{504, "The site behind this name takes too long to answer. Please try again in a moment.\n"}
)

const htmlType = "text/html; charset=utf-8"

// writePage answers with p and any further fields.
func writePage(w ResponseWriter, r *Request, p page, more ...Field) {
	writeBody(w, r, p.status, "text/plain; charset=utf-8", []byte(p.text), more...)
}

// writeBody answers with a body of the edge's own, which nobody may keep.
func writeBody(w ResponseWriter, r *Request, status int, kind string, body []byte, more ...Field) {
	h := append(Fields{
		{"Content-Type", kind},
		{"Content-Length", strconv.Itoa(len(body))},
		{"Cache-Control", "no-store"},
		{"X-Content-Type-Options", "nosniff"},
	}, more...)
	if err := w.WriteHead(status, h); err != nil || r.Method == "HEAD" {
		return
	}
	_, _ = w.Write(body) // a client that has gone will not miss it
}
