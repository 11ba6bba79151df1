package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// foreman is an [api.Jobs] that only keeps what it is given.
type foreman struct {
	jobs  []shingle.Job
	lines [][]json.RawMessage
}

func (f *foreman) CreateJob(_ context.Context, j shingle.Job, lines []json.RawMessage) (shingle.Job, error) {
	j.ID, j.State, j.Total = fmt.Sprint("job", len(f.jobs)), shingle.JobWaiting, len(lines)
	f.jobs, f.lines = append(f.jobs, j), append(f.lines, lines)
	return j, nil
}

func (f *foreman) Jobs(_ context.Context, tenant, _ string, _ int) (list []shingle.Job, next string, err error) {
	for _, j := range f.jobs {
		if tenant == "" || tenant == j.Tenant {
			list = append(list, j)
		}
	}
	return list, "", nil
}

func (f *foreman) Job(_ context.Context, id string) (shingle.Job, error) {
	for _, j := range f.jobs {
		if j.ID == id {
			return j, nil
		}
	}
	return shingle.Job{}, shingle.ErrNotFound
}

func (f *foreman) Report(_ context.Context, _ string, from, _ int) ([]shingle.JobLine, int, error) {
	if from == 0 {
		return []shingle.JobLine{{Line: 1, Host: "a", Result: shingle.JobLineCreated}}, 10, nil
	}
	return []shingle.JobLine{{Line: 501, Host: "b", Result: shingle.JobLineFailed, Code: shingle.CodeInvalid, Message: "no"}}, -1, nil
}

func (f *foreman) CancelJob(ctx context.Context, id string) (shingle.Job, error) {
	j, err := f.Job(ctx, id)
	j.Cancel = true
	return j, err
}

func TestJobs_WhatIsNoJobIsRefused(t *testing.T) {
	f := start(t, func(c *api.Config) { c.Jobs = &foreman{} })
	for body, want := range map[string]string{
		`{"kind":"create"}`:                           "name the domains to create",
		`{"kind":"create","hosts":["a.example.com"]}`: "are for kind delete",
		`{"kind":"delete","domains":[{"host":"a.example.com"}],"hosts":["a.example.com"]}`: "are for kind create",
		`{"kind":"delete"}`:                                       "either as hosts or by a filter",
		`{"kind":"delete","filter":{}}`:                           "would delete every domain",
		`{"kind":"delete","hosts":["a"],"filter":{"tag":"x"}}`:    "either as hosts or by a filter",
		`{"kind":"create","domains":[{"host":"a","colour":"x"}]}`: "colour",
	} {
		if resp, text := f.do(t, "POST", "/v1/jobs", body); resp.StatusCode != 422 || !strings.Contains(text, want) {
			t.Errorf("%s: %s %s", body, resp.Status, text)
		}
	}
	line := `{"host":"` + strings.Repeat("a", 1<<20) + `"},`
	if resp, text := f.do(t, "POST", "/v1/jobs", `{"kind":"create","domains":[`+strings.Repeat(line, 5)); resp.StatusCode != 413 || !strings.Contains(text, "4194304") {
		t.Errorf("%s %.200s", resp.Status, text)
	}
}

func TestJobs_CreatedListedReportedCanceled(t *testing.T) {
	boss := &foreman{}
	f := start(t, func(c *api.Config) { c.Jobs = boss })
	var many []api.NewDomain
	for i := range 2000 { // more than other requests may send
		many = append(many, api.NewDomain{Host: fmt.Sprintf("customer-%d.example.com", i), Tenant: "acme"})
	}
	j, err := f.client.CreateJob(t.Context(), api.NewJob{Kind: "create", Domains: many})
	if err != nil || j.Total != 2000 || j.By != "test" || string(boss.lines[0][1999]) != `{"host":"customer-1999.example.com","tenant":"acme"}` {
		t.Fatalf("%+v, %v", j, err)
	}
	if id := boss.jobs[0].Token; !shingle.IsTokenID(id) {
		t.Errorf("the job's token is %q", id)
	}
	yes := true
	if j, err = f.client.CreateJob(t.Context(), api.NewJob{Kind: "delete", Filter: &api.JobFilter{Text: "OLD", Paused: &yes}}); err != nil || j.Filter == nil || boss.jobs[1].Filter.Text != "old" {
		t.Fatalf("%+v, %v", j, err)
	}
	list, err := all(f.client.Jobs(t.Context()))
	if err != nil || len(list) != 2 {
		t.Errorf("%+v, %v", list, err)
	}
	lines, err := all(f.client.JobReport(t.Context(), j.ID, false))
	if err != nil || len(lines) != 2 || lines[1].Line != 501 || lines[1].Code != "invalid" {
		t.Errorf("%+v, %v", lines, err)
	}
	if lines, err = all(f.client.JobReport(t.Context(), j.ID, true)); err != nil || len(lines) != 1 || lines[0].Result != "failed" {
		t.Errorf("%+v, %v", lines, err)
	}
	if j, err = f.client.CancelJob(t.Context(), j.ID); err != nil || !j.Canceling {
		t.Errorf("%+v, %v", j, err)
	}
	if _, err = f.client.Job(t.Context(), "none"); !errors.Is(err, shingle.ErrNotFound) {
		t.Error(err)
	}
}

func all[T any](seq func(func(T, error) bool)) (list []T, err error) {
	for x, err := range seq {
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	return list, nil
}

func TestJobs_TenantSeesItsOwnAlone(t *testing.T) {
	boss := &foreman{}
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Jobs = boss })
	s.want(202, s.do("POST", "/v1/jobs", `{"kind":"delete","hosts":["a.example.com"]}`))
	acme := s.as(shingle.RoleTenant, "acme")
	acme.want(202, acme.do("POST", "/v1/jobs", `{"kind":"delete","filter":{"text":"old"}}`))
	if j := boss.jobs[1]; j.Tenant != "acme" || j.By != "tenantacme" {
		t.Errorf("%+v", j)
	}
	acme.want(404, acme.do("POST", "/v1/jobs", `{"kind":"delete","filter":{"tenant":"rival"}}`))
	if r := acme.do("GET", "/v1/jobs", ""); strings.Contains(r.text, "job0") || !strings.Contains(r.text, "job1") {
		t.Error(r.text)
	}
	for _, path := range []string{"GET /v1/jobs/job0", "GET /v1/jobs/job0/report", "POST /v1/jobs/job0/cancel"} {
		method, path, _ := strings.Cut(path, " ")
		acme.want(404, acme.do(method, path, ""))
	}
	acme.want(200, acme.do("GET", "/v1/jobs/job1", ""))
}

// TestBulk_LinesHaveTheRulesOfTheAPI has lines done that one may and others may not be.
func TestBulk_LinesHaveTheRulesOfTheAPI(t *testing.T) {
	store := &memory.Store{}
	now := time.Now().UTC().Truncate(time.Microsecond)
	clock := now
	b := api.NewBulk(api.Config{Store: store, Now: func() time.Time { return clock }})
	add := func(host, tenant string, at time.Time) {
		_, err := store.CreateDomain(t.Context(), shingle.Domain{Host: host, Tenant: tenant}, at)
		check(t, err)
	}
	add("old.example.com", "acme", now.Add(-time.Hour))
	add("rival.example.com", "rival", now.Add(-time.Hour))
	add("late.example.com", "acme", now.Add(time.Hour))
	create := shingle.Job{Kind: shingle.JobCreate, By: "ci", Tenant: "acme", CreatedAt: now, StartedAt: now}
	remove := create
	remove.Kind = shingle.JobDelete
	for _, x := range []struct {
		job   shingle.Job
		line  string
		doubt bool
		want  string
	}{
		{create, `{"host":"new.example.com"}`, false, "created"},
		{create, `{"host":"new.example.com"}`, false, "exists"},
		{create, `{"host":"new.example.com"}`, true, "created"}, // by this job, it must be
		{create, `{"host":"old.example.com"}`, true, "exists"},
		{create, `{"host":"rival.example.com"}`, true, "failed exists"},
		{create, `{"host":"x.example.com","tenant":"rival"}`, false, "failed forbidden"},
		{create, `{"host":"x.example.com","origin":"https://other.example.com"}`, false, "failed forbidden"},
		{create, `{"host":"localhost"}`, false, "failed invalid"},
		{remove, `"rival.example.com"`, false, "not_found"},
		{remove, `"late.example.com"`, false, "newer"},
		{remove, `"old.example.com"`, false, "deleted"},
		{remove, `"old.example.com"`, false, "not_found"},
		{remove, `"old.example.com"`, true, "deleted"},
		{remove, `"no host"`, false, "failed invalid"},
	} {
		got, err := b.Do(t.Context(), &x.job, json.RawMessage(x.line), x.doubt)
		if is := strings.TrimSpace(string(got.Result) + " " + string(got.Code)); err != nil || is != x.want {
			t.Errorf("%s %s, doubt %t: %+v, %v; want %s", x.job.Kind, x.line, x.doubt, got, err, x.want)
		}
	}
	if d, err := store.Domain(t.Context(), "new.example.com"); err != nil || d.Tenant != "acme" || d.UpdatedBy != "ci" {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := api.NewBulk(api.Config{Store: brokenStore{}}).Do(t.Context(), &create, json.RawMessage(`{"host":"a.example.com"}`), false); err != nil {
		t.Errorf("a fault of ours is the line's, or it is repeated for ever: %v", err)
	}
}

func TestBulk_FindsWhatAFilterIsAbout(t *testing.T) {
	store := &memory.Store{}
	now := time.Now().UTC().Truncate(time.Microsecond)
	b := api.NewBulk(api.Config{Store: store})
	for i := range 30 {
		tenant := []string{"acme", "rival", ""}[i%3]
		_, err := store.CreateDomain(t.Context(), shingle.Domain{Host: fmt.Sprintf("h%02d.example.com", i), Tenant: tenant, Paused: i%2 == 0}, now.Add(time.Duration(i-20)*time.Second))
		check(t, err)
	}
	yes := true
	j := shingle.Job{CreatedAt: now, Filter: &shingle.JobFilter{Tenant: "acme", Paused: &yes}}
	var found []string
	for after := ""; ; {
		hosts, next, err := b.Find(t.Context(), &j, after, 2)
		check(t, err)
		found = append(found, hosts...)
		if after = next; after == "" {
			break
		}
	}
	if fmt.Sprint(found) != "[h00.example.com h06.example.com h12.example.com h18.example.com]" {
		t.Error(found)
	}
	j.Tenant, j.Filter = "rival", &shingle.JobFilter{Text: "h0"}
	if hosts, _, err := b.Find(t.Context(), &j, "", 50); err != nil || fmt.Sprint(hosts) != "[h01.example.com h04.example.com h07.example.com]" {
		t.Error(hosts, err)
	}
}
