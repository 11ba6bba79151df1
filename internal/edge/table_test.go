package edge

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
)

func testTable() *table {
	return newTable(shingle.Origin{Host: "app.example.com", Port: 443, TLS: true}, 443, newRulebook(443, 1<<20, slog.New(slog.DiscardHandler)))
}

// TestTable_IsWhatAMapWouldBe makes random changes to few names, so that shards
// grow, shrink and change their kinds of site, and compares with a map.
// set adds or replaces a domain.
func (t *table) set(d *shingle.Domain) { t.apply(&shingle.Change{Host: d.Host, Domain: *d}) }

// remove forgets a domain.
func (t *table) remove(domain string) { t.apply(&shingle.Change{Host: domain, Deleted: true}) }

func TestTable_IsWhatAMapWouldBe(t *testing.T) {
	table, want := testTable(), map[string]settings{}
	kinds := []settings{{}, {paused: true}, {redirect: "www.example.com"}, {origin: "https://other.example.com"}, {}}
	names := make([]string, 40)
	for i := range names {
		names[i] = sameShard(table, i)
	}
	for range 20_000 {
		host := names[rand.IntN(len(names))]
		if rand.IntN(3) == 0 {
			table.remove(host)
			delete(want, host)
		} else {
			is := kinds[rand.IntN(len(kinds))]
			table.set(&shingle.Domain{Host: host, Origin: is.origin, Redirect: is.redirect, Paused: is.paused})
			want[host] = is
		}
		is, ok := want[host]
		got := table.lookup(host)
		if ok != (got != nil) || ok && table.settings(got) != is {
			t.Fatalf("%s is %+v, want %+v", host, got, is)
		}
	}
	got := map[string]settings{}
	for name, is := range table.picture().all() {
		got[string(name)] = is
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || table.count.Load() != int64(len(want)) {
		t.Errorf("%d names\ngot  %v\nwant %v", table.count.Load(), got, want)
	}
}

// sameShard returns a name of the first shard, the i-th that it tries.
func sameShard(table *table, i int) string {
	for n := 0; ; n++ {
		host := fmt.Sprintf("h%d-%d.example.com", i, n)
		if index, _ := table.place(host); index == 0 {
			return host
		}
	}
}

func TestTable_UnreadableOriginIsServedByNobody(t *testing.T) {
	table := testTable()
	table.set(&shingle.Domain{Host: "a.example.com", Origin: "ftp://x"})
	if s := table.lookup("a.example.com"); s == nil || s.served() {
		t.Errorf("got %+v", s)
	}
}

func TestTable_EqualSettingsShareASite(t *testing.T) {
	table := testTable()
	for i := range 3 * maxAlike {
		table.set(&shingle.Domain{Host: host(i), Redirect: "www.example.com"})
		table.set(&shingle.Domain{Host: host(i), Redirect: host(i + 1)})
	}
	if len(table.alike) > maxAlike {
		t.Errorf("%d sites are remembered", len(table.alike))
	}
	table.set(&shingle.Domain{Host: "a.example.com", Redirect: "www.example.com"})
	table.set(&shingle.Domain{Host: "b.example.com", Redirect: "www.example.com"})
	if table.lookup("a.example.com") != table.lookup("b.example.com") {
		t.Error("two sites for the same settings")
	}
}

// manyDomains is how many the operator of a large product has.
const manyDomains = 1_000_000

func host(i int) string { return fmt.Sprintf("www.customer-%d.example", i) }

// TestTable_MemoryPerDomain holds the table to its bound. It counts what is
// live, so nothing but a change of the table can make it fail.
func TestTable_MemoryPerDomain(t *testing.T) {
	const domains, bound = 100_000, 150
	table := testTable()
	before := liveBytes()
	for i := range domains {
		table.set(&shingle.Domain{Host: host(i)})
	}
	if each := (liveBytes() - before) / domains; each > bound {
		t.Errorf("%d bytes a domain", each)
	}
	runtime.KeepAlive(table)
}

// TestTable_MemoryOfSharedSettings: a pointer each is all that domains with the same
// settings cost more than others.
func TestTable_MemoryOfSharedSettings(t *testing.T) {
	const domains, bound = 100_000, 170
	kinds := make([]shingle.SettingsText, 10)
	for i := range kinds {
		kinds[i] = shingle.SettingsText(fmt.Sprintf(`{"hsts":{"max_age":%d},"error_page":"%s"}`, i, strings.Repeat("x", 4000)))
	}
	table := testTable()
	before := liveBytes()
	for i := range domains {
		table.set(&shingle.Domain{Host: host(i), Settings: kinds[i%len(kinds)]})
	}
	each := (liveBytes() - before) / domains
	if each > bound {
		t.Errorf("%d bytes a domain", each)
	}
	t.Logf("%d bytes a domain", each)
	runtime.KeepAlive(table)
}

func liveBytes() int64 {
	runtime.GC()
	runtime.GC() // the second one frees what the first one has finalised
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkTable_Load is what reading all domains costs beside the store.
func BenchmarkTable_Load(b *testing.B) {
	b.ReportAllocs()
	var table *table
	for b.Loop() {
		table = manyTable()
	}
	reportDomains(b, table)
}

// BenchmarkTable_Changes is the cost of a feed of a million new domains.
func BenchmarkTable_Changes(b *testing.B) {
	b.ReportAllocs()
	var t *table
	for b.Loop() {
		t = testTable()
		for i := range manyDomains {
			t.set(&shingle.Domain{Host: host(i)})
		}
	}
	reportDomains(b, t)
}

func BenchmarkTable_Lookup(b *testing.B) {
	t := manyTable()
	for name, suffix := range map[string]string{"known": "", "unknown": "x"} {
		hosts := make([]string, 1<<16)
		for i := range hosts {
			hosts[i] = host(rand.IntN(manyDomains)) + suffix
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i = (i + 1) % len(hosts)
				if (t.lookup(hosts[i]) != nil) != (suffix == "") {
					b.Fatal(hosts[i])
				}
			}
		})
	}
}

func manyTable() *table {
	t := testTable()
	all := t.newPicture()
	for i := range manyDomains {
		all.add(host(i), settings{})
	}
	t.replace(all)
	return t
}

// reportDomains adds what the table holds in memory, a domain.
func reportDomains(b *testing.B, t *table) {
	b.StopTimer()
	with := liveBytes()
	for i := range t.shards {
		t.shards[i].Store(nil)
	}
	b.ReportMetric(float64(with-liveBytes())/float64(manyDomains), "bytes/domain")
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/million")
}
