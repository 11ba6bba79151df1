package panel

import (
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/shingle-proxy/shingle/internal/api"
)

// functions are what templates may call.
var functions = template.FuncMap{
	"state": stateOf, "who": whoActs, "whoName": whoName, "result": resultOf, "event": eventTitle,
	"caName": caName, "budget": budgetText, "settings": settingsOf,
	"sentence": sentence, "words": words, "hints": hints, "errorAt": errorAt,
	"day": day, "moment": moment, "clock": clockOf, "span": span,
	"age":     func(seconds *float64) string { return span(time.Duration(*seconds * float64(time.Second))) },
	"seconds": func(n int) time.Duration { return time.Duration(n) * time.Second },
	"many":    many[uint64], "thousands": thousands, "size": humanize.Bytes,
	"inc":   func(n int) int { return n + 1 },
	"minus": func(a, b int) int { return a - b },
	"tenth": func(n int) int { return n / 10 },
	"join":  strings.Join,
	"split": func(list string) []string { return strings.Split(list, ",") },
	"visit": func(host string) string { return strings.Replace(host, "*.", "www.", 1) },
}

// tone is the colour of something, with a word for those who do not see it.
type tone struct{ Kind, Text string }

// states are the words for a domain's states; kinds are good, busy, wait, bad and off.
var states = map[string]tone{
	"pending": {"wait", "Waiting for DNS"}, "verifying": {"wait", "Almost there"}, "issuing": {"busy", "Obtaining certificate"},
	"active": {"good", "Live"}, "drifting": {"bad", "DNS moved away"}, "paused": {"bad", "Stopped"},
	"blocked": {"off", "Paused by you"}, "removed": {"off", "Deleted"},
	"valid": {"good", "Valid"}, "waiting": {"busy", "Waiting for its turn"}, "failing": {"wait", "Failing, tried again"}, "stopped": {"bad", "Stopped"},
}

// results are the words for what became of a line of a job.
var results = map[string]tone{
	"created": {"good", "Created"}, "deleted": {"good", "Deleted"}, "exists": {"off", "Was there"}, "not_found": {"off", "Was not there"},
	"newer": {"off", "Added since, stays"}, "failed": {"bad", "Failed"},
}

func resultOf(result string) tone {
	if t, ok := results[result]; ok {
		return t
	}
	return tone{"off", result}
}

func stateOf(state string) tone {
	if t, ok := states[state]; ok {
		return t
	}
	return tone{"off", "Not checked yet"}
}

// whoActs are words for who must act.
func whoActs(who string) tone {
	switch who {
	case "customer":
		return tone{"wait", "The customer must act"}
	case "operator":
		return tone{"bad", "You must act"}
	case "ca":
		return tone{"busy", "The certificate authority must act"}
	}
	return tone{"good", "Nobody needs to do anything"}
}

func whoName(who string) string {
	return map[string]string{"operator": "You", "customer": "The customer", "ca": "The certificate authority", "nobody": "Nobody"}[who]
}

func day(t time.Time) string { return t.UTC().Format("2 January 2006") }

func clockOf(t time.Time) string { return t.UTC().Format("15:04:05") }

func moment(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04:05") + " UTC" }

// ago says when t is from now, with the exact time for those who point at it.
func ago(t, now time.Time) template.HTML {
	if t.IsZero() {
		return "never"
	}
	text := "just now"
	switch d := now.Sub(t); {
	case d >= 5*time.Second:
		text = span(d) + " ago"
	case d <= -5*time.Second:
		text = "in " + span(-d)
	}
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s">%s</time>`, t.UTC().Format(time.RFC3339), moment(t), text)) //nolint:gosec // numbers and words of ours
}

// span is a duration in words, in its largest unit.
func span(d time.Duration) string {
	for _, unit := range []struct {
		name string
		is   time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}} {
		if n := int(math.Round(float64(d) / float64(unit.is))); d >= unit.is && n >= 1 {
			return many(n, unit.name)
		}
	}
	return many(int(d/time.Second), "second")
}

// words turns a word for programs into some for people.
func words(s string) string {
	if s == "" || strings.Contains(s, ".") { // the path of a setting
		return s
	}
	s = strings.ReplaceAll(s, "_", " ")
	return strings.ToUpper(s[:1]) + s[1:]
}

// percent is where t is between from and to, 0 to 100.
func percent(from, to, t time.Time) float64 {
	if !to.After(from) {
		return 100
	}
	return min(max(100*float64(t.Sub(from))/float64(to.Sub(from)), 0), 100)
}

// setting is one that a domain has, for a table.
type setting struct{ Name, Text string }

// settingsOf lists a domain's settings, in the order of their names.
func settingsOf(s api.Settings) (list []setting) {
	members, err := membersOf([]byte(s))
	if err != nil {
		return []setting{{"settings", string(s)}}
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		text, err := json.Marshal(members[name])
		if tags, ok := members[name].([]any); ok && name == "tags" {
			var words []string
			for _, tag := range tags {
				words = append(words, fmt.Sprint(tag))
			}
			text, err = []byte(strings.Join(words, ", ")), nil
		}
		if err == nil {
			list = append(list, setting{name, string(text)})
		}
	}
	return list
}

// caName is the CA of a directory URL, for people.
func caName(directory string) string {
	u, err := url.Parse(directory)
	if err != nil || u.Host == "" {
		return directory
	}
	switch u.Hostname() {
	case "acme-v02.api.letsencrypt.org":
		return "Let's Encrypt"
	case "acme-staging-v02.api.letsencrypt.org":
		return "Let's Encrypt (staging)"
	case "dv.acme-v02.api.pki.goog":
		return "Google Trust Services"
	case "acme.zerossl.com":
		return "ZeroSSL"
	}
	return u.Host
}

func budgetText(b api.Budget) string {
	return fmt.Sprintf("%.0f of %d left, %d more every %s", math.Floor(b.Left), b.Count, b.Count, strings.TrimPrefix(span(time.Duration(b.Seconds*float64(time.Second))), "1 "))
}

// eventTitles are what events are called.
var eventTitles = map[string]tone{
	"domain.created": {"busy", "Domain added"}, "domain.updated": {"off", "Settings changed"}, "domain.deleted": {"off", "Domain deleted"},
	"domain.moved":  {"wait", "Domain went to another tenant"},
	"domain.status": {"busy", "Status changed"}, "certificate.issued": {"good", "Certificate issued"}, "certificate.failed": {"wait", "Certificate attempt failed"},
	"certificate.stopped": {"bad", "Certificate attempts stopped"}, "certificate.revoked": {"off", "Certificate revoked"},
	"certificate.uploaded": {"good", "Certificate uploaded"}, "certificate.expiring": {"bad", "Certificate ends soon"},
	"webhook.disabled": {"bad", "Webhook disabled"}, "webhook.test": {"off", "Webhook tested"},
	"job.ended": {"off", "Job ended"},
}

// shownEvent is an event as pages show it.
type shownEvent struct {
	api.Event
	Title  tone
	Detail string // a sentence; may be empty
	Fields string // all there is, as JSON
}

// eventData is what events of all types hold, as far as it is told.
type eventData struct {
	State, Message, Who string
	Renewal             bool
	NotAfter            time.Time `json:"not_after"`

	Kind                              string // of a job
	Total, Changed, Unchanged, Failed int

	Before, After struct {
		State, Message, Who, Tenant string
		Generation                  int64 `json:"setup_generation"`
	}
}

// eventTitle reads what an event holds.
func eventTitle(e api.Event) shownEvent {
	out := shownEvent{Event: e, Title: eventTitles[e.Type]}
	if out.Title.Text == "" {
		out.Title = tone{"off", e.Type}
	}
	var data eventData
	_ = json.Unmarshal(e.Data, &data) // what is not as expected is not told
	if data.State == "" {
		data.State, data.Message = data.After.State, data.After.Message
	}
	switch {
	case e.Type == "domain.status" && data.State != "":
		out.Title = stateOf(data.State)
		out.Detail = data.Message
	case e.Type == "domain.updated" && data.After.Generation != data.Before.Generation && data.After.Tenant == data.Before.Tenant:
		out.Title.Text = "Set-up links revoked"
	case e.Type == "certificate.issued" && data.Renewal:
		out.Title.Text = "Certificate renewed"
		out.Detail = "Good until " + day(data.NotAfter) + "."
	case e.Type == "certificate.issued" && !data.NotAfter.IsZero():
		out.Detail = "Good until " + day(data.NotAfter) + "."
	case e.Type == "job.ended":
		out.Detail = fmt.Sprintf("%s of %s: %d done, %d unchanged, %d failed.", words(data.Kind), many(data.Total, "line"), data.Changed, data.Unchanged, data.Failed)
	case data.Message != "":
		out.Detail = data.Message
	}
	out.Detail = sentence(out.Detail)
	if len(e.Data) > 0 {
		out.Fields = string(e.Data)
	}
	return out
}
