package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

// jobsCmd is a client of the API.
type jobsCmd struct {
	apiFlags

	List   jobsListCmd   `cmd:"" default:"withargs" help:"List the jobs, the newest first."`
	Create jobsCreateCmd `cmd:"" help:"Have the fleet create the domains of a file."`
	Delete jobsDeleteCmd `cmd:"" help:"Have the fleet delete domains, of a file or by a filter."`
	Show   jobsShowCmd   `cmd:"" help:"Show a job and how far it is."`
	Report jobsReportCmd `cmd:"" help:"Show what became of each line of a job."`
	Cancel jobsCancelCmd `cmd:"" help:"End a job; what was done stays done."`
}

// jobsExit is the part about exit codes of the help of each command that waits.
const jobsExit = "Exit codes: 0; 1 if it failed or, with --watch, the job did not do every line; 2 if the command line cannot be understood."

// jobsEvery is how often --watch looks.
const jobsEvery = time.Second

type jobsListCmd struct {
	listFlags
}

// Run lists the jobs.
func (c *jobsListCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Jobs.client()
	if err != nil {
		return err
	}
	_, err = show(ctx, s.Out, c.listFlags, jobsEvery, func() ([]api.Job, error) { return collect(client.Jobs(ctx)) }, printJobs)
	return err
}

func printJobs(w io.Writer, list []api.Job) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "No jobs. Make one: shingle jobs create FILE")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "ID\tKIND\tSTATE\tDONE\tCHANGED\tUNCHANGED\tFAILED\tBY\tMADE")
	for _, j := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", j.ID, j.Kind, jobState(j), jobDone(j), j.Changed, j.Unchanged, j.Failed, j.By, localTime(j.CreatedAt))
	}
	return t.Flush()
}

func jobState(j api.Job) string {
	if j.Canceling {
		return j.State + ", ends"
	}
	return j.State
}

func jobDone(j api.Job) string {
	if j.Filter != nil && !j.Ended() {
		return fmt.Sprintf("%d so far", j.Done)
	}
	return fmt.Sprintf("%d of %d", j.Done, j.Total)
}

// jobWatch is for the commands that make a job.
type jobWatch struct {
	Watch bool `help:"Wait for the end, with a progress bar, and print the lines that failed."`
	JSON  bool `name:"json" help:"Print JSON."`
}

// made tells of a job that was made, and waits for it if that is wanted.
func (c *jobWatch) made(ctx context.Context, client *api.Client, s streams, j api.Job) error {
	if !c.Watch {
		if c.JSON {
			return printJSON(s.Out, j)
		}
		_, err := fmt.Fprintf(s.Out, "job %s takes care of it; see: shingle jobs show %s --watch\n", j.ID, j.ID)
		return err
	}
	return c.await(ctx, client, s, j)
}

// await waits until a job has ended.
func (c *jobWatch) await(ctx context.Context, client *api.Client, s streams, j api.Job) (err error) {
	bar := newProgress(s.Err, j.Kind+" "+j.ID)
	problem := ""
	for !j.Ended() {
		if !pause(ctx, jobsEvery) {
			bar.clear()
			return fmt.Errorf("the job %s goes on without you", j.ID)
		}
		next, err := client.Job(ctx, j.ID)
		if err != nil && !errors.Is(err, shingle.ErrUnavailable) {
			bar.clear()
			return err
		}
		if err == nil {
			j = next
		}
		fraction := -1.0
		if j.Filter == nil && j.Total > 0 {
			fraction = float64(j.Done) / float64(j.Total)
		}
		if j.Problem != problem && j.Problem != "" {
			bar.clear()
			fmt.Fprintln(s.Err, "it waits:", j.Problem)
		}
		problem = j.Problem
		bar.at(j.Done, fraction)
	}
	bar.clear()
	if err := c.print(ctx, client, s, j); err != nil {
		return err
	}
	switch {
	case j.State != "done":
		return fmt.Errorf("the job was %s: %s", j.State, jobDone(j))
	case j.Failed > 0:
		return fmt.Errorf("%s failed", plural(j.Failed, "line"))
	}
	return nil
}

func (c *jobWatch) print(ctx context.Context, client *api.Client, s streams, j api.Job) error {
	if c.JSON {
		return printJSON(s.Out, j)
	}
	if err := printRows(s.Out, jobRows(j)); err != nil || j.Failed == 0 {
		return err
	}
	return printLines(s.Out, client.JobReport(ctx, j.ID, true))
}

func jobRows(j api.Job) [][2]string {
	filter := ""
	if f := j.Filter; f != nil {
		text, _ := json.Marshal(f) // strings and a boolean
		filter = string(text)
	}
	return [][2]string{
		{"id", j.ID}, {"kind", j.Kind}, {"state", jobState(j)}, {"by", j.By}, {"tenant", j.Tenant}, {"filter", filter},
		{"done", jobDone(j)}, {"changed", fmt.Sprint(j.Changed)}, {"unchanged", fmt.Sprint(j.Unchanged)}, {"failed", fmt.Sprint(j.Failed)},
		{"problem", j.Problem}, {"made", localTime(j.CreatedAt)}, {"started", timeOrEmpty(j.StartedAt)}, {"ended", timeOrEmpty(j.EndedAt)},
	}
}

type jobsCreateCmd struct {
	jobWatch

	File string `arg:"" help:"CSV, JSON lines or a list of hosts, as for domains import; - reads the standard input." type:"existingfile"`
}

// Help is what --help adds.
func (jobsCreateCmd) Help() string {
	return "At most 10000 lines and 4 MiB. The file is read at once; then the fleet goes on by itself, whatever becomes of this command. Domains that exist are left as they are: domains import --update changes them.\n\n" + jobsExit
}

// Run makes a job of a file.
func (c *jobsCreateCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Jobs.client()
	if err != nil {
		return err
	}
	rows, err := readJob(c.File, s)
	if err != nil {
		return err
	}
	n := api.NewJob{Kind: "create"}
	for _, r := range rows {
		d := r.domain
		n.Domains = append(n.Domains, api.NewDomain{Host: d.Host, Tenant: d.Tenant, Origin: d.Origin, Redirect: d.Redirect, Paused: d.Paused, Settings: api.Settings(d.Settings)})
	}
	j, err := client.CreateJob(ctx, n)
	if err != nil {
		return err
	}
	return c.made(ctx, client, s, j)
}

// readJob reads a file whose every line must be a domain.
func readJob(name string, s streams) ([]row, error) {
	f, _, err := openInput(name, s)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []row
	for r := range readDomains(f) {
		if r.err != nil {
			return nil, fmt.Errorf("line %d: %w", r.line, r.err)
		}
		if list = append(list, r); len(list) > shingle.MaxJobLines {
			return nil, fmt.Errorf("a job has at most %d lines: split the file, or use domains import", shingle.MaxJobLines)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("the file has no domains")
	}
	return list, nil
}

type jobsDeleteCmd struct {
	jobWatch

	File   string `arg:"" optional:"" help:"List of hosts, or CSV or JSON lines with hosts; - reads the standard input." type:"existingfile"`
	Tenant string `placeholder:"NAME" help:"Delete the domains of this tenant."`
	Tag    string `placeholder:"TAG" help:"Delete the domains with this tag."`
	Text   string `placeholder:"TEXT" help:"Delete the domains whose host has this in it."`
	Paused bool   `help:"Delete the domains that are paused."`
	Revoke bool   `help:"Have the CA revoke their certificates, too."`
	Yes    bool   `help:"Do not ask."`
}

// Help is what --help adds.
func (jobsDeleteCmd) Help() string {
	return "With several filters, those domains for which all of them hold. A domain that is added after the job stays.\n\n" + jobsExit
}

// Run makes a job of a file, or a filter.
func (c *jobsDeleteCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Jobs.client()
	if err != nil {
		return err
	}
	n := api.NewJob{Kind: "delete", Revoke: c.Revoke}
	what := c.filter(&n)
	switch {
	case c.File == "" && what == "":
		return errors.New("name a file of hosts, or say which domains: --tenant, --tag, --text or --paused")
	case c.File != "" && what != "":
		return errors.New("either a file or a filter: a file says itself which domains")
	case c.File != "":
		rows, err := readJob(c.File, s)
		if err != nil {
			return err
		}
		for _, r := range rows {
			n.Hosts = append(n.Hosts, r.domain.Host)
		}
		what = plural(len(n.Hosts), "domain")
	}
	if !c.Yes {
		if err := confirm(s, "This deletes "+what+", and destroys the keys of their certificates."); err != nil {
			return err
		}
	}
	j, err := client.CreateJob(ctx, n)
	if err != nil {
		return err
	}
	return c.made(ctx, client, s, j)
}

// filter sets the filter of n, and says what it is about; empty: there is none.
func (c *jobsDeleteCmd) filter(n *api.NewJob) string {
	f := api.JobFilter{Tenant: c.Tenant, Tag: c.Tag, Text: c.Text}
	var parts []string
	for _, p := range [][2]string{{"of the tenant ", c.Tenant}, {"with the tag ", c.Tag}, {"whose host has ", c.Text}} {
		if p[1] != "" {
			parts = append(parts, p[0]+p[1])
		}
	}
	if c.Paused {
		f.Paused, parts = &c.Paused, append(parts, "that are paused")
	}
	if parts == nil {
		return ""
	}
	n.Filter = &f
	return "all domains " + strings.Join(parts, ", ")
}

type jobsShowCmd struct {
	jobWatch

	ID string `arg:"" help:"As jobs list shows it."`
}

// Help is what --help adds.
func (jobsShowCmd) Help() string { return jobsExit }

// Run shows one job.
func (c *jobsShowCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Jobs.client()
	if err != nil {
		return err
	}
	j, err := client.Job(ctx, c.ID)
	if err != nil {
		return err
	}
	if c.Watch {
		return c.await(ctx, client, s, j)
	}
	return c.print(ctx, client, s, j)
}

type jobsReportCmd struct {
	ID     string `arg:"" help:"As jobs list shows it."`
	Failed bool   `help:"Only the lines that failed."`
	JSON   bool   `name:"json" help:"Print JSON lines."`
}

// Run prints the report of a job.
func (c *jobsReportCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Jobs.client()
	if err != nil {
		return err
	}
	lines := client.JobReport(ctx, c.ID, c.Failed)
	if !c.JSON {
		return printLines(s.Out, lines)
	}
	e := json.NewEncoder(s.Out)
	for l, err := range lines {
		if err == nil {
			err = e.Encode(l)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// printLines prints a report for people, as it comes.
func printLines(w io.Writer, lines func(func(api.JobLine, error) bool)) error {
	for l, err := range lines {
		if err != nil {
			return err
		}
		text := fmt.Sprintf("line %d  %s  %s", l.Line, orDash(l.Host), l.Result)
		if l.Message != "" {
			text += ": " + l.Message
		}
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	return nil
}

type jobsCancelCmd struct {
	ID string `arg:"" help:"As jobs list shows it."`
}

// Run ends a job.
func (c *jobsCancelCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Jobs.client()
	if err != nil {
		return err
	}
	j, err := client.CancelJob(ctx, c.ID)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.Out, "it ends after the lines that are being done; %s are done\n", jobDone(j))
	return err
}
