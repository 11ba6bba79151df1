package panel

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/shingle-proxy/shingle/internal/api"
)

// Bounds of what a job's page looks for: a page of its report has up to 500 lines.
const (
	failuresShown  = 200 // once it has ended
	reportPages    = 20  // which is all of the largest list
	failuresEarly  = 20  // while it runs, again and again
	reportPagesNow = 2
)

// jobPage is all that a job's page shows.
type jobPage struct {
	Job         shownJob
	Failures    []api.JobLine
	Lines       []api.JobLine // a page of all; only when they are asked for
	Next, First string
	All         bool
}

// MoreFailed reports whether there are more failures than are shown.
func (p jobPage) MoreFailed() bool { return p.Job.Failed > len(p.Failures) }

func showJob(v *visit) error {
	p, err := v.job()
	if err != nil {
		return err
	}
	q := v.r.URL.Query()
	if p.All = q.Has("lines"); p.All {
		found, err := v.api.JobReportPage(v.ctx(), p.Job.ID, q.Get("after"), false)
		if err != nil {
			return err
		}
		if p.Lines = found.Lines; found.Next != "" {
			p.Next = "?lines&" + url.Values{"after": {found.Next}}.Encode()
		}
		if q.Get("after") != "" {
			p.First = "?lines"
		}
	}
	return v.show("job", p)
}

// liveJob is the part of the page that changes by itself.
func liveJob(v *visit) error {
	p, err := v.job()
	if err != nil {
		return err
	}
	return v.showPart("job", "live", p)
}

// job reads the job that the path names, with lines that failed.
func (v *visit) job() (p jobPage, err error) {
	j, err := v.api.Job(v.ctx(), v.r.PathValue("id"))
	if err != nil {
		return p, err
	}
	p.Job = shownJob{&j, v.panel.Now()}
	most, pages := failuresEarly, reportPagesNow
	if j.Ended() {
		most, pages = failuresShown, reportPages
	}
	after := ""
	for range pages {
		if len(p.Failures) >= min(most, j.Failed) {
			break
		}
		found, err := v.api.JobReportPage(v.ctx(), j.ID, after, true)
		if err != nil {
			return p, err
		}
		p.Failures = append(p.Failures, found.Lines...)
		if after = found.Next; after == "" {
			break
		}
	}
	p.Failures = p.Failures[:min(len(p.Failures), most)]
	return p, nil
}

// downloadReport sends the report as a file, for a spreadsheet or for a program.
func downloadReport(v *visit) error {
	id := v.r.PathValue("id")
	if _, err := v.api.Job(v.ctx(), id); err != nil {
		return err
	}
	kind, write := "application/x-ndjson", jsonReport(v.w)
	name := "report-" + id + ".jsonl"
	if v.r.URL.Query().Get("as") == "csv" {
		kind, write, name = "text/csv; charset=utf-8", csvReport(v.w), "report-"+id+".csv"
	}
	v.w.Header().Set("Content-Type", kind)
	v.w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name))
	for line, err := range v.api.JobReport(v.ctx(), id, v.r.URL.Query().Has("failed")) {
		if err == nil {
			err = write(line)
		}
		if err != nil {
			panic(http.ErrAbortHandler) // half a report must not pass for a whole one
		}
	}
	return nil
}

func jsonReport(w io.Writer) func(api.JobLine) error {
	e := json.NewEncoder(w)
	return func(l api.JobLine) error { return e.Encode(l) }
}

func csvReport(w io.Writer) func(api.JobLine) error {
	c, begun := csv.NewWriter(w), false
	return func(l api.JobLine) error {
		if !begun {
			begun = true
			_ = c.Write([]string{"line", "host", "result", "code", "message"}) // Error has it
		}
		_ = c.Write([]string{fmt.Sprint(l.Line), plainCell(l.Host), l.Result, l.Code, plainCell(l.Message)})
		c.Flush()
		return c.Error()
	}
}

// plainCell keeps spreadsheets from taking what somebody sent for a formula.
func plainCell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}
