package certs

import (
	"fmt"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

func TestPlan_RetriesAfterOneTenAHundredMinutesThenDaily(t *testing.T) {
	var p plan
	now := time.Now()
	f := &failure{public: shingle.Errorf(shingle.CodeUnavailable, "no")}
	for i, want := range []time.Duration{time.Minute, 10 * time.Minute, 100 * time.Minute, maxRetry, maxRetry, maxRetry, maxRetry} {
		if p.Stopped {
			t.Fatalf("stopped before failure %d", i+1)
		}
		p.failed(f, time.Minute, now)
		if wait := p.RetryAt.Sub(now); wait < want*9/10 || wait > want*11/10+1 {
			t.Errorf("failure %d: wait of %v, want %v and a little jitter", i, wait, want)
		}
		now = p.RetryAt
	}
	if !p.Stopped {
		t.Error("a name that never had a certificate is tried for ever")
	}
}

func TestPlan_WhatIsNotTheHostsFaultIsNotCounted(t *testing.T) {
	for name, f := range map[string]*failure{"outage": {outage: true}, "limit": {limited: true}, "store": {ours: true}} {
		f.public = shingle.ErrUnavailable
		var p plan
		now := time.Now()
		for range 10 {
			if p.failed(f, time.Minute, now); p.RetryAt.Sub(now) > 2*time.Minute || p.Failures > 0 || p.Stopped {
				t.Fatalf("%s: %+v", name, p)
			}
		}
	}
}

func TestPlan_RetryAtOfTheCAIsTheLeast(t *testing.T) {
	var p plan
	now := time.Now()
	want := now.Add(3 * time.Hour)
	if p.failed(&failure{public: shingle.ErrLimited, limited: true, retryAt: want}, time.Minute, now); !p.RetryAt.Equal(want) {
		t.Errorf("next after %v", p.RetryAt.Sub(now))
	}
}

func TestPlan_PermanentFailureStops(t *testing.T) {
	now := time.Now()
	f := &failure{public: shingle.ErrUnavailable, problem: "urn:ietf:params:acme:error:caa", validation: true}
	var p plan
	if p.failed(f, time.Minute, now); !p.Stopped || p.Failed.Who != shingle.WhoCustomer {
		t.Errorf("without a certificate: %+v", p)
	}
	p = plan{NotAfter: now.Add(30 * 24 * time.Hour)}
	for n := 1; n <= maxHopeless; n++ {
		if p.failed(f, time.Minute, now); p.Stopped != (n == maxHopeless) {
			t.Errorf("with a valid certificate, after %d: stopped is %v", n, p.Stopped)
		}
	}
	if p.reschedule(); !p.Next.IsZero() {
		t.Error("a stopped host is in the due index")
	}
}

func TestRefusals_AreBoundedAndEnd(t *testing.T) {
	r := newRefusals()
	now := time.Now()
	for i := range maxRefusals + 100 {
		r.put(fmt.Sprintf("n%d.example", i), now.Add(time.Minute), &shingle.CertificateFailure{Code: shingle.CodeUnavailable, Message: "no"})
	}
	if n := len(r.list); n != maxRefusals {
		t.Errorf("%d hosts remembered", n)
	}
	r.put("a.example", now.Add(time.Minute), &shingle.CertificateFailure{Code: shingle.CodeLimited, Message: "no"})
	if err := r.check("a.example", now); shingle.CodeOf(err) != shingle.CodeLimited {
		t.Errorf("got %v", err)
	}
	if err := r.check("a.example", now.Add(time.Minute)); err != nil {
		t.Errorf("at its end: %v", err)
	}
	if r.clear("a.example"); r.check("a.example", now) != nil {
		t.Error("cleared, and still refused")
	}
}
