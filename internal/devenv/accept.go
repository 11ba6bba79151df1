package devenv

import (
	"mime"
	"strconv"
	"strings"
)

// prefersJSON reports whether the Accept fields (RFC 9110 section 12.5.1) rank
// JSON above HTML: by quality, and then by naming it where HTML is only one of
// many.
func prefersJSON(accept []string) bool {
	var ranges []mediaRange
	for _, item := range strings.Split(strings.Join(accept, ","), ",") {
		if r, ok := parseMediaRange(item); ok {
			ranges = append(ranges, r)
		}
	}
	json, jsonRank := quality(ranges, "application", "json")
	html, htmlRank := quality(ranges, "text", "html")
	return json > html || json == html && json > 0 && jsonRank > htmlRank
}

// mediaRange is one thing that a client accepts.
type mediaRange struct {
	kind, subtype string // either may be "*"
	q             float64
}

func parseMediaRange(item string) (mediaRange, bool) {
	name, params, err := mime.ParseMediaType(item)
	if err != nil {
		return mediaRange{}, false
	}
	kind, subtype, ok := strings.Cut(name, "/")
	r := mediaRange{kind: kind, subtype: subtype, q: 1}
	if q, has := params["q"]; has {
		r.q, err = strconv.ParseFloat(q, 64)
		ok = ok && err == nil && r.q >= 0 && r.q <= 1
	}
	return r, ok
}

// quality returns that of the range which describes the type most exactly, and
// how exact that is: 0 if there is none.
func quality(ranges []mediaRange, kind, subtype string) (q float64, rank int) {
	for _, r := range ranges {
		exact := 0
		switch {
		case r.kind == kind && r.subtype == subtype:
			exact = 3
		case r.kind == kind && r.subtype == "*":
			exact = 2
		case r.kind == "*" && r.subtype == "*":
			exact = 1
		}
		if exact > rank {
			q, rank = r.q, exact
		}
	}
	return q, rank
}
