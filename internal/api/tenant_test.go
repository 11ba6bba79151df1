package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

// TestTenant_CannotEndAPause has a customer whom the operator has paused try every way
// to be served again.
func TestTenant_CannotEndAPause(t *testing.T) {
	store, l := &memory.Store{}, &lens{owners: map[string]shingle.Reason{"acme": shingle.ReasonOtherTenant, "mule": shingle.ReasonPointsHere}}
	s := open(t, store, func(c *api.Config) { c.Checker = l })
	acme, mule := s.as(shingle.RoleTenant, "acme"), s.as(shingle.RoleTenant, "mule")
	for _, host := range []string{"shop.acme.com", "*.acme.net"} {
		s.want(201, s.do("POST", "/v1/domains", fmt.Sprintf(`{"host":%q,"tenant":"acme","paused":true}`, host)))
		acme.want(403, acme.do("DELETE", "/v1/domains/"+host, ""))
	}
	job := shingle.Job{Kind: shingle.JobDelete, By: "acme", Tenant: "acme", CreatedAt: time.Now().Add(time.Hour)}
	line, err := api.NewBulk(api.Config{Store: store}).Do(t.Context(), &job, json.RawMessage(`"shop.acme.com"`), false)
	if check(t, err); line.Code != shingle.CodeForbidden {
		t.Errorf("by a job: %+v", line)
	}
	acme.want(403, acme.do("POST", "/v1/domains", `{"host":"shop.acme.net"}`))
	acme.want(403, acme.do("POST", "/v1/domains/blog.acme.net/claim", `{"tenant":"acme"}`))
	mule.want(200, mule.do("POST", "/v1/domains/shop.acme.com/claim", `{"tenant":"mule"}`))
	if d, err := store.Domain(t.Context(), "shop.acme.com"); err != nil || d.Tenant != "mule" || !d.Paused {
		t.Errorf("claimed by another customer: %+v, %v", d, err)
	}
	s.want(204, s.do("DELETE", "/v1/domains/shop.acme.com", ""))
	acme.want(201, acme.do("POST", "/v1/domains", `{"host":"acme.net"}`)) // which the wildcard does not cover
	acme.want(204, acme.do("DELETE", "/v1/domains/acme.net", ""))
}

// movingStore gives a domain away after somebody has read it.
type movingStore struct {
	shingle.DomainStore
	to string
}

func (m *movingStore) Domain(ctx context.Context, host string) (shingle.Domain, error) {
	d, err := m.DomainStore.Domain(ctx, host)
	if err == nil && m.to != "" {
		moved := d
		if moved.Tenant, m.to = m.to, ""; moved.Tenant != "" {
			_, err = m.UpdateDomain(ctx, moved, time.Now())
		}
	}
	return d, err
}

func TestTenant_CannotDeleteWhatIsGivenAwayMeanwhile(t *testing.T) {
	store := &movingStore{DomainStore: &memory.Store{}}
	s := open(t, store)
	acme := s.as(shingle.RoleTenant, "acme")
	acme.want(201, acme.do("POST", "/v1/domains", `{"host":"blog.customer.com"}`))
	store.to = "rival"
	acme.want(404, acme.do("DELETE", "/v1/domains/blog.customer.com", ""))
	if d, err := store.Domain(t.Context(), "blog.customer.com"); err != nil || d.Tenant != "rival" {
		t.Errorf("%+v, %v", d, err)
	}
	store.to = "acme" // changed, and still its own
	s.want(200, s.do("PATCH", "/v1/domains/blog.customer.com", `{"tenant":"acme"}`))
	acme.want(204, acme.do("DELETE", "/v1/domains/blog.customer.com", ""))
}

func TestTenant_LearnsNothingOfAnothersID(t *testing.T) {
	s := moved(t)
	var made struct{ Result struct{ ID string } }
	r := s.want(201, s.do("POST", "/client/v4/zones/"+zone+"/custom_hostnames", `{"hostname":"secret-launch.rival.com","ssl":{"method":"http"}}`))
	check(t, json.Unmarshal([]byte(r.text), &made))
	acme := s.as(shingle.RoleTenant, "acme")
	for _, op := range []string{"GET", "PATCH", "DELETE"} {
		answer := func(id string) string {
			r := acme.want(404, acme.do(op, "/client/v4/zones/"+zone+"/custom_hostnames/"+id, `{}`))
			return strings.ReplaceAll(r.text, id, "ID")
		}
		if others, none := answer(made.Result.ID), answer("0d89c70d-ad9f-4843-b99f-6cc0252067e9"); others != none {
			t.Errorf("%s:\n%s\n%s", op, others, none)
		}
	}
}

// slowLens is a [api.Checker] whose checks end when they are told to.
type slowLens struct {
	lens
	begun, end chan struct{}
}

func (l *slowLens) CheckDomain(ctx context.Context, host string) (shingle.CheckResult, error) {
	l.begun <- struct{}{}
	<-l.end
	return l.lens.CheckDomain(ctx, host)
}

// TestTenant_LeavesChecksToOthers has a customer ask for many at once.
func TestTenant_LeavesChecksToOthers(t *testing.T) {
	l := &slowLens{begun: make(chan struct{}), end: make(chan struct{})}
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Checker = l })
	acme := s.as(shingle.RoleTenant, "acme")
	acme.want(201, acme.do("POST", "/v1/domains", `{"host":"shop.acme.com"}`))
	const check = "/v1/domains/shop.acme.com/check"
	var waiting sync.WaitGroup
	for range 4 {
		waiting.Go(func() { acme.want(200, acme.do("POST", check, "")) })
		<-l.begun
	}
	acme.want(429, acme.do("POST", check, ""))
	acme.want(429, acme.do("POST", "/v1/domains/other.acme.com/claim", `{"tenant":"acme"}`))
	waiting.Go(func() { s.want(200, s.do("POST", check, "")) })
	<-l.begun
	close(l.end)
	waiting.Wait()
	waiting.Go(func() { <-l.begun })
	acme.want(200, acme.do("POST", check, ""))
	waiting.Wait()
}

// TestTenant_SeesNoStatusOfAnother: before the checks have heard of its new tenant, a
// domain has the status of its last.
func TestTenant_SeesNoStatusOfAnother(t *testing.T) {
	w := &watch{status: shingle.Status{Host: "sold.customer.com", Tenant: "rival", State: shingle.StateActive, Message: "rival's"}}
	s := open(t, &memory.Store{}, func(c *api.Config) { c.Statuses = w })
	acme := s.as(shingle.RoleTenant, "acme")
	acme.want(201, acme.do("POST", "/v1/domains", `{"host":"sold.customer.com"}`))
	for _, path := range []string{"/v1/domains/sold.customer.com", "/v1/domains?status=true", "/v1/domains?state=active"} {
		if r := acme.want(200, acme.do("GET", path, "")); strings.Contains(r.text, "rival") {
			t.Errorf("%s: %s", path, r.text)
		}
	}
	w.status.Tenant, w.status.Message = "acme", "acme's"
	w.status.History = []shingle.Step{
		{State: shingle.StateActive, Message: "rival's"}, {State: shingle.StateRemoved, Reason: shingle.ReasonRemoved, Message: "rival's"},
		{State: shingle.StatePending, Reason: shingle.ReasonNew, Message: "acme's 1"}, {State: shingle.StateIssuing, Message: "acme's 2"},
	}
	if r := acme.want(200, acme.do("GET", "/v1/domains/sold.customer.com", "")); strings.Contains(r.text, "rival") || strings.Count(r.text, "acme's") != 3 {
		t.Error(r.text)
	}
	if r := s.want(200, s.do("GET", "/v1/domains/sold.customer.com", "")); strings.Count(r.text, "rival's") != 2 {
		t.Errorf("the operator sees %s", r.text)
	}
}
