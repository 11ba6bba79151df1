package api

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shingle-proxy/shingle"
)

// createJobs is the route of new jobs.
const createJobs = "POST /v1/jobs"

// maxJobBody bounds the body of a new job, in bytes.
const maxJobBody = 4 << 20

// maxBodyOf bounds the body of a request by its route, in bytes.
func maxBodyOf(route string) int64 {
	if route == createJobs {
		return maxJobBody
	}
	return maxBody
}

// Jobs is work on many domains. What is done for each line is up to [Bulk].
type Jobs interface {
	// CreateJob takes a job over, or returns [shingle.ErrLimited].
	CreateJob(ctx context.Context, j shingle.Job, lines []json.RawMessage) (shingle.Job, error)
	// Jobs returns jobs, the newest first, those of a tenant's tokens when it is not
	// empty. next, when not empty, is the after of the next page, which may have more
	// when this one is short.
	Jobs(ctx context.Context, tenant, after string, limit int) (list []shingle.Job, next string, err error)
	// Job returns one, or [shingle.ErrNotFound], as all below do.
	Job(ctx context.Context, id string) (shingle.Job, error)
	// Report returns what became of lines, from a part on, at most parts of them; next is
	// the part to go on with, -1 at the end.
	Report(ctx context.Context, id string, from, parts int) (list []shingle.JobLine, next int, err error)
	// CancelJob has a job end, or returns [shingle.ErrConflict] when it has.
	CancelJob(ctx context.Context, id string) (shingle.Job, error)
}

// NewJob is work on many domains: domains to create, or hosts or a filter of domains to
// delete.
type NewJob struct {
	Kind    string      `json:"kind" enum:"create,delete"`
	Domains []NewDomain `json:"domains,omitempty" maxItems:"10000" nullable:"false" doc:"To create"`
	Hosts   []string    `json:"hosts,omitempty" maxItems:"10000" nullable:"false" doc:"To delete"`
	Filter  *JobFilter  `json:"filter,omitempty" doc:"Which to delete, in place of hosts. At least one member must be set"`
	Revoke  bool        `json:"revoke,omitempty" doc:"Of a deletion: have the CA revoke the certificates, too"`
}

// JobFilter says which domains a job deletes: those for which all of it holds, and that were
// added before the job.
type JobFilter struct {
	Tenant string `json:"tenant,omitempty" maxLength:"128"`
	Tag    string `json:"tag,omitempty"`
	Text   string `json:"text,omitempty" maxLength:"253" doc:"In the host, in its normal form"`
	Paused *bool  `json:"paused,omitempty" doc:"Those that the operator has paused, or the others"`
}

// Job is work on many domains.
type Job struct {
	ID        string     `json:"id"`
	Kind      string     `json:"kind" enum:"create,delete"`
	State     string     `json:"state" enum:"waiting,running,done,canceled,failed" doc:"done: every line was looked at; some may have failed"`
	By        string     `json:"by" doc:"Name of the token that made it"`
	Tenant    string     `json:"tenant,omitempty" doc:"That its token was limited to"`
	Filter    *JobFilter `json:"filter,omitempty"`
	Revoke    bool       `json:"revoke,omitempty"`
	Canceling bool       `json:"canceling,omitempty" doc:"It ends after the lines that are being done"`
	Total     int        `json:"total" doc:"Lines; of a filter, those found until now"`
	Done      int        `json:"done" doc:"Lines that were looked at"`
	Changed   int        `json:"changed" doc:"Domains that were created or deleted"`
	Unchanged int        `json:"unchanged" doc:"Lines for which nothing was to be done"`
	Failed    int        `json:"failed" doc:"Lines that were refused; the report says why"`
	Problem   string     `json:"problem,omitempty" doc:"Why it cannot go on now, or never will"`
	CreatedAt time.Time  `json:"created_at"`
	StartedAt time.Time  `json:"started_at,omitzero"`
	EndedAt   time.Time  `json:"ended_at,omitzero"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// JobList is a page of jobs, the newest first.
type JobList struct {
	Jobs []Job  `json:"jobs" nullable:"false"`
	Next string `json:"next,omitempty" doc:"Send it as after for the next page; absent at the end"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// JobLine is what became of a line of a job.
type JobLine struct {
	Line    int    `json:"line" doc:"From 1"`
	Host    string `json:"host" doc:"As it was sent"`
	Result  string `json:"result" enum:"created,deleted,exists,not_found,newer,failed" doc:"exists, not_found: nothing was to be done; newer: it was added after the job, and stays"`
	Code    string `json:"code,omitempty" doc:"Of the error, when it failed"`
	Message string `json:"message,omitempty" doc:"Why it failed, for people"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// JobReport is a page of a report, in the order of the lines.
type JobReport struct {
	Lines []JobLine `json:"lines" nullable:"false"`
	Next  string    `json:"next,omitempty" doc:"Send it as after for the next page; absent at the end of what is done"`

	_ struct{} `additionalProperties:"true"` // more will come
}

// partsAPage is how many parts of a report, of 50 lines each, are a page.
const partsAPage = 10

// JobIDInput names a job. It is exported for huma.
type JobIDInput struct {
	ID string `path:"id" maxLength:"64"`
}

type (
	createJobInput struct {
		Kind   string `query:"kind" enum:"create,delete" doc:"What to do with JSON lines; in JSON it is a member"`
		Revoke bool   `query:"revoke" doc:"Of a deletion by JSON lines: have the CA revoke the certificates, too; in JSON it is a member"`
		Body   NewJob
	}
	jobInput       struct{ JobIDInput }
	jobReportInput struct {
		JobIDInput
		After string `query:"after" maxLength:"6" doc:"The next of the page before"`
		Only  string `query:"only" enum:"failed" doc:"Only lines that failed; a page may then have few, or none, and still a next"`
	}
	jobAnswer    struct{ Body Job }
	newJobAnswer struct {
		Location string `header:"Location" doc:"The path of the new job"`
		Body     Job
	}
	jobsAnswer      struct{ Body JobList }
	jobReportAnswer struct{ Body JobReport }
)

func (s *server) jobRoutes(a huma.API) {
	const all, one = "/v1/jobs", "/v1/jobs/{id}"
	create := operation("create-job", http.MethodPost, all, "Create or delete many domains",
		http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusTooManyRequests)
	create.DefaultStatus, create.MaxBodyBytes = http.StatusAccepted, maxJobBody+1
	create.Description = "As JSON, or as JSON lines (application/x-ndjson) with the kind in the address: a domain a line, an object or a host as a string; of a line that cannot be read the error has the number. At most 10000 lines and 4 MiB, 20 jobs at once, two of a tenant's. The fleet does them by itself, some hundred lines a second, each under the rules of create-domain and delete-domain and with the rights of this token; it goes on where a process died, and ends, canceled, when the token is revoked. " +
		"A domain that was added after the job is not deleted by it. A week after its end a job is forgotten, and earlier when 200 newer ones are there. The event job.ended tells its end."
	register(s, a, create, s.createJob)
	s.lines = newJobLines(a)
	s.lines.describe(a.OpenAPI().Paths[all].Post)
	register(s, a, operation("list-jobs", http.MethodGet, all, "List the jobs"), s.listJobs)
	register(s, a, operation("get-job", http.MethodGet, one, "Show a job and how far it is", http.StatusNotFound), s.getJob)
	register(s, a, operation("get-job-report", http.MethodGet, one+"/report", "Show what became of each line of a job", http.StatusNotFound), s.getJobReport)
	cancel := operation("cancel-job", http.MethodPost, one+"/cancel", "End a job", http.StatusNotFound, http.StatusPreconditionFailed)
	cancel.Description = "It ends after the lines that are being done; what was done stays done."
	register(s, a, cancel, s.cancelJob)
}

func (s *server) createJob(ctx context.Context, in *createJobInput) (*newJobAnswer, error) {
	j := shingle.Job{Kind: shingle.JobKind(in.Body.Kind), By: caller(ctx), Token: callerOf(ctx).ID, Tenant: tenantOf(ctx), Revoke: in.Body.Revoke}
	if in.Kind != "" || in.Revoke {
		return nil, at("query.kind", shingle.Errorf(shingle.CodeInvalid, "kind and revoke in the address are for JSON lines (Content-Type: application/x-ndjson): in JSON they are members"))
	}
	if err := in.Body.check(); err != nil {
		return nil, err
	}
	lines := make([]json.RawMessage, 0, len(in.Body.Domains)+len(in.Body.Hosts))
	for i := range in.Body.Domains {
		line, err := json.Marshal(in.Body.Domains[i])
		if err != nil {
			return nil, err
		}
		if len(line) > shingle.MaxJobLine {
			return nil, wrong(fmt.Sprintf("domains[%d]", i), "a line has at most 65536 bytes")
		}
		lines = append(lines, line)
	}
	for _, host := range in.Body.Hosts {
		line, _ := json.Marshal(host) // a string
		lines = append(lines, line)
	}
	if f := in.Body.Filter; f != nil {
		if err := s.ownTenant(ctx, f.Tenant); err != nil {
			return nil, err
		}
		j.Filter = &shingle.JobFilter{Tenant: f.Tenant, Tag: f.Tag, Text: strings.ToLower(f.Text), Paused: f.Paused}
	}
	made, err := s.Jobs.CreateJob(ctx, j, lines)
	if err != nil {
		return nil, err
	}
	return &newJobAnswer{"/v1/jobs/" + made.ID, showJob(&made)}, nil
}

// check refuses a job that is not one thing.
func (n *NewJob) check() error {
	del := n.Kind == string(shingle.JobDelete)
	switch f := n.Filter; {
	case !del && (len(n.Hosts) > 0 || f != nil || n.Revoke):
		return wrong("kind", "hosts, filter and revoke are for kind delete")
	case del && len(n.Domains) > 0:
		return wrong("domains", "domains are for kind create: name what to delete as hosts, or by a filter")
	case !del && len(n.Domains) == 0:
		return wrong("domains", "name the domains to create")
	case del && (len(n.Hosts) > 0) == (f != nil):
		return wrong("hosts", "name the domains to delete, either as hosts or by a filter")
	case f != nil && f.Tenant == "" && f.Tag == "" && f.Text == "" && f.Paused == nil:
		return wrong("filter", "set at least one of tenant, tag, text and paused: a filter without any would delete every domain")
	}
	return nil
}

func wrong(field, message string) error {
	return &shingle.Error{Code: shingle.CodeInvalid, Field: field, Message: message}
}

func (s *server) listJobs(ctx context.Context, in *PageInput) (*jobsAnswer, error) {
	if in.After != "" && !shingle.IsTokenID(in.After) { // which has the same letters
		return nil, at("query.after", errCursor)
	}
	list, next, err := s.Jobs.Jobs(ctx, tenantOf(ctx), in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	out := JobList{Jobs: make([]Job, len(list)), Next: next}
	for i := range list {
		out.Jobs[i] = showJob(&list[i])
	}
	return &jobsAnswer{out}, nil
}

func (s *server) getJob(ctx context.Context, in *jobInput) (*jobAnswer, error) {
	j, err := s.ownJob(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &jobAnswer{showJob(&j)}, nil
}

func (s *server) getJobReport(ctx context.Context, in *jobReportInput) (*jobReportAnswer, error) {
	from := 0
	if in.After != "" {
		var err error
		if from, err = strconv.Atoi(in.After); err != nil || from < 0 {
			return nil, at("query.after", errCursor)
		}
	}
	if _, err := s.ownJob(ctx, in.ID); err != nil {
		return nil, err
	}
	list, next, err := s.Jobs.Report(ctx, in.ID, from, partsAPage)
	if err != nil {
		return nil, err
	}
	out := JobReport{Lines: make([]JobLine, 0, len(list))}
	if next >= 0 {
		out.Next = strconv.Itoa(next)
	}
	for _, l := range list {
		if in.Only == "" || l.Result == shingle.JobLineFailed {
			out.Lines = append(out.Lines, JobLine{Line: l.Line, Host: l.Host, Result: string(l.Result), Code: string(l.Code), Message: l.Message})
		}
	}
	return &jobReportAnswer{out}, nil
}

func (s *server) cancelJob(ctx context.Context, in *jobInput) (*jobAnswer, error) {
	if _, err := s.ownJob(ctx, in.ID); err != nil {
		return nil, err
	}
	j, err := s.Jobs.CancelJob(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &jobAnswer{showJob(&j)}, nil
}

// ownJob returns a job, if it is one that its caller may see.
func (s *server) ownJob(ctx context.Context, id string) (shingle.Job, error) {
	j, err := s.Jobs.Job(ctx, id)
	if own := tenantOf(ctx); err == nil && own != "" && own != j.Tenant {
		err = shingle.Errorf(shingle.CodeNotFound, "there is no job %.64q: a week after its end it is forgotten", id)
	}
	return j, err
}

func showJob(j *shingle.Job) Job {
	out := Job{
		ID: j.ID, Kind: string(j.Kind), State: string(j.State), By: j.By, Tenant: j.Tenant, Revoke: j.Revoke, Canceling: j.Cancel && !j.Ended(),
		Total: j.Total, Done: j.Done, Changed: j.Changed, Unchanged: j.Unchanged, Failed: j.Failed, Problem: j.Problem,
		CreatedAt: j.CreatedAt, StartedAt: j.StartedAt, EndedAt: j.EndedAt,
	}
	if f := j.Filter; f != nil {
		out.Filter = &JobFilter{Tenant: f.Tenant, Tag: f.Tag, Text: f.Text, Paused: f.Paused}
	}
	return out
}

// CreateJob has the fleet work on many domains, or returns [shingle.ErrLimited].
func (c *Client) CreateJob(ctx context.Context, n NewJob) (out Job, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/jobs", n, &out)
}

// Jobs returns the jobs, the newest first, page by page. It ends with the first error.
func (c *Client) Jobs(ctx context.Context) iter.Seq2[Job, error] {
	return pages(ctx, c, "/v1/jobs?limit=200", func(l JobList) ([]Job, string) { return l.Jobs, l.Next })
}

// Job returns one, or [shingle.ErrNotFound].
func (c *Client) Job(ctx context.Context, id string) (out Job, err error) {
	path, err := jobPath(id)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, http.MethodGet, path, nil, &out)
}

// JobReport returns what became of the lines that were done, with failed of those alone
// that failed, page by page. It ends with the first error.
func (c *Client) JobReport(ctx context.Context, id string, failed bool) iter.Seq2[JobLine, error] {
	path, err := jobPath(id)
	if err != nil {
		return func(yield func(JobLine, error) bool) { yield(JobLine{}, err) }
	}
	query := "/report?"
	if failed {
		query += "only=failed"
	}
	return pages(ctx, c, path+query, func(r JobReport) ([]JobLine, string) { return r.Lines, r.Next })
}

// CancelJob has a job end, or returns [shingle.ErrConflict] when it has.
func (c *Client) CancelJob(ctx context.Context, id string) (out Job, err error) {
	path, err := jobPath(id)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, http.MethodPost, path+"/cancel", nil, &out)
}

func jobPath(id string) (string, error) {
	if !shingle.IsTokenID(id) {
		return "", shingle.Errorf(shingle.CodeInvalid, "%.64q is no ID of a job", id)
	}
	return "/v1/jobs/" + id, nil
}

// Ended reports whether nothing is done any more.
func (j *Job) Ended() bool { return slices.Contains([]string{"done", "canceled", "failed"}, j.State) }
