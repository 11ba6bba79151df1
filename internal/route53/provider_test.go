package route53

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/libdns/libdns"
)

// open returns a Provider at moto, and the ID of a new public zone there. A private
// one of the same name is there too.
func open(t *testing.T, zone string, named bool) (*Provider, string) {
	t.Helper()
	url := os.Getenv("SHINGLE_TEST_MOTO")
	if url == "" {
		t.Skip("SHINGLE_TEST_MOTO is not set: run `make test`, or `go run ./scripts/servers go test ./internal/...`")
	}
	cfg := Config{Endpoint: url, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""), Poll: time.Millisecond}
	p, err := Open(t.Context(), cfg)
	check(t, err)
	_, err = p.client.CreateHostedZone(t.Context(), &route53.CreateHostedZoneInput{
		Name: aws.String(zone), CallerReference: aws.String(t.Name() + "private" + time.Now().String()),
		VPC: &types.VPC{VPCId: aws.String("vpc-1"), VPCRegion: types.VPCRegionUsEast1}, HostedZoneConfig: &types.HostedZoneConfig{PrivateZone: true},
	})
	check(t, err)
	made, err := p.client.CreateHostedZone(t.Context(), &route53.CreateHostedZoneInput{
		Name: aws.String(zone), CallerReference: aws.String(t.Name() + time.Now().String()),
	})
	check(t, err)
	id := aws.ToString(made.HostedZone.Id)
	if named {
		p.cfg.ZoneID = id
	}
	return p, id
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func txt(value string) []libdns.Record {
	return []libdns.Record{libdns.TXT{Name: "label", TTL: 10 * time.Second, Text: value}}
}

// values returns what the zone has at a name.
func values(t *testing.T, p *Provider, id, name string) []string {
	t.Helper()
	set, err := p.read(t.Context(), id, name)
	check(t, err)
	list := valuesOf(set)
	slices.Sort(list)
	return list
}

func TestProvider_ValuesAreASet(t *testing.T) {
	for _, named := range []bool{true, false} {
		// The records are in a part of the hosted zone.
		zone := fmt.Sprintf("z%d.example.", time.Now().UnixNano())
		p, id := open(t, zone, named)
		part, name := "acme."+zone, "label.acme."+zone
		for _, step := range []struct {
			add, remove string
			want        []string
		}{
			{add: "one", want: []string{`"one"`}},
			{add: "two", want: []string{`"one"`, `"two"`}},
			{add: "one", want: []string{`"one"`, `"two"`}},
			{remove: "three", want: []string{`"one"`, `"two"`}},
			{remove: "one", want: []string{`"two"`}},
			{remove: "one", want: []string{`"two"`}},
			{remove: "two"},
			{remove: "two"},
		} {
			var err error
			if step.add != "" {
				_, err = p.AppendRecords(t.Context(), part, txt(step.add))
			} else {
				_, err = p.DeleteRecords(t.Context(), part, txt(step.remove))
			}
			check(t, err)
			if got := values(t, p, id, name); !slices.Equal(got, step.want) {
				t.Fatalf("after adding %q, removing %q: %q, want %q", step.add, step.remove, got, step.want)
			}
		}
	}
}

// TestProvider_SideBySide has several providers, as of several processes, add and
// remove values of one name at once.
func TestProvider_SideBySide(t *testing.T) {
	const zone = "acme.example.com."
	first, f := openFake(t)
	f.together = &sync.WaitGroup{}
	f.together.Add(4)
	var all sync.WaitGroup
	for i := range 4 {
		p, err := Open(t.Context(), first.cfg)
		check(t, err)
		all.Go(func() {
			for _, value := range []string{fmt.Sprintf("stays-%d", i), fmt.Sprintf("goes-%d", i)} {
				if _, err := p.AppendRecords(t.Context(), zone, txt(value)); err != nil {
					t.Error(err)
				}
			}
			if _, err := p.DeleteRecords(t.Context(), zone, txt(fmt.Sprintf("goes-%d", i))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got, want := values(t, first, "Z1", "label."+zone), []string{`"stays-0"`, `"stays-1"`, `"stays-2"`, `"stays-3"`}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if f.refused == 0 {
		t.Error("no change met another")
	}
}

// TestProvider_SetChangedMeanwhileIsNotReplaced submits a change that was made of
// what another has changed since.
func TestProvider_SetChangedMeanwhileIsNotReplaced(t *testing.T) {
	const zone, name = "acme.example.com.", "label.acme.example.com."
	p, _ := openFake(t)
	_, err := p.AppendRecords(t.Context(), zone, txt("one"))
	check(t, err)
	old, err := p.read(t.Context(), "Z1", name)
	check(t, err)
	_, err = p.AppendRecords(t.Context(), zone, txt("two"))
	check(t, err)
	for _, stale := range []*types.ResourceRecordSet{old, nil} {
		if _, err := p.submit(t.Context(), "Z1", replace(stale, name, time.Minute, []string{`"three"`}, false)); err == nil {
			t.Error("the change was carried out")
		}
	}
	if got := values(t, p, "Z1", name); !slices.Equal(got, []string{`"one"`, `"two"`}) {
		t.Errorf("now there is %q", got)
	}
}

func TestProvider_WaitsForTheNameServers(t *testing.T) {
	p, f := openFake(t)
	f.pending = 3
	_, err := p.AppendRecords(t.Context(), "acme.example.com.", txt("one"))
	if check(t, err); f.pending != 0 {
		t.Errorf("did not wait for %d looks", f.pending)
	}
	f.pending = 1 << 30
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := p.AppendRecords(ctx, "acme.example.com.", txt("two")); err == nil {
		t.Error("no error, though the name servers do not have it")
	}
}

// TestProvider_WaitsForAChangeWhoseReplyIsLost has the SDK call again, and be told that the set
// is no longer as it was.
func TestProvider_WaitsForAChangeWhoseReplyIsLost(t *testing.T) {
	p, f := openFake(t)
	f.lose, f.pending = true, 3
	_, err := p.AppendRecords(t.Context(), "acme.example.com.", txt("one"))
	if check(t, err); f.lose || f.refused == 0 || f.pending != 0 {
		t.Errorf("lost: %v, refused %d times; did not wait for %d looks", !f.lose, f.refused, f.pending)
	}
	f.lose = true
	_, err = p.DeleteRecords(t.Context(), "acme.example.com.", txt("one"))
	if check(t, err); f.lose || len(f.sets) > 0 {
		t.Errorf("lost: %v; there is %v", !f.lose, f.sets)
	}
}

func TestProvider_NoSuchZone(t *testing.T) {
	p, _ := open(t, fmt.Sprintf("z%d.example.", time.Now().UnixNano()), false)
	if _, err := p.AppendRecords(t.Context(), "elsewhere.test.", txt("one")); err == nil {
		t.Error("published nowhere")
	}
}

func TestReplace(t *testing.T) {
	old := &types.ResourceRecordSet{Name: aws.String("a."), Type: types.RRTypeTxt, TTL: aws.Int64(7), ResourceRecords: []types.ResourceRecord{{Value: aws.String(`"x"`)}}}
	for name, x := range map[string]struct {
		old    *types.ResourceRecordSet
		values []string
		want   []types.ChangeAction
	}{
		"nothing to do": {old, []string{`"x"`}, nil},
		"none":          {nil, nil, nil},
		"first":         {nil, []string{`"x"`}, []types.ChangeAction{"CREATE"}},
		"another":       {old, []string{`"x"`, `"y"`}, []types.ChangeAction{"DELETE", "CREATE"}},
		"last":          {old, nil, []types.ChangeAction{"DELETE"}},
	} {
		var got []types.ChangeAction
		for _, c := range replace(x.old, "a.", time.Minute, x.values, false) {
			got = append(got, c.Action)
		}
		if !slices.Equal(got, x.want) {
			t.Errorf("%s: %v, want %v", name, got, x.want)
		}
	}
}
