package certs

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/certtest"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// eventLog is a [shingle.Events].
type eventLog struct {
	mu   sync.Mutex
	list []shingle.Event
}

func (l *eventLog) Record(_ context.Context, e shingle.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.ContainsFunc(l.list, func(o shingle.Event) bool { return o.ID == e.ID }) {
		l.list = append(l.list, e)
	}
	return nil
}

// types returns what was recorded, in order.
func (l *eventLog) types() (list []shingle.EventType) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.list {
		list = append(list, e.Type)
	}
	return list
}

// desk is a simulated fleet to which certificates are uploaded.
type desk struct {
	*sim
	ca     *certtest.CA // the operator's
	events *eventLog
	log    syncBuffer
}

// atDesk runs f with a worker, in virtual time.
func atDesk(t *testing.T, f func(t *testing.T, d *desk)) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{ca: certtest.New(t, "Own"), events: &eventLog{}}
		d.sim = newSim(t, []*simCA{newSimCA(t, "ca")}, func(cfg *Config) {
			cfg.Events, cfg.Roots, cfg.Logger = d.events, d.ca.Pool(), slog.New(slog.NewTextHandler(&d.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
		defer d.close()
		stop := d.work()
		defer stop()
		synctest.Wait() // the worker has looked, and will again in a minute
		f(t, d)
	})
}

// add adds the domain.
func (d *desk) add() { d.t.Helper(); d.addDomain(false) }

func (d *desk) addDomain(paused bool) {
	d.t.Helper()
	_, err := d.store.CreateDomain(d.t.Context(), shingle.Domain{Host: testHost, Tenant: "acme", Paused: paused}, time.Now())
	d.check(err)
}

// upload uploads a new certificate of that age, valid for 90 days.
func (d *desk) upload(age time.Duration, u shingle.Upload) (*certtest.Leaf, shingle.Certificate, error) {
	d.t.Helper()
	leaf := d.ca.Issue(func(c *x509.Certificate) {
		c.NotBefore = time.Now().Add(-age)
		c.NotAfter = c.NotBefore.Add(90 * day)
	}, testHost)
	u.Chain, u.Key, u.By = leaf.Chain(), leaf.KeyPEM(), "tok1"
	c, err := d.m.Upload(d.t.Context(), testHost, u)
	return leaf, c, err
}

// serves fails unless m serves that certificate.
func (d *desk) serves(m *Manager, want *certtest.Leaf) {
	d.t.Helper()
	cert, err := m.Certificate(d.t.Context(), testHost)
	d.check(err)
	if !bytes.Equal(cert.Certificate[0], want.Cert.Raw) {
		d.t.Fatal("another certificate is served")
	}
}

func (d *desk) orders() int {
	d.cas[0].mu.Lock()
	defer d.cas[0].mu.Unlock()
	return len(d.cas[0].accepted)
}

func (d *desk) plan() plan {
	d.t.Helper()
	p, _, err := d.m.store.plan(d.t.Context(), testHost)
	d.check(err)
	return p
}

func TestUpload_EveryEdgeServesItSoon(t *testing.T) {
	atDesk(t, func(t *testing.T, d *desk) {
		d.add()
		cfg := d.m.cfg
		cfg.Instance = "other"
		other, err := New(cfg)
		d.check(err)
		defer func() { d.check(other.Close()) }()
		ctx, cancel := context.WithCancel(d.t.Context())
		followed := make(chan struct{})
		go func() { defer close(followed); other.Follow(ctx) }()
		defer func() { cancel(); <-followed }()
		time.Sleep(10 * time.Minute)
		for _, m := range []*Manager{d.m, other} {
			_, err := m.Certificate(d.t.Context(), testHost)
			d.check(err)
		}
		// Older than the one by ACME, and served all the same.
		leaf, c, err := d.upload(20*day, shingle.Upload{})
		d.check(err)
		if !c.Uploaded || c.Keep || c.State != shingle.CertificateValid || c.Tenant != "acme" || !c.NotAfter.Equal(leaf.Cert.NotAfter) || c.Warnings != nil {
			t.Errorf("it is %+v", c)
		}
		d.serves(d.m, leaf)
		time.Sleep(newsEvery + time.Second)
		_, err = other.Certificate(d.t.Context(), testHost) // has it read the store
		d.check(err)
		synctest.Wait()
		d.serves(other, leaf)
		if n := d.orders(); n != 1 {
			t.Errorf("%d orders", n)
		}
		d.keyStaysIn(leaf)
	})
}

// keyStaysIn fails if the key is in the store, the log or an event.
func (d *desk) keyStaysIn(leaf *certtest.Leaf) {
	d.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(leaf.Key)
	d.check(err)
	secrets := [][]byte{der[len(der)-40:]}
	for line := range strings.Lines(leaf.KeyPEM()) {
		if !strings.HasPrefix(line, "-") {
			secrets = append(secrets, []byte(strings.TrimSpace(line)))
		}
	}
	events, err := json.Marshal(d.events.list)
	d.check(err)
	places := map[string][]byte{"the log": []byte(d.log.String()), "the events": events}
	keys, err := d.store.List(d.t.Context(), "", "", 1000)
	d.check(err)
	for _, key := range keys {
		b, err := d.store.Get(d.t.Context(), key)
		d.check(err)
		places[key] = b.Value
	}
	u := shingle.Upload{Key: leaf.KeyPEM()}
	places["print"] = fmt.Appendf(nil, "%v %+v %#v %s", u, u, u, &u)
	for place, text := range places {
		for _, s := range secrets {
			if bytes.Contains(text, s) {
				d.t.Errorf("%s has the key", place)
			}
		}
	}
}

func TestUpload_ACMETakesOverBeforeTheEnd(t *testing.T) {
	atDesk(t, func(t *testing.T, d *desk) {
		d.add()
		leaf, c, err := d.upload(day, shingle.Upload{})
		d.check(err)
		if c.RenewAt.After(leaf.Cert.NotAfter.Add(-29 * day)) {
			t.Errorf("renewal on %s, the end is on %s", c.RenewAt, leaf.Cert.NotAfter)
		}
		before := d.orders()
		time.Sleep(time.Until(c.RenewAt) - time.Hour)
		if n := d.orders(); n != before {
			t.Fatalf("%d orders before its time", n-before)
		}
		time.Sleep(2 * time.Hour)
		p := d.plan()
		if d.orders() != before+1 || p.Uploaded || p.Issuer == "" || !p.NotAfter.After(leaf.Cert.NotAfter) {
			t.Errorf("%d orders, plan %+v", d.orders()-before, p)
		}
		d.cas[0].mu.Lock()
		defer d.cas[0].mu.Unlock()
		if d.cas[0].replaced != 0 {
			t.Error("the order says that it replaces a certificate of another account")
		}
	})
}

func TestUpload_KeptUntilItsEnd(t *testing.T) {
	atDesk(t, func(t *testing.T, d *desk) {
		d.add()
		time.Sleep(10 * time.Minute)
		leaf, c, err := d.upload(day, shingle.Upload{Keep: true})
		d.check(err)
		if !c.Keep || c.Warnings != nil || c.Next.IsZero() {
			t.Errorf("it is %+v", c)
		}
		before := d.orders()
		end := leaf.Cert.NotAfter
		for i, days := range []int{30, 14, 7, 1} {
			time.Sleep(time.Until(end.AddDate(0, 0, -days)) - time.Hour)
			d.told(shingle.EventCertificateExpiring, i)
			time.Sleep(2 * time.Hour)
			d.told(shingle.EventCertificateExpiring, i+1)
			d.serves(d.m, leaf) // and no visitor begins a renewal
			c, err := d.m.Info(d.t.Context(), testHost)
			d.check(err)
			if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "upload the next one") || c.State != shingle.CertificateValid {
				t.Errorf("%d days before: %+v", days, c)
			}
		}
		if n := d.orders(); n != before {
			t.Fatalf("%d orders while it is kept", n-before)
		}
		time.Sleep(time.Until(end) + 10*time.Minute)
		if p := d.plan(); d.orders() != before+1 || p.Uploaded || p.Keep || !time.Now().Before(p.NotAfter) {
			t.Errorf("%d orders, plan %+v", d.orders()-before, p)
		}
	})
}

// told fails unless n events of the type were recorded.
func (d *desk) told(typ shingle.EventType, n int) {
	d.t.Helper()
	got := 0
	for _, x := range d.events.types() {
		if x == typ {
			got++
		}
	}
	if got != n {
		d.t.Fatalf("%d events %s, want %d", got, typ, n)
	}
}

func TestUpload_KeepIsEndedByRenew(t *testing.T) {
	atDesk(t, func(t *testing.T, d *desk) {
		d.add()
		_, _, err := d.upload(day, shingle.Upload{Keep: true})
		d.check(err)
		d.check(d.m.Renew(t.Context(), testHost))
		time.Sleep(10 * time.Minute)
		if p := d.plan(); p.Uploaded || p.Keep || p.Issuer == "" {
			t.Errorf("plan %+v", p)
		}
	})
}

func TestUpload_TheRecordAloneTellsAllOfIt(t *testing.T) {
	atDesk(t, func(t *testing.T, d *desk) {
		d.add()
		leaf, _, err := d.upload(day, shingle.Upload{Keep: true})
		d.check(err)
		want := d.plan()
		d.check(d.m.store.erase(t.Context(), planKey(testHost)))
		d.check(d.m.Want(t.Context(), testHost, "acme")) // as for a new domain
		time.Sleep(time.Minute + settleTime)
		got := d.plan()
		if !got.Uploaded || !got.Keep || got.Serial != want.Serial || !got.NotAfter.Equal(leaf.Cert.NotAfter) || got.Next.IsZero() {
			t.Errorf("plan %+v", got)
		}
		d.told(shingle.EventCertificateUploaded, 1)
	})
}

func TestUpload_Repeated(t *testing.T) {
	atDesk(t, func(t *testing.T, d *desk) {
		d.add()
		leaf := d.ca.Issue(nil, testHost)
		u := shingle.Upload{Chain: leaf.Chain(), Key: leaf.KeyPEM(), By: "tok1"}
		var version string
		for range 3 {
			_, err := d.m.Upload(t.Context(), testHost, u)
			d.check(err)
			b, err := d.store.Get(t.Context(), certKey(testHost))
			d.check(err)
			if version != "" && version != b.Version {
				t.Error("the record was written again")
			}
			version = b.Version
		}
		d.told(shingle.EventCertificateUploaded, 1)
		// A process died before the plan knew: the same again mends it.
		d.check(d.m.store.erase(t.Context(), planKey(testHost)))
		_, err := d.m.Upload(t.Context(), testHost, u)
		d.check(err)
		if p := d.plan(); !p.Uploaded || p.Tenant != "acme" {
			t.Errorf("plan %+v", p)
		}
		u.Keep = true
		c, err := d.m.Upload(t.Context(), testHost, u)
		d.check(err)
		if !c.Keep || !d.plan().Keep {
			t.Error("it is not kept")
		}
		d.told(shingle.EventCertificateUploaded, 2)
		if e := d.events.list[len(d.events.list)-1]; e.By != "tok1" || e.Tenant != "acme" || !strings.Contains(string(e.Data), `"keep":true`) {
			t.Errorf("event %+v, %s", e, e.Data)
		}
	})
}

func TestUpload_IfNewer(t *testing.T) {
	atDesk(t, func(t *testing.T, d *desk) {
		d.addDomain(true) // nothing is ordered for it yet
		newer := shingle.Upload{IfNewer: true}
		_, _, err := d.upload(10*day, newer)
		d.check(err)
		_, _, err = d.upload(11*day, newer)
		wantCode(t, err, shingle.CodeExists)
		_, _, err = d.upload(9*day, newer)
		d.check(err)
		kept, _, err := d.upload(50*day, shingle.Upload{Keep: true})
		d.check(err)
		_, _, err = d.upload(day, newer)
		wantCode(t, err, shingle.CodeExists)
		time.Sleep(41 * day) // past its end, and by ACME meanwhile
		if !time.Now().After(kept.Cert.NotAfter) {
			t.Fatal("it has not ended")
		}
		_, _, err = d.upload(3*day, newer)
		wantCode(t, err, shingle.CodeExists)
		_, _, err = d.upload(0, newer)
		d.check(err)
	})
}

func TestUpload_DryRunLeavesNoTrace(t *testing.T) {
	atDesk(t, func(t *testing.T, d *desk) {
		d.add()
		time.Sleep(10 * time.Minute)
		before, err := d.store.Get(t.Context(), certKey(testHost))
		d.check(err)
		events := len(d.events.types())
		leaf, c, err := d.upload(day, shingle.Upload{DryRun: true, Keep: true})
		d.check(err)
		if !c.Uploaded || !c.Keep || !c.NotAfter.Equal(leaf.Cert.NotAfter) || c.State != shingle.CertificateValid {
			t.Errorf("it would be %+v", c)
		}
		after, err := d.store.Get(t.Context(), certKey(testHost))
		d.check(err)
		if after.Version != before.Version || len(d.events.types()) != events || d.plan().Uploaded {
			t.Error("something was done")
		}
	})
}

func TestUpload_OnlyForDomains(t *testing.T) {
	atDesk(t, func(t *testing.T, d *desk) {
		_, _, err := d.upload(day, shingle.Upload{})
		wantCode(t, err, shingle.CodeNotFound)
		d.add()
		// The domain goes while its certificate is being stored.
		faulty := &storetest.FaultyBlobs{Blobs: d.blobs}
		faulty.Inject(func(ctx context.Context, op, key string, call func() error) error {
			err := call()
			if op == "Put" && key == certKey(testHost) {
				d.check(d.store.DeleteDomain(ctx, testHost, 0, "", time.Now()))
			}
			return err
		})
		d.m.store.blobs = faulty
		_, _, err = d.upload(day, shingle.Upload{})
		wantCode(t, err, shingle.CodeNotFound)
		if _, err := d.store.Get(t.Context(), certKey(testHost)); err == nil {
			t.Error("a key is left of a domain that is gone")
		}
	})
}

func TestUpload_EndsTheIssuanceUnderWay(t *testing.T) {
	atDesk(t, func(t *testing.T, d *desk) {
		d.cas[0].refuse = func(r *simRequest) *simProblem {
			if r.step == "finalize" {
				time.Sleep(time.Minute)
			}
			return nil
		}
		d.add()
		time.Sleep(90 * time.Second) // the worker has seen it
		if !d.m.issues.has(testHost) {
			t.Fatal("no issuance is under way")
		}
		leaf, _, err := d.upload(day, shingle.Upload{})
		d.check(err)
		time.Sleep(10 * time.Minute)
		d.serves(d.m, leaf)
		if p := d.plan(); !p.Uploaded || p.Failed != nil {
			t.Errorf("plan %+v", p)
		}
	})
}

func TestUpload_WaitsForAnotherProcessOnlySoLong(t *testing.T) {
	atDesk(t, func(t *testing.T, d *desk) {
		d.addDomain(true)
		other := newLeases(d.m.store, "another", d.m.cfg.LeaseTime)
		held, err := other.try(t.Context(), hostLease(testHost))
		d.check(err)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		leaf := d.ca.Issue(nil, testHost)
		_, err = d.m.Upload(ctx, testHost, shingle.Upload{Chain: leaf.Chain(), Key: leaf.KeyPEM()})
		wantCode(t, err, shingle.CodeUnavailable)
		if !strings.Contains(shingle.MessageOf(err), "try again in a minute") {
			t.Errorf("message %q", shingle.MessageOf(err))
		}
		held.release(t.Context())
		_, _, err = d.upload(day, shingle.Upload{})
		d.check(err)
	})
}

func TestUpload_MendsARecordThatCannotBeRead(t *testing.T) {
	for name, value := range map[string]string{"not JSON": "half", "no chain": `{"chain":""}`, "unknown key": `{"chain":"x","key":{"key_id":"gone"}}`} {
		t.Run(name, func(t *testing.T) {
			atDesk(t, func(t *testing.T, d *desk) {
				d.addDomain(true)
				_, err := d.store.Put(t.Context(), certKey(testHost), []byte(value), shingle.NoVersion)
				d.check(err)
				leaf, _, err := d.upload(day, shingle.Upload{IfNewer: true})
				d.check(err)
				d.m.cache.remove(testHost)
				d.serves(d.m, leaf)
			})
		})
	}
}

// TestUpload_TheCAMayAskForItsRenewal uploads a certificate of the CA that is set
// up here, as an import does, before that CA wants all of its certificates replaced.
func TestUpload_TheCAMayAskForItsRenewal(t *testing.T) {
	atDesk(t, func(t *testing.T, d *desk) {
		d.addDomain(true) // nothing is ordered for it yet
		ca := d.cas[0]
		key := newKey(t)
		ca.mu.Lock()
		chain, err := ca.sign(testHost, key.Public(), time.Now().Add(-10*day))
		ca.mu.Unlock()
		d.check(err)
		leaf := &certtest.Leaf{Key: key}
		c, err := d.m.Upload(t.Context(), testHost, shingle.Upload{Chain: string(chain), Key: leaf.KeyPEM(), Issuer: ca.url + "/directory"})
		d.check(err)
		if c.Issuer != ca.url+"/directory" || !c.Uploaded {
			t.Errorf("it is %+v", c)
		}
		wantCode(t, d.m.Revoke(t.Context(), testHost), shingle.CodeInvalid) // that would be for its own account
		time.Sleep(2 * day)
		if d.orders() != 0 || ca.asked() == 0 {
			t.Fatalf("%d orders, %d questions when to renew", d.orders(), ca.asked())
		}
		ca.mu.Lock()
		ca.revoked, ca.busyUntil = true, time.Now()
		ca.mu.Unlock()
		time.Sleep(2 * day)
		if p := d.plan(); d.orders() != 1 || p.Uploaded {
			t.Errorf("%d orders, plan %+v", d.orders(), p)
		}
		ca.mu.Lock()
		defer ca.mu.Unlock()
		if ca.replaced != 0 {
			t.Error("the order says that it replaces a certificate of another account")
		}
	})
}
