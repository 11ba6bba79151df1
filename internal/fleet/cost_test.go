package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	checks "github.com/shingle-proxy/shingle/internal/check"
	"github.com/shingle-proxy/shingle/internal/dynamo"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// bill is what a fleet of one control process and one edge spends.
type bill struct {
	*programs
	table        string
	watch        *dynamo.Store // what we ask is not billed
	meters       []*meter
	control      usage // at rest, a second; with the checks
	edge         usage // likewise
	atRest       usage // both, without the checks, which are counted apart
	perThing     map[string]usage
	checker      *checks.Keeper
	checkerMeter *meter
	ahead        atomic.Int64 // of the checker's clock
}

const (
	billed     = 10          // of each thing
	restWindow = time.Minute // some things are done once in it
)

// TestCost counts what a fleet is billed for by what its processes ask of DynamoDB,
// and holds it to what docs/storage.md says. -v prints that.
func TestCost(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes two minutes")
	}
	b := newBill(t)
	b.resting()
	b.add(0)
	b.checkAll()
	b.per("a new domain with its certificate", 75, 40, func() { b.add(1) })
	b.per("a change of a domain", 18, 12, b.change)
	b.per("a renewal", 50, 25, b.renew)
	b.perCheck(11, 8) // some first checks among them
	b.perQuestion(0.1)
	b.month()
}

func newBill(t *testing.T) *bill {
	endpoint := storetest.Endpoint(t, storetest.DynamoDB)
	httpPort, tlsPort := freePorts(t)
	p := newPrograms(t, httpPort, tlsPort)
	b := &bill{programs: p, perThing: map[string]usage{}, meters: []*meter{newMeter(t, endpoint), newMeter(t, endpoint)}}
	atEdge := *p
	atEdge.env = append(slices.Clone(p.env), "SHINGLE_DYNAMODB_ENDPOINT="+b.meters[1].url)
	p.env = append(p.env, "SHINGLE_DYNAMODB_ENDPOINT="+b.meters[0].url)
	p.startControl()
	atEdge.start(t.TempDir(), "edge", "--edge-http", fmt.Sprint("127.0.0.1:", httpPort), "--edge-https", fmt.Sprint("127.0.0.1:", tlsPort))
	for _, v := range b.env {
		if name, ok := strings.CutPrefix(v, "SHINGLE_TABLE="); ok {
			b.table = name
		}
	}
	b.watch = b.open(endpoint, b.table)
	b.checkerMeter = newMeter(t, endpoint)
	b.checker = b.newChecker()
	return b
}

func (b *bill) open(endpoint, table string) *dynamo.Store {
	s, err := dynamo.Open(b.t.Context(), dynamo.Config{
		Table: table, Region: "eu-central-1", Endpoint: endpoint, Credentials: credentials.NewStaticCredentialsProvider("fleet", "fleet", ""),
	})
	check(b.t, err)
	b.t.Cleanup(func() { _ = s.Close() })
	return s
}

// newChecker makes what a control process has for the checks, over domains that
// are well, with a clock that can be put forward.
func (b *bill) newChecker() *checks.Keeper {
	s := b.open(b.checkerMeter.url, b.table)
	now := func() time.Time { return time.Now().Add(time.Duration(b.ahead.Load())) }
	certificate := func(ctx context.Context, host string) { _, _ = s.Get(ctx, "plans/"+host) } // both ask for it
	k, err := checks.NewKeeper(checks.KeeperConfig{
		Blobs: s, Domains: s, Now: now, Lifecycle: shingle.Lifecycle{AnyPointer: true},
		Check: func(ctx context.Context, d shingle.Domain, _ checks.Look) (r shingle.CheckResult, _ error) {
			certificate(ctx, d.Host)
			r.Host, r.At, r.CertifiedUntil = d.Host, now(), now().AddDate(0, 2, 0)
			r.DNS.Reason, r.HTTPS.Reason = shingle.ReasonPointsHere, shingle.ReasonHTTPSWorks
			return r, nil
		},
		Ready: func(ctx context.Context, d shingle.Domain) error { certificate(ctx, d.Host); return nil },
	})
	check(b.t, err)
	return k
}

func hostOf(round, i int) string { return fmt.Sprintf("h%d-%d.customer.localhost", round, i) }

// add adds domains, and waits for their certificates.
func (b *bill) add(round int) {
	for i := range billed {
		_, err := b.client.CreateDomain(b.t.Context(), api.NewDomain{Host: hostOf(round, i), Tenant: "acme"})
		check(b.t, err)
	}
	for i := range billed {
		b.certified(hostOf(round, i), "")
	}
	time.Sleep(allHear)
}

// allHear is longer than every poll.
const allHear = 6 * time.Second

// certified waits until the certificate of a host is stored in place of one.
func (b *bill) certified(host, of string) {
	await(b.t, "certified", func() error {
		blob, err := b.watch.Get(b.t.Context(), "certs/"+host)
		if err == nil && blob.Version == of {
			err = errors.New("it is the old one")
		}
		return err
	})
}

func (b *bill) change() {
	for i := range billed {
		to := "www.example.com"
		_, err := b.client.UpdateDomain(b.t.Context(), hostOf(1, i), api.DomainPatch{Redirect: &to})
		check(b.t, err)
	}
	time.Sleep(allHear)
}

func (b *bill) renew() {
	for i := range billed {
		old, err := b.watch.Get(b.t.Context(), "certs/"+hostOf(1, i))
		check(b.t, err)
		_, err = b.client.RenewCertificate(b.t.Context(), hostOf(1, i))
		check(b.t, err)
		b.certified(hostOf(1, i), old.Version)
	}
	time.Sleep(allHear)
}

// resting counts what is spent while nothing happens.
func (b *bill) resting() {
	b.whileChecking(func() {
		time.Sleep(2 * allHear)
		for _, m := range append(b.meters, b.checkerMeter) {
			m.take()
		}
		time.Sleep(restWindow)
	})
	b.control = b.rest("control, without the checks,", b.meters[0], 300, 30)
	b.edge = b.rest("an edge", b.meters[1], 80, 3)
	b.atRest = b.control.plus(b.edge)
	b.control = b.control.plus(b.rest("checks", b.checkerMeter, 200, 0))
}

// rest takes what was spent in the window, a second, and holds it to bounds a minute.
func (b *bill) rest(what string, m *meter, reads, writes float64) usage {
	spent := m.take()
	report := spent["PutItem edges"]
	if report.writes > report.calls {
		b.t.Errorf("a report of %s costs %v", what, report)
	}
	delete(spent, "PutItem edges") // there are none or two in the window
	b.t.Logf("%s at rest, a minute:%s", what, show(spent, restWindow.Minutes()))
	u := sum(spent).times(1 / restWindow.Seconds())
	if m != b.checkerMeter {
		u.writes += 1.0 / 60
	}
	if u.reads*60 > reads || u.writes*60 > writes {
		b.t.Errorf("%s at rest, a minute: %v", what, u.times(60))
	}
	return u
}

// whileChecking runs the checker beside f.
func (b *bill) whileChecking(f func()) {
	ctx, end := context.WithCancel(b.t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = b.checker.Run(ctx) })
	f()
	end()
	running.Wait()
}

// checkAll waits until every domain of the first round was checked by now.
func (b *bill) checkAll() {
	since, shown := time.Now().Add(time.Duration(b.ahead.Load())), checks.Shown{From: b.watch}
	b.whileChecking(func() {
		for i := range billed {
			await(b.t, "checked", func() error {
				s, err := shown.Status(b.t.Context(), hostOf(0, i))
				if err == nil && s.Checked.Before(since) {
					err = errors.New("not yet")
				}
				return err
			})
		}
	})
}

// per counts what one of a kind costs beyond what is spent anyway.
func (b *bill) per(what string, reads, writes float64, do func()) {
	for _, m := range b.meters {
		m.take()
	}
	start := time.Now()
	do()
	took := time.Since(start)
	all := map[string]usage{}
	for _, m := range b.meters {
		for family, u := range m.take() {
			all[family] = all[family].plus(u)
		}
	}
	b.bound(what, all, sum(all).plus(b.atRest.times(-took.Seconds())), billed, reads, writes)
}

// perCheck counts the daily check of a domain that is well.
func (b *bill) perCheck(reads, writes float64) {
	b.ahead.Add(int64(37 * time.Hour))
	b.checkerMeter.take()
	b.checkAll()
	spent := b.checkerMeter.take()
	for family := range spent { // what is spent at rest too
		if strings.HasPrefix(family, "Query") || family == "GetItem checks" {
			delete(spent, family)
		}
	}
	b.bound("a check", spent, sum(spent), 2*billed, reads, writes) // both rounds of hosts are due
}

// perQuestion counts when a CA is asked when to renew: its list has a key a host.
func (b *bill) perQuestion(reads float64) {
	s := b.open(b.checkerMeter.url, b.table+"-questions")
	check(b.t, s.EnsureTable(b.t.Context()))
	const hosts = 400
	for i := range hosts {
		key := fmt.Sprintf("polls/0123abcd/0001/blog.customer%03d.example.com/aYhba4dGQEHhs3uEe6CuLN4ByNQ.BBBBBBBBBBBBBBBBBBBBBBBB/20261124T040102-20261125T040102/7", i)
		_, err := s.Put(b.t.Context(), key, nil, shingle.NoVersion)
		check(b.t, err)
	}
	b.checkerMeter.take()
	_, err := s.List(b.t.Context(), "polls/0123abcd/0001/", "", 1000)
	check(b.t, err)
	spent := b.checkerMeter.take()
	b.bound("a question when to renew", spent, sum(spent), hosts, reads, 0)
}

func (b *bill) bound(what string, spent map[string]usage, all usage, n, reads, writes float64) {
	u := all.times(1 / n)
	b.perThing[what] = u
	b.t.Logf("%s: %v%s", what, u, show(spent, n))
	if u.reads > reads || u.writes > writes {
		b.t.Errorf("%s costs %v, more than %v and %v", what, u, reads, writes)
	}
}

// month prints a month of 30 days with four edges. Of the domains, a hundredth are
// new, and as many are changed.
func (b *bill) month() {
	const month = 30 * 24 * 3600
	const edges = 4
	b.t.Logf("at rest, a month: control %v, $%.2f; an edge %v, $%.2f", b.control.times(month), b.control.times(month).dollars(), b.edge.times(month), b.edge.times(month).dollars())
	for what, u := range b.perThing {
		b.t.Logf("a million times %s: $%.2f", what, u.times(1e6).dollars())
	}
	for _, domains := range []float64{1000, 100_000, 1_000_000} {
		parts := map[string]usage{
			"at rest": b.control.plus(b.edge.times(edges)).times(month),
			"new":     b.perThing["a new domain with its certificate"].times(domains / 100),
			"changes": b.perThing["a change of a domain"].times(domains / 100),
			"renewals": b.perThing["a renewal"].times(domains / 2).plus(
				b.perThing["a question when to renew"].times(domains * 60)),
			"checks": b.perThing["a check"].times(domains * 30),
		}
		line, all := "", usage{}
		for _, what := range []string{"at rest", "new", "changes", "renewals", "checks"} {
			all = all.plus(parts[what])
			line += fmt.Sprintf(" %s $%.2f;", what, parts[what].dollars())
		}
		b.t.Logf("%.0f domains:%s together $%.2f: %.1f million reads, %.1f million writes", domains, line, all.dollars(), all.reads/1e6, all.writes/1e6)
	}
}
