package panel_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

// sendsFile sends a form with a file, as browsers do.
func (v *visitor) sendsFile(path, file string, fields ...string) answer {
	v.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for i := 0; i+1 < len(fields); i += 2 {
		check(v.t, w.WriteField(fields[i], fields[i+1]))
	}
	f, err := w.CreateFormFile("file", "hosts.txt")
	check(v.t, err)
	_, err = f.Write([]byte(file))
	check(v.t, err)
	check(v.t, w.Close())
	return v.do("POST", path, body.String(), "Content-Type", w.FormDataContentType())
}

// madeJob is the path of the job that a form has made.
func (v *visitor) madeJob(a answer) string {
	v.t.Helper()
	to, _, _ := strings.Cut(v.want(303, a).Header.Get("Location"), "?")
	return strings.TrimPrefix(to, "/panel/")
}

// awaitJob waits until a job has ended, and returns its page.
func (v *visitor) awaitJob(path string) answer {
	v.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		a := v.see(path)
		if strings.Contains(a.text, `data-settled="true"`) {
			return a
		}
		if time.Now().After(end) {
			v.t.Fatalf("the job does not end: %s", a.content())
		}
	}
}

func TestJobs_StartedDoneReported(t *testing.T) {
	s := open(t)
	s.domain("there.example.com", "acme")
	v := s.as(shingle.RoleOperator, "")
	v.see("jobs", "No jobs", "Start a job")
	v.see("jobs/new", "Domains, one a line")
	lines := "a.example.com\r\n\r\nhttps://b.example.com/some/page\n{\"host\":\"c.example.com\",\"tenant\":\"rival\"}\nthere.example.com\nlocalhost\n=cmd.example.com\n"
	path := v.madeJob(v.post("jobs", "kind", "create", "lines", lines, "tenant", "acme"))
	v.see(path, "It waits for its turn.", "Create 6 domains", "0 of 6", "Cancel the job", `data-every="2"`)
	v.see("jobs", "Create 6 domains", "Waiting", "Jobs are being done.")

	s.run(s.jobs.Run)
	a := v.awaitJob(path)
	v.says(a, "It is done, but 2 lines failed.", "What failed", "localhost", "single label", "6 of 6", `<dt>Created</dt><dd>3</dd>`, `<dt>Nothing to do</dt><dd>1</dd>`)
	v.saysNot(a, "Cancel the job", "there.example.com")
	v.says(v.want(200, v.do("GET", path+"/live", "", "Shingle-Part", "1")), "2 lines failed")
	v.see(path+"?lines", "there.example.com", "Was there", `href="/panel/domains/a.example.com"`)
	v.see("jobs", "Done, with failures", "No job is being done.")
	for host, tenant := range map[string]string{"a.example.com": "acme", "b.example.com": "acme", "c.example.com": "rival"} {
		if d, err := s.store.Domain(t.Context(), host); err != nil || d.Tenant != tenant || d.UpdatedBy != "operator" {
			t.Errorf("%s: %+v, %v", host, d, err)
		}
	}

	// The report, for a spreadsheet and for a program.
	a = v.want(200, v.get(path+"/report?as=csv"))
	rows, err := csv.NewReader(strings.NewReader(a.text)).ReadAll()
	if err != nil || len(rows) != 7 || fmt.Sprint(rows[0]) != "[line host result code message]" || fmt.Sprint(rows[1]) != "[1 a.example.com created  ]" || rows[6][1] != "'=cmd.example.com" {
		t.Errorf("%v, %v", rows, err)
	}
	if is := a.Header.Get("Content-Disposition"); !strings.HasPrefix(is, `attachment; filename="report-`) || !strings.HasSuffix(is, `.csv"`) {
		t.Error(is)
	}
	a = v.want(200, v.get(path+"/report?failed"))
	d := json.NewDecoder(strings.NewReader(a.text))
	for range 2 {
		var line api.JobLine
		if err := d.Decode(&line); err != nil || line.Result != "failed" || line.Message == "" {
			t.Errorf("%+v, %v", line, err)
		}
	}
	if d.More() {
		t.Errorf("too much failed: %s", a.text)
	}
	v.want(404, v.get("jobs/none/report"))
	v.want(404, v.get("jobs/0abcdefghijkl"))
}

func TestJobs_DeletionIsConfirmed(t *testing.T) {
	s := open(t)
	s.run(s.jobs.Run)
	var lines strings.Builder
	for n := range 12 {
		host := fmt.Sprintf("h%02d.example.com", n)
		s.domain(host, "")
		fmt.Fprintln(&lines, host)
	}
	v := s.as(shingle.RoleOperator, "")
	v.see("jobs/new?kind=delete", `value="delete" checked`)
	a := v.want(200, v.sendsFile("jobs", lines.String(), "kind", "delete", "lines", ""))
	v.says(a, "Delete 12 domains?", "h09.example.com", "and 2 more", "cannot be undone", "Enter 12 to confirm")
	if _, err := s.store.Domain(t.Context(), "h00.example.com"); err != nil {
		t.Error("deleted before it was confirmed")
	}
	v.refuses("jobs", "confirm", "Enter 12, which is how many", "kind", "delete", "lines", lines.String(), "confirm", "21")
	a = v.awaitJob(v.madeJob(v.post("jobs", "kind", "delete", "lines", lines.String(), "confirm", "12", "revoke", "on")))
	v.says(a, "It is done.", `<dt>Deleted</dt><dd>12</dd>`, "revoked, too")
	if _, err := s.store.Domain(t.Context(), "h00.example.com"); err == nil {
		t.Error("not deleted")
	}
}

func TestJobs_FaultsAreBesideTheirFields(t *testing.T) {
	s := open(t)
	v := s.as(shingle.RoleOperator, "")
	v.refuses("jobs", "lines", "Enter a domain a line", "kind", "create", "lines", " \n")
	v.refuses("jobs", "lines", "Line 3: This is not JSON: it ends in the middle.", "kind", "create", "lines", "a.example.com\n\n{\"host\":")
	v.refuses("jobs", "lines", "Say what to do with the lines", "kind", "", "lines", "a.example.com")
	a := v.want(422, v.sendsFile("jobs", "{\"host\":1}", "kind", "create"))
	v.says(a, "Line 1: Host: expected string")
	a = v.want(422, v.sendsFile("jobs", "a.example.com", "kind", "create", "lines", "b.example.com"))
	v.says(a, "Either lines or a file", "b.example.com")
	v.says(v.want(422, v.sendsFile("jobs", strings.Repeat("a", 6<<20), "kind", "create")), "larger than it may be")
	for n := range 20 {
		v.want(303, v.post("jobs", "kind", "create", "lines", fmt.Sprintf("h%d.example.com", n)))
	}
	v.refuses("jobs", "lines", "20 jobs wait or run already", "kind", "create", "lines", "a.example.com")
	v.foreign("jobs", "kind", "create", "lines", "a.example.com")
}

func TestJobs_CanceledAndWhoseTheyAre(t *testing.T) {
	s := open(t)
	v, acme, read := s.as(shingle.RoleOperator, ""), s.as(shingle.RoleTenant, "acme"), s.as(shingle.RoleRead, "")
	ours := v.madeJob(v.post("jobs", "kind", "create", "lines", "a.example.com"))
	theirs := acme.madeJob(acme.post("jobs", "kind", "create", "lines", "b.example.com"))
	a := acme.see("jobs", theirs)
	acme.saysNot(a, ours, "By filter")
	acme.want(404, acme.get(ours))
	acme.want(404, acme.get(ours+"/report"))
	acme.want(404, acme.post(ours+"/cancel"))
	acme.saysNot(acme.see("jobs/new"), `name="tenant"`)

	read.saysNot(read.see("jobs", ours, theirs), "Start a job")
	read.saysNot(read.see(ours), "Cancel the job")
	read.want(403, read.post(ours+"/cancel"))
	read.want(422, read.post("jobs", "kind", "create", "lines", "c.example.com")) // 403 of the API's, shown in the form

	v.foreign(ours + "/cancel")
	v.says(v.sends(ours+"/cancel"), "The job ends after the lines that are being done.", "Being canceled")
	s.run(s.jobs.Run)
	v.says(v.awaitJob(ours), "It was canceled.")
	v.sends(ours + "/cancel") // once more: it has ended, as was wanted
	acme.says(acme.awaitJob(theirs), "It is done.")
	if d, err := s.store.Domain(t.Context(), "b.example.com"); err != nil || d.Tenant != "acme" {
		t.Errorf("%+v, %v", d, err)
	}
}
