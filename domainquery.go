package shingle

import "time"

// DomainOrder is an order in which domains are listed.
type DomainOrder string

// The orders. That of creation has the hosts of one moment in byte order, and newest
// first is oldest first backwards.
const (
	ByHost      DomainOrder = "host" // in byte order
	OldestFirst DomainOrder = "created"
	NewestFirst DomainOrder = "-created"
)

// DomainQuery says which domains are wanted, and in which order.
type DomainQuery struct {
	Tenant string      // only this tenant's; empty: all
	Order  DomainOrder // empty: ByHost
	After  DomainPlace // zero: from the beginning
	Limit  int         // 1 to 1000
}

// DomainPlace is a place in a list: behind a domain, which need not exist any more.
type DomainPlace struct {
	Created time.Time // of no account in the order of hosts
	Host    string
}

// PlaceOf returns the place behind d.
func PlaceOf(d *Domain) DomainPlace { return DomainPlace{Created: d.CreatedAt, Host: d.Host} }

// Validate returns an [ErrInvalid] for what no store answers.
func (q *DomainQuery) Validate() error {
	if q.Order == "" {
		q.Order = ByHost
	}
	switch {
	case q.Order != ByHost && q.Order != OldestFirst && q.Order != NewestFirst:
		return &Error{Code: CodeInvalid, Field: "order", Message: "domains are listed by host, created or -created"}
	case q.Limit < 1 || q.Limit > 1000:
		return &Error{Code: CodeInvalid, Field: "limit", Message: "a limit is 1 to 1000"}
	}
	return nil
}
