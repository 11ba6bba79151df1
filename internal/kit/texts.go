package kit

import (
	"embed"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Languages are those that there are texts in. The first is for all who read none of
// them.
var Languages = []string{"en", "de", "es", "fr", "ja"}

//go:embed texts/*.json
var textFiles embed.FS

// texts are all texts, by language and key. They have {names} for what differs.
var texts = readTexts()

func readTexts() map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, language := range Languages {
		data, err := textFiles.ReadFile(path.Join("texts", language+".json"))
		if err != nil {
			panic(err) // is in the binary
		}
		var of map[string]string
		if err := json.Unmarshal(data, &of); err != nil {
			panic(fmt.Errorf("texts of %s: %w", language, err))
		}
		out[language] = of
	}
	return out
}

// negotiate returns the language for somebody who wants one of those in wanted, and
// else reads those in an Accept-Language header (RFC 9110 section 12.5.4).
func negotiate(wanted, accepted string) string {
	for _, list := range []string{wanted, accepted} {
		best, weight := "", 0.0
		for i, part := range strings.Split(list, ",") {
			if i == maxRanges {
				break
			}
			tag, q := parseRange(part)
			if q > weight && slices.Contains(Languages, tag) {
				best, weight = tag, q
			}
		}
		if best != "" {
			return best
		}
	}
	return Languages[0]
}

const maxRanges = 20

// parseRange returns the language of a range such as "de-CH;q=0.8", and its weight.
func parseRange(s string) (language string, q float64) {
	tag, params, _ := strings.Cut(strings.TrimSpace(s), ";")
	q = 1
	if value, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
		var err error
		if q, err = strconv.ParseFloat(value, 64); err != nil {
			q = 0
		}
	}
	language, _, _ = strings.Cut(tag, "-")
	return strings.ToLower(language), q
}

// words are the texts of one language, with what they are about.
type words struct {
	Lang string
	vars []string // as [strings.NewReplacer] takes them
}

// Say returns the text of a key. More than is known may be said of it in pairs.
func (w *words) Say(key string, more ...string) string {
	text, ok := texts[w.Lang][key]
	if !ok {
		return key // a test sees to it that there is none
	}
	return strings.NewReplacer(append(slices.Clip(more), w.vars...)...).Replace(text)
}

// reasonKey is the key of the text about a reason.
func reasonKey(r shingle.Reason) string {
	switch r {
	case shingle.ReasonNew, shingle.ReasonNotTried, "":
		return "reason.checking"
	case shingle.ReasonHTTPSWorks, shingle.ReasonOriginFailing, shingle.ReasonNoHTTPRedirect, shingle.ReasonExpiresSoon:
		return "reason.served"
	case shingle.ReasonProxied, shingle.ReasonWildcard, shingle.ReasonStaleCache, shingle.ReasonCAAAllows:
		return "reason.points_here"
	case shingle.ReasonResolverFailure, shingle.ReasonTargetBroken, shingle.ReasonUnconfigured, shingle.ReasonUnreachable, shingle.ReasonHandshakeFailed,
		shingle.ReasonCertificateInvalid, shingle.ReasonMixedAnswers, shingle.ReasonNotAdded:
		return "reason.ours"
	case shingle.ReasonRemoved:
		return "gone.revoked.text"
	}
	return "reason." + string(r)
}

// dateIn writes a day as the language does.
func dateIn(language string, t time.Time) string {
	t = t.UTC()
	switch language {
	case "de":
		return t.Format("2.1.2006")
	case "es", "fr":
		return t.Format("02/01/2006")
	case "ja":
		return t.Format("2006年1月2日")
	}
	return t.Format("2 January 2006")
}
