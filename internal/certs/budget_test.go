package certs

import (
	"testing"
	"time"
)

// TestBucket_OutlivesAClockFromTheFuture has a machine whose clock is years ahead take
// from a bucket that the fleet shares.
func TestBucket_OutlivesAClockFromTheFuture(t *testing.T) {
	rate := Rate{300, 3 * time.Hour}
	now := time.Now()
	b := bucket{Tokens: 0, At: now.AddDate(12, 0, 0)}.fill(rate, now)
	if next := b.next(rate, now); next.After(now.Add(rate.Per)) {
		t.Errorf("the next order is at %s", next)
	}
	if b = b.fill(rate, now.Add(time.Hour)); b.Tokens < 99 || b.Tokens > 101 {
		t.Errorf("%.1f tokens an hour later", b.Tokens)
	}
	// An hour's difference is earned once, by whoever is ahead.
	b = bucket{Tokens: 0, At: now.Add(time.Hour)}.fill(rate, now)
	if b = b.fill(rate, now.Add(time.Hour)); b.Tokens != 0 {
		t.Errorf("%.1f tokens that nobody has earned", b.Tokens)
	}
}
