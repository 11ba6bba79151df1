package devenv

import (
	"context"
	"slices"
	"strings"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"
)

// AppendRecords implements [libdns.RecordAppender], for TXT records alone. Names
// in the zone file are hidden by what is appended to them.
func (d *DNS) AppendRecords(_ context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	for _, r := range records {
		name, value := textOf(zone, r)
		d.change(name, func(old []dns.RR) []dns.RR {
			if slices.ContainsFunc(old, hasText(value)) {
				return old
			}
			return append(slices.Clone(old), &dns.TXT{
				Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: answerTTL}, Txt: []string{value},
			})
		})
	}
	return records, nil
}

// DeleteRecords implements [libdns.RecordDeleter], for TXT records alone, whatever
// their TTL.
func (d *DNS) DeleteRecords(_ context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	for _, r := range records {
		name, value := textOf(zone, r)
		d.change(name, func(old []dns.RR) []dns.RR { return slices.DeleteFunc(slices.Clone(old), hasText(value)) })
	}
	return records, nil
}

// SetAlias has the names below localhost that begin with _acme-challenge, and have
// no record elsewhere, be aliases of what alias returns for them, without final
// dots: of nothing for "".
func (d *DNS) SetAlias(alias func(name string) string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.alias, d.zone = alias, nil
}

// change replaces the records that were set for a name at run time. Without any it
// is as if none ever had been.
func (d *DNS) change(name string, edit func([]dns.RR) []dns.RR) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.set == nil {
		d.set = rrsets{}
	}
	if d.set[name] = edit(d.set[name]); len(d.set[name]) == 0 {
		delete(d.set, name)
	}
	d.zone = nil
}

func textOf(zone string, r libdns.Record) (name, value string) {
	rr := r.RR()
	return canonical(libdns.AbsoluteName(rr.Name, zone)), rr.Data
}

func hasText(value string) func(dns.RR) bool {
	return func(rr dns.RR) bool {
		t, ok := rr.(*dns.TXT)
		return ok && strings.Join(t.Txt, "") == value
	}
}
