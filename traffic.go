package shingle

import "time"

// MaxTrafficHours is how many hours a report has at most.
const MaxTrafficHours = 7 * 24

// TrafficKept is how long traffic by domain and hour is kept.
const TrafficKept = MaxTrafficHours * time.Hour

// Traffic is what visitors asked of a domain over HTTPS in some time, those who were
// answered in it.
type Traffic struct {
	// Answers has requests by the first digit of their status, as it was sent; the first
	// one has those that were cut off before an answer began.
	Answers [6]uint64
	// Origin5xx and OriginErrors are those of 5xx that the origin itself answered, and
	// those that the edge did because the origin gave no proper answer (502, 503, 504).
	// What both leave is a domain that is in maintenance.
	Origin5xx, OriginErrors uint64
	// Refused are those of 4xx that the edge answered: no origin heard of them.
	Refused uint64
	// BytesIn and BytesOut are of bodies, and of what passed after a change of protocol.
	BytesIn, BytesOut uint64
}

// TrafficHour is the traffic of an hour.
type TrafficHour struct {
	Hour time.Time // its begin, in UTC
	Traffic
}

// TrafficReport is the traffic of a domain in the last hours.
type TrafficReport struct {
	Hours   []TrafficHour // oldest first, without a gap; the last one is the present
	Partial bool          // there is more that could not be read
}

// Requests returns how many there were.
func (t *Traffic) Requests() (n uint64) {
	for _, class := range t.Answers {
		n += class
	}
	return n
}

// Add adds what others asked.
func (t *Traffic) Add(more *Traffic) {
	for class := range t.Answers {
		t.Answers[class] += more.Answers[class]
	}
	t.Origin5xx += more.Origin5xx
	t.OriginErrors += more.OriginErrors
	t.Refused += more.Refused
	t.BytesIn += more.BytesIn
	t.BytesOut += more.BytesOut
}
