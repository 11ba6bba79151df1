package shingle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
)

// EventType says what happened. It is stable: programs may switch on it.
type EventType string

// The events.
const (
	EventDomainCreated EventType = "domain.created"
	EventDomainUpdated EventType = "domain.updated"
	EventDomainDeleted EventType = "domain.deleted"
	EventDomainMoved   EventType = "domain.moved"  // to another tenant; it is the former one's event, and does not say whose the domain is now
	EventDomainStatus  EventType = "domain.status" // what the checks find has changed

	EventCertificateIssued  EventType = "certificate.issued" // for the first time, or renewed
	EventCertificateFailed  EventType = "certificate.failed" // an attempt; Data says who must act
	EventCertificateStopped EventType = "certificate.stopped"
	EventCertificateRevoked EventType = "certificate.revoked" // by its CA, as was asked for with the deletion

	EventCertificateUploaded EventType = "certificate.uploaded" // by the operator
	EventCertificateExpiring EventType = "certificate.expiring" // one that the operator keeps ends soon

	EventJobEnded EventType = "job.ended" // done, canceled or failed

	EventWebhookDisabled EventType = "webhook.disabled" // it failed for days, or asked for it
	EventWebhookTest     EventType = "webhook.test"     // sent on demand, to one webhook
)

// EventTypes lists the events that a webhook may ask for.
var EventTypes = []EventType{
	EventDomainCreated, EventDomainUpdated, EventDomainDeleted, EventDomainMoved, EventDomainStatus,
	EventCertificateIssued, EventCertificateFailed, EventCertificateStopped, EventCertificateRevoked,
	EventCertificateUploaded, EventCertificateExpiring, EventJobEnded, EventWebhookDisabled,
}

// Event is something that happened to a domain, its DNS or its certificate. It
// never holds a secret.
type Event struct {
	// ID is the same each time the event is recorded or sent, so that who gets it
	// twice can tell.
	ID     string          `json:"id"`
	Type   EventType       `json:"type"`
	At     time.Time       `json:"at"`
	Host   string          `json:"host,omitempty"`   // the domain; empty when there is none
	Tenant string          `json:"tenant,omitempty"` // the domain's
	By     string          `json:"by,omitempty"`     // who did it: a token's name, or empty for Shingle itself
	Data   json.RawMessage `json:"data,omitempty"`   // a JSON object, at most [MaxEventData] bytes; its members depend on Type
}

// EventFilter says which events somebody wants to see. What is empty does not
// count.
type EventFilter struct {
	Host   string // of this domain
	Tenant string // of what was this tenant's when it happened
}

// Takes reports whether e is one of them.
func (f *EventFilter) Takes(e *Event) bool {
	return (f.Host == "" || f.Host == e.Host) && (f.Tenant == "" || f.Tenant == e.Tenant)
}

// Readable returns an error for what is no event: one that could not be made keys of.
func (e *Event) Readable() error {
	switch {
	case !isName(e.ID, MaxHost, func(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' }):
		return RecordFault("its ID is none")
	case e.Type == "" || e.At.IsZero():
		return RecordFault("its type or its time is missing")
	case e.Host != "" && !isHostKey(e.Host):
		return errHost
	case e.Tenant != "" && !IsTenant(e.Tenant):
		return RecordFault("its tenant is none")
	}
	return nil
}

// ForTenant returns the event as a tenant may see it: of a domain that it got from
// another one, what the domain was there is left out. Without a tenant it is the whole.
func (e Event) ForTenant(tenant string) Event {
	var data map[string]json.RawMessage
	var before struct{ Tenant string }
	if tenant == "" || json.Unmarshal(e.Data, &data) != nil || json.Unmarshal(data["before"], &before) != nil || before.Tenant == tenant {
		return e
	}
	delete(data, "before")
	e.Data, _ = json.Marshal(data) // it has just been read
	return e
}

// MaxEventData bounds the data of an event, in bytes.
const MaxEventData = 16 << 10

// EventID makes an ID out of what distinguishes the event from all others.
func EventID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return "evt_" + hex.EncodeToString(sum[:12])
}

// Events takes what happened.
type Events interface {
	// Record keeps e and has it sent to the webhooks that ask for it. To record
	// the same event again, as after an error or a crash, does no harm if ID and
	// At are the same.
	Record(ctx context.Context, e Event) error
}

// Webhook is a place of the operator's that events are sent to, by the Standard
// Webhooks specification.
type Webhook struct {
	ID          string      `json:"id"`
	URL         string      `json:"url"`                   // https
	Description string      `json:"description,omitempty"` // for people
	Types       []EventType `json:"types,omitempty"`       // what it gets; empty: everything
	Tenant      string      `json:"tenant,omitempty"`      // only events of this tenant; empty: of all

	Disabled    bool      `json:"disabled,omitempty"`     // it gets nothing
	DisabledWhy string    `json:"disabled_why,omitempty"` // when Shingle did it
	CreatedAt   time.Time `json:"created_at"`             // UTC
	LastSuccess time.Time `json:"last_success,omitzero"`  // zero: never
	LastFailure time.Time `json:"last_failure,omitzero"`  // zero: never
	LastError   string    `json:"last_error,omitempty"`   // of LastFailure
	FailingFrom time.Time `json:"failing_from,omitzero"`  // since when every delivery failed; zero: the last one arrived
}

// Takes reports whether the webhook asks for e.
func (w *Webhook) Takes(e *Event) bool {
	if w.Disabled || w.Tenant != "" && w.Tenant != e.Tenant {
		return false
	}
	for _, t := range w.Types {
		if t == e.Type {
			return true
		}
	}
	return len(w.Types) == 0
}

// DeadLetter is a delivery that was given up.
type DeadLetter struct {
	Webhook  string    `json:"webhook"` // ID
	Event    Event     `json:"event"`
	Attempts int       `json:"attempts"`
	At       time.Time `json:"at"`    // of the last attempt
	Error    string    `json:"error"` // how it ended
}

// Readable returns an error for what is none.
func (d *DeadLetter) Readable() error { return d.Event.Readable() }
