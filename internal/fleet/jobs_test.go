package fleet

import (
	"fmt"
	"testing"

	"github.com/shingle-proxy/shingle/internal/api"
)

// TestFleet_JobSurvivesItsProcess kills the process that does a job, twice, and has
// another go on: every line is done, and reported as this job's doing.
func TestFleet_JobSurvivesItsProcess(t *testing.T) {
	p := newPrograms(t, 1, 1) // nothing is validated
	control := p.startControl()
	const lines = 700
	n := api.NewJob{Kind: "create"}
	for i := range lines {
		n.Domains = append(n.Domains, api.NewDomain{Host: fmt.Sprintf("h%03d.example.com", i), Tenant: "acme", Paused: true})
	}
	j, err := p.client.CreateJob(t.Context(), n)
	check(t, err)
	behind := func(done int) {
		await(t, fmt.Sprint(done, " lines are done"), func() (err error) {
			if j, err = p.client.Job(t.Context(), j.ID); err == nil && j.Done < done {
				err = fmt.Errorf("%+v", j)
			}
			return err
		})
	}
	for _, done := range []int{100, 400} {
		behind(done)
		control.kill()
		if j.Done == lines {
			t.Fatal("it was too quick to be killed")
		}
		control = p.start(control.data, "control")
		p.talkTo(control)
	}
	behind(lines)
	await(t, "its end", func() error {
		if j, err = p.client.Job(t.Context(), j.ID); err == nil && j.State != "done" {
			err = fmt.Errorf("%+v", j)
		}
		return err
	})
	if j.Changed != lines || j.Unchanged+j.Failed > 0 {
		t.Errorf("%+v", j)
	}
	seen := 0
	for l, err := range p.client.JobReport(t.Context(), j.ID, false) {
		check(t, err)
		if seen++; l.Line != seen || l.Result != "created" {
			t.Errorf("line %d: %+v", seen, l)
		}
	}
	domains := 0
	for d, err := range p.client.Domains(t.Context()) {
		check(t, err)
		if domains++; d.Version != 1 || d.Tenant != "acme" {
			t.Errorf("%+v", d)
		}
	}
	if seen != lines || domains != lines {
		t.Errorf("%d lines in the report, %d domains", seen, domains)
	}
}
