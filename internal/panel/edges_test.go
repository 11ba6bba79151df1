package panel_test

import (
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// busyCrew has a member of each kind.
func busyCrew(now time.Time) []shingle.Member {
	return []shingle.Member{
		{ID: "e1", Role: "edge", Name: "well", Version: "1.0", Region: "eu-central-1", Address: "192.0.2.1:443", Every: time.Minute, Started: now.Add(-time.Hour), Reported: now,
			Table: &shingle.MemberTable{Domains: 12345, Synced: now}, Load: &shingle.MemberLoad{Connections: 17, MaxConnections: 1000, Requests: 4.25, Errors: 0.5}},
		{ID: "e2", Role: "edge", Name: "lost", Version: "1.0", Every: time.Minute, Started: now.Add(-time.Hour), Reported: now.Add(-10 * time.Minute)},
		{ID: "c1", Role: "serve", Name: "late", Version: "1.0", Every: time.Minute, Started: now.Add(-time.Hour), Reported: now, Leads: true, Degraded: []string{"the store does not answer"}},
	}
}

func TestEdges_ThoseThatNeedAttentionFirst(t *testing.T) {
	s := open(t)
	now := time.Now()
	s.crew.list = busyCrew(now)
	v := s.as(shingle.RoleRead, "")
	a := v.see("edges", "12345 domains", "17 of 1000 connections, 4.2 requests a second, 0.5 of them errors", "eu-central-1", "192.0.2.1:443", "Alive", "Silent", "Degraded",
		"edge and control, leads the fleet", "The store does not answer")
	if well := strings.Index(a.text, ">well "); well < strings.Index(a.text, ">lost ") || well < strings.Index(a.text, ">late ") {
		t.Error("what is well comes first")
	}
	acme := s.as(shingle.RoleTenant, "acme")
	acme.saysNot(acme.see(""), `href="/panel/edges"`)
	acme.want(404, acme.get("edges"))
	s.crew.list = nil
	v.see("edges", "No process has reported itself yet.")
}
