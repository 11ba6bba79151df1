package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

type domainsImportCmd struct {
	File   string `arg:"" help:"CSV or JSON lines; - reads the standard input." type:"existingfile"`
	Update bool   `help:"Change domains that exist with other settings."`
	DryRun bool   `help:"Report what would be done, and do nothing."`
	Quiet  bool   `short:"q" help:"Report only the lines that need attention."`
	JSON   bool   `name:"json" help:"Report in JSON lines."`
}

// Help is what --help adds.
func (domainsImportCmd) Help() string {
	return `The columns of CSV are host, tenant, origin, redirect, paused and settings (JSON); the first line names
them, or they are in this order. JSON lines have the same names as fields. A list of hosts, one a line,
is CSV too. Where a line says nothing of settings they stay as they are; {} ends them.

Answers of Cloudflare's GET custom_hostnames, one after the other, are taken as they are: hostnames keep
their IDs, metadata, origins, minimum TLS versions and HTTP/3, and the report says what is not taken over.

Run it again whenever it was cut short: what is there already is left alone. shingle jobs create has the
fleet do it, without anybody waiting. The exit code is 0 when
every line of the file is how the domains are now, and 1 otherwise.`
}

// What became of a line.
const (
	lineCreated   = "created"
	lineUpdated   = "updated"
	lineUnchanged = "unchanged"
	lineSkipped   = "skipped"
	lineFailed    = "failed"
)

// lineReport is what is said of one line of a file.
type lineReport struct {
	Line    int    `json:"line"`
	Host    string `json:"host,omitempty"`
	Result  string `json:"result"`
	Message string `json:"message,omitempty"`

	err   error // of a failure that ends the import
	bytes int64 // of the file that were read when the line was
}

// importers is how many lines are on their way to the API at once.
const importers = 8

// Run imports the file.
func (c *domainsImportCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Domains.client()
	if err != nil {
		return err
	}
	f, size, err := openInput(c.File, s)
	if err != nil {
		return err
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	im := &domainImport{cmd: c, client: client, in: &counting{r: f}}
	counts, n := map[string]int{}, 0
	bar := newProgress(s.Err, "importing")
	for report := range im.start(ctx) {
		if report.err != nil {
			bar.clear()
			cancel()
			return cutShort(report.err, n, "line")
		}
		n++
		counts[report.Result]++
		if err := c.print(s.Out, bar, report); err != nil {
			return err
		}
		bar.at(n, float64(report.bytes)/float64(size))
	}
	bar.clear()
	if err := ctx.Err(); err != nil {
		return cutShort(err, n, "line")
	}
	return c.summarize(s.Err, counts)
}

// cutShort is how an import ends that did n of its things.
func cutShort(err error, n int, noun string) error {
	if n == 0 {
		return err
	}
	return fmt.Errorf("%w: %s done; run it again to go on", err, plural(n, noun))
}

// print reports one line, unless nobody wants to know.
func (c *domainsImportCmd) print(w io.Writer, bar *progress, r lineReport) error {
	if c.Quiet && r.Result != lineSkipped && r.Result != lineFailed {
		return nil
	}
	bar.clear()
	if c.JSON {
		return json.NewEncoder(w).Encode(r)
	}
	result := r.Result
	if c.DryRun && (result == lineCreated || result == lineUpdated) {
		result = "would be " + result
	}
	text := fmt.Sprintf("line %d  %s  %s", r.Line, orDash(r.Host), result)
	if r.Message != "" {
		text += ": " + r.Message
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

// summarize ends the report, and decides over the exit code.
func (c *domainsImportCmd) summarize(w io.Writer, counts map[string]int) error {
	var parts []string
	for _, result := range []string{lineCreated, lineUpdated, lineUnchanged, lineSkipped, lineFailed} {
		if counts[result] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[result], result))
		}
	}
	if parts == nil {
		parts = []string{"no lines"}
	}
	how := ""
	if c.DryRun {
		how = "dry run, nothing was done: "
	}
	fmt.Fprintf(w, "%s%s\n", how, strings.Join(parts, ", "))
	if n := counts[lineSkipped] + counts[lineFailed]; n > 0 {
		return fmt.Errorf("%s of the file need attention", plural(n, "line"))
	}
	return nil
}

// domainImport sends a file's lines to the API, a few at once.
type domainImport struct {
	cmd    *domainsImportCmd
	client *api.Client
	in     *counting
}

// start reports the lines in their order. The channel is closed at the end, and
// after ctx has ended.
func (im *domainImport) start(ctx context.Context) <-chan lineReport {
	type job struct {
		row    row
		report lineReport
		done   chan lineReport
	}
	jobs, order, out := make(chan job), make(chan job, 4*importers), make(chan lineReport)
	var workers sync.WaitGroup
	for range importers {
		workers.Go(func() {
			for j := range jobs {
				j.done <- im.one(ctx, j.row, j.report)
			}
		})
	}
	go func() { // reads; ends with ctx, or the file
		defer close(order)
		defer workers.Wait()
		defer close(jobs)
		seen := map[string]int{}
		for r := range readDomains(im.in) {
			j := job{row: im.check(r, seen), report: lineReport{Line: r.line, Host: r.domain.Host, bytes: im.in.n}, done: make(chan lineReport, 1)}
			select {
			case order <- j:
				jobs <- j // a worker always comes, if only to find that ctx has ended
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() { // reports
		defer close(out)
		for j := range order {
			select {
			case out <- <-j.done:
			case <-ctx.Done(): // the reader sees it too
			}
		}
	}()
	return out
}

// check brings the domain into its normal form, and refuses the second line for
// a host: which one is meant?
func (im *domainImport) check(r row, seen map[string]int) row {
	if r.err == nil {
		r.err = r.domain.Validate()
	}
	if r.err == nil {
		if first, ok := seen[r.domain.Host]; ok {
			r.err = shingle.Errorf(shingle.CodeInvalid, "the host is on line %d already", first)
		} else {
			seen[r.domain.Host] = r.line
		}
	}
	return r
}

// one brings the API to what a line says.
func (im *domainImport) one(ctx context.Context, r row, report lineReport) lineReport {
	if r.line == 0 {
		report.err = fmt.Errorf("%s: %w", im.cmd.File, r.err)
		return report
	}
	if r.err != nil {
		report.Result, report.Message = lineFailed, messageWithField(r.err)
		return report
	}
	report.Host = r.domain.Host
	err := patiently(ctx, func() (err error) {
		report.Result, report.Message, err = im.bring(ctx, r)
		return err
	})
	if err == nil && r.note != "" {
		report.Message = strings.TrimPrefix(report.Message+"; "+r.note, "; ")
	}
	switch {
	case err == nil:
	case errors.Is(err, shingle.ErrInvalid), errors.Is(err, shingle.ErrConflict), errors.Is(err, shingle.ErrExists), errors.Is(err, shingle.ErrNotFound):
		report.Result, report.Message = lineFailed, messageWithField(err)
	default:
		report.err = err
	}
	return report
}

// patiently tries again what an outage or a limit kept from being done.
func patiently(ctx context.Context, try func() error) error {
	for pause := time.Second; ; pause *= 2 {
		err := try()
		if pause > 8*time.Second || !errors.Is(err, shingle.ErrUnavailable) && !errors.Is(err, shingle.ErrLimited) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// bring creates the domain, or compares and changes the one that is there.
func (im *domainImport) bring(ctx context.Context, r row) (result, message string, err error) {
	d := r.domain
	if !im.cmd.DryRun {
		_, err = im.client.CreateDomain(ctx, api.NewDomain{Host: d.Host, Tenant: d.Tenant, Origin: d.Origin, Redirect: d.Redirect, Paused: d.Paused, Settings: api.Settings(d.Settings)})
		if !errors.Is(err, shingle.ErrExists) {
			return lineCreated, "", err
		}
	}
	have, err := im.client.Domain(ctx, d.Host)
	switch {
	case im.cmd.DryRun && errors.Is(err, shingle.ErrNotFound):
		return lineCreated, "", nil
	case err != nil:
		return "", "", err
	}
	patch := api.DomainPatch{Tenant: &d.Tenant, Origin: &d.Origin, Redirect: &d.Redirect, Paused: &d.Paused}
	differs := differences(have, d)
	if r.settings && have.Settings != api.Settings(d.Settings) {
		differs = strings.TrimPrefix(differs+", settings", ", ")
		patch.Settings = settingsDiff(have.Settings, d.Settings)
	}
	switch {
	case differs == "":
		return lineUnchanged, "", nil
	case !im.cmd.Update:
		return lineSkipped, "exists with another " + differs + "; --update changes it", nil
	case im.cmd.DryRun:
		return lineUpdated, differs, nil
	}
	_, err = im.client.UpdateDomain(ctx, d.Host, patch)
	return lineUpdated, differs, err
}

// differences names the fields in which two domains differ.
func differences(have api.Domain, want shingle.Domain) string {
	var names []string
	for _, f := range []struct {
		name string
		same bool
	}{
		{"tenant", have.Tenant == want.Tenant}, {"origin", have.Origin == want.Origin},
		{"redirect", have.Redirect == want.Redirect}, {"paused", have.Paused == want.Paused},
	} {
		if !f.same {
			names = append(names, f.name)
		}
	}
	return strings.Join(names, ", ")
}

func messageWithField(err error) string {
	var list []string
	for _, e := range shingle.Faults(err) {
		if e.Field != "" {
			list = append(list, e.Field+": "+e.Message)
		}
	}
	if list == nil {
		return shingle.MessageOf(err)
	}
	return strings.Join(list, "; ")
}

// counting knows how much of a file was read.
type counting struct {
	r io.Reader
	n int64
}

// Read implements io.Reader.
func (c *counting) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// openInput opens a file, or the standard input for "-", whose size is -1.
func openInput(name string, s streams) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(s.In), -1, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, max(info.Size(), 1), nil
}
