package api_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

// crew is an [api.Edges] with a fixed content.
type crew struct{ list []shingle.Member }

func (c *crew) Members(_ context.Context, after string, limit int) ([]shingle.Member, string, error) {
	i := 0
	for i < len(c.list) && c.list[i].ID <= after {
		i++
	}
	if list := c.list[i:]; len(list) > limit {
		return list[:limit], list[limit-1].ID, nil
	}
	return c.list[i:], "", nil
}

func (c *crew) Member(_ context.Context, id string) (shingle.Member, error) {
	if i := slices.IndexFunc(c.list, func(m shingle.Member) bool { return m.ID == id }); i >= 0 {
		return c.list[i], nil
	}
	return shingle.Member{}, shingle.ErrNotFound
}

func fleetOf(now time.Time) *crew {
	return &crew{list: []shingle.Member{
		{ID: "a", Role: "control", Version: "test", Every: time.Minute, Reported: now, MasterKeys: []string{"file-1", "file-2"}},
		{
			ID: "b", Role: "edge", Version: "old", Every: time.Minute, Reported: now.Add(-30 * time.Second), Address: "10.0.0.2:443", MasterKeys: []string{"file-1"}, Degraded: []string{"the domain table is 9m old"},
			Table: &shingle.MemberTable{Domains: 7, Synced: now.Add(-30*time.Second - 9*time.Minute)}, Load: &shingle.MemberLoad{Connections: 3, MaxConnections: 10, Requests: 2.5, Errors: 0.5},
		},
		{ID: "c", Role: "edge", Version: "test", Every: time.Minute, Reported: now.Add(-time.Hour), Table: &shingle.MemberTable{}, MasterKeys: []string{"file-2"}},
	}}
}

func TestEdges_ListSaysWhatToLookAt(t *testing.T) {
	now := time.Now()
	f := start(t, func(c *api.Config) {
		c.Edges, c.Keys, c.Now = fleetOf(now), &safe{}, func() time.Time { return now }
	})
	var got []string
	for e, err := range f.client.Edges(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.ID+" "+e.State+": "+strings.Join(e.Attention, "; "))
	}
	want := []string{
		"a alive: ",
		"b degraded: the domain table is 9m old; it runs version old, and the process that answers test; it cannot use the master key file-2, under which new data keys are wrapped",
		"c silent: it has not reported for 1h0m0s: it was killed, its machine is gone, or it cannot reach the store",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	e, err := f.client.Edge(t.Context(), "b")
	if err != nil || e.Table == nil || e.Table.Domains != 7 || *e.Table.AgeSeconds != 540 || e.Load.RequestsPerSecond != 2.5 || e.Address != "10.0.0.2:443" {
		t.Errorf("%+v, %v", e, err)
	}
	if c, err := f.client.Edge(t.Context(), "c"); err != nil || c.Table.AgeSeconds != nil || c.Load != nil {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := f.client.Edge(t.Context(), "d"); !errors.Is(err, shingle.ErrNotFound) {
		t.Error(err)
	}
	_, body := f.do(t, "GET", "/v1/edges?limit=1", "")
	if !strings.Contains(body, `"next":"a"`) {
		t.Error(body)
	}
	if resp, _ := f.do(t, "GET", "/v1/edges?after=../x", ""); resp.StatusCode != 422 {
		t.Error(resp.Status)
	}
}

func TestRewrap_WaitsForEdgesWithoutTheKey(t *testing.T) {
	now := time.Now()
	fleet := fleetOf(now)
	f := start(t, func(c *api.Config) {
		c.Edges, c.Keys, c.Now = fleet, &safe{}, func() time.Time { return now }
	})
	_, err := f.client.Rewrap(t.Context(), api.Rewrap{})
	if !errors.Is(err, shingle.ErrForbidden) || !strings.Contains(err.Error(), "file-2 is not everywhere yet: b (edge, 10.0.0.2:443) cannot use it") {
		t.Errorf("got %v", err)
	}
	for _, r := range []api.Rewrap{{DryRun: true}, {After: "more"}, {Force: true}} {
		if _, err := f.client.Rewrap(t.Context(), r); err != nil {
			t.Errorf("%+v: %v", r, err)
		}
	}
	fleet.list[1].MasterKeys = []string{"file-2"} // the silent one has it not, and is not waited for
	fleet.list[2].MasterKeys = nil
	if _, err := f.client.Rewrap(t.Context(), api.Rewrap{}); err != nil {
		t.Error(err)
	}
	fleet.list[1].MasterKeys, fleet.list[1].Self = nil, true // who answers knows better than its last report
	if _, err := f.client.Rewrap(t.Context(), api.Rewrap{}); err != nil {
		t.Error(err)
	}
}
