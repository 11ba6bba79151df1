package panel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

const (
	jobsAPage  = 50
	maxJobForm = 5 << 20 // bytes of a form with a job, of which the API takes 4 MiB
	linesShown = 10      // of a deletion, before it is confirmed
)

// jobList is a page of the list.
type jobList struct {
	Jobs        []shownJob
	Next, First string
	Busy        bool // one of them has not ended
}

// shownJob is a job as pages show it.
type shownJob struct {
	*api.Job
	Now time.Time
}

func listJobs(v *visit) error {
	list, err := v.jobList()
	if err != nil {
		return err
	}
	return v.show("jobs", list)
}

// liveJobs is the part of the list that changes by itself.
func liveJobs(v *visit) error {
	list, err := v.jobList()
	if err != nil {
		return err
	}
	return v.showPart("jobs", "list", list)
}

func (v *visit) jobList() (list jobList, err error) {
	q := v.r.URL.Query()
	found, err := v.api.JobPage(v.ctx(), q.Get("after"), jobsAPage)
	if err != nil {
		return list, err
	}
	for _, j := range found.Jobs {
		list.Jobs = append(list.Jobs, shownJob{&j, v.panel.Now()})
		list.Busy = list.Busy || !j.Ended()
	}
	if found.Next != "" {
		list.Next = Root + "jobs" + pageAddress(q, found.Next)
	}
	if q.Get("after") != "" {
		list.First = Root + "jobs"
	}
	return list, nil
}

// Title says what the job does.
func (j shownJob) Title() string {
	verb := map[string]string{"create": "Create", "delete": "Delete"}[j.Kind]
	switch f := j.Filter; {
	case f == nil:
		return verb + " " + many(j.Total, "domain")
	case f.Tenant != "":
		return verb + " domains of " + f.Tenant
	case f.Tag != "":
		return verb + " domains with the tag " + f.Tag
	case f.Text != "":
		return verb + " domains with " + f.Text
	}
	return verb + " domains by a filter"
}

// Tone is how the job is.
func (j shownJob) Tone() tone {
	switch {
	case j.Canceling:
		return tone{"wait", "Being canceled"}
	case j.State == "waiting":
		return tone{"busy", "Waiting"}
	case j.State == "running":
		return tone{"busy", "Running"}
	case j.State == "canceled":
		return tone{"off", "Canceled"}
	case j.State == "failed":
		return tone{"bad", "Broken off"}
	case j.Failed > 0:
		return tone{"wait", "Done, with failures"}
	}
	return tone{"good", "Done"}
}

// Headline says how the job is, in a sentence.
func (j shownJob) Headline() string {
	switch {
	case j.Canceling:
		return "It ends after the lines that are being done."
	case j.State == "waiting":
		return "It waits for its turn."
	case j.State == "running":
		return "The fleet is doing it."
	case j.State == "canceled":
		return "It was canceled. What was done stays done."
	case j.State == "failed":
		return "It cannot go on."
	case j.Failed > 0:
		return "It is done, but " + many(j.Failed, "line") + " failed."
	}
	return "It is done."
}

// Left is how long the job will take, by its pace; empty when that is not known.
func (j shownJob) Left() string {
	spent := j.Now.Sub(j.StartedAt)
	if j.State != "running" || j.Filter != nil || j.Done == 0 || j.Done >= j.Total || spent <= 0 {
		return ""
	}
	return span(time.Duration(float64(spent) * float64(j.Total-j.Done) / float64(j.Done)).Round(time.Second))
}

// jobForm is what was entered for a new job.
type jobForm struct {
	Kind, Lines, Tenant string
	Revoke              bool
	Confirm             string // how many domains are to be deleted
	Fault               fault

	Hosts []string // of a deletion: the first of them
	Count int
}

func newJob(v *visit) error {
	kind := v.r.URL.Query().Get("kind")
	if kind != string(shingle.JobDelete) {
		kind = string(shingle.JobCreate)
	}
	return v.show("newjob", jobForm{Kind: kind})
}

func addJob(v *visit) error {
	form, err := readJobForm(v.r)
	if err != nil {
		return err
	}
	if form.Fault.Message != "" {
		return v.jobForm("newjob", form)
	}
	lines := form.jsonLines()
	if form.Kind == string(shingle.JobDelete) && strings.TrimSpace(form.Confirm) != fmt.Sprint(form.Count) && form.Count > 0 {
		if form.Confirm != "" {
			form.Fault = fault{"confirm", fmt.Sprintf("Enter %d, which is how many domains are to be deleted.", form.Count)}
			return v.jobForm("deletejob", form)
		}
		return v.show("deletejob", form)
	}
	made, err := v.api.CreateJobOf(v.ctx(), form.Kind, form.Revoke && form.Kind == string(shingle.JobDelete), lines)
	if err == nil {
		return v.tell(jobAddress(made.ID), "job-made")
	}
	if form.Fault, err = faultOf(err); err != nil {
		return err
	}
	if strings.HasPrefix(form.Fault.Field, "line ") {
		form.Fault.Message = words(form.Fault.Field) + ": " + form.Fault.Message
	}
	form.Fault.Field = "lines" // there is no other
	return v.jobForm("newjob", form)
}

func (v *visit) jobForm(page string, form jobForm) error {
	v.panel.render(v.w, v, http.StatusUnprocessableEntity, page, form)
	return nil
}

// readJobForm reads a form, whose lines may come as a file.
func readJobForm(r *http.Request) (form jobForm, err error) {
	if err := r.ParseMultipartForm(maxJobForm); err != nil && !errors.Is(err, http.ErrNotMultipart) {
		return form, badForm
	}
	if r.MultipartForm != nil {
		defer r.MultipartForm.RemoveAll() //nolint:errcheck // all of it is in memory
	}
	in := r.PostForm
	form = jobForm{Kind: in.Get("kind"), Lines: in.Get("lines"), Tenant: strings.TrimSpace(in.Get("tenant")), Revoke: in.Has("revoke"), Confirm: in.Get("confirm")}
	file, err := fileOf(r.MultipartForm)
	if err != nil {
		return form, badForm
	}
	switch {
	case file != "" && strings.TrimSpace(form.Lines) != "":
		form.Fault = fault{"file", "Either lines or a file: remove one of them."}
	case file != "":
		form.Lines = file
	}
	for line := range strings.Lines(form.Lines) {
		if line = strings.TrimSpace(line); line != "" {
			if form.Count++; form.Count <= linesShown {
				form.Hosts = append(form.Hosts, hostIn(line))
			}
		}
	}
	if form.Count == 0 && form.Fault.Message == "" {
		form.Fault = fault{"lines", "Enter a domain a line, or choose a file."}
	}
	return form, nil
}

func fileOf(form *multipart.Form) (string, error) {
	if form == nil || len(form.File["file"]) == 0 {
		return "", nil
	}
	f, err := form.File["file"][0].Open()
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	return string(text), err
}

// hostIn is the host of a line, for people.
func hostIn(line string) string {
	var d struct{ Host string }
	switch {
	case !isJSON(line):
		return hostOf(line)
	case json.Unmarshal([]byte(line), &d) == nil:
		return d.Host
	case json.Unmarshal([]byte(line), &d.Host) == nil:
		return d.Host
	}
	return line
}

// isJSON reports whether a line is meant as JSON: no host looks like that.
func isJSON(line string) bool { return strings.HasPrefix(line, "{") || strings.HasPrefix(line, `"`) }

// jsonLines are the lines for the API, each at its place, so that what it says of one is
// true here.
func (f *jobForm) jsonLines() []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out) // which ends each with a new line
	for line := range strings.Lines(strings.TrimPrefix(f.Lines, "\ufeff")) {
		switch line = strings.TrimSpace(line); {
		case line == "" || isJSON(line):
			out.WriteString(line + "\n")
		case f.Tenant != "" && f.Kind == string(shingle.JobCreate):
			_ = e.Encode(map[string]string{"host": hostOf(line), "tenant": f.Tenant}) // strings
		default:
			_ = e.Encode(hostOf(line)) // a string
		}
	}
	return out.Bytes()
}

func cancelJob(v *visit) error {
	id := v.r.PathValue("id")
	if _, err := v.api.CancelJob(v.ctx(), id); err != nil && !errors.Is(err, shingle.ErrConflict) { // it has ended meanwhile
		return err
	}
	return v.tell(jobAddress(id), "job-canceled")
}

func jobAddress(id string) string { return Root + "jobs/" + url.PathEscape(id) }
