package certs

import "crypto/sha256"

// chains holds each intermediate certificate once, however many entries have it:
// a CA signs with a dozen. Its owner guards it.
type chains struct {
	held  map[[sha256.Size]byte]*intermediate
	bytes int64
}

// intermediate is shared by entries.
type intermediate struct {
	der     []byte
	holders int
}

// chainBytes is what an intermediate takes beside its DER.
const chainBytes = 128

// share exchanges the intermediates of e for those that are there already. An
// entry that was in a cache before may be read by others: it keeps what it has.
func (c *chains) share(e *entry) {
	fresh := !e.shared.Swap(true)
	for i, der := range e.intermediates() {
		sum := sha256.Sum256(der)
		held := c.held[sum]
		if held == nil {
			held = &intermediate{der: der}
			c.held[sum] = held
			c.bytes += held.bytes()
		}
		held.holders++
		if fresh {
			e.cert.Certificate[1+i] = held.der
		}
	}
}

// release takes back what share has counted.
func (c *chains) release(e *entry) {
	for _, der := range e.intermediates() {
		sum := sha256.Sum256(der)
		held := c.held[sum]
		if held.holders--; held.holders == 0 {
			delete(c.held, sum)
			c.bytes -= held.bytes()
		}
	}
}

func (i *intermediate) bytes() int64 { return chainBytes + allocated(len(i.der)) }
