package shingle

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of [Unreadable].
const (
	maxUnreadable  = 1000 // keys in memory; reads of others are counted
	unreadableLife = 25 * time.Hour
	unreadableLog  = time.Hour // between two lines about one record
	unreadableRate = 20        // lines an hour about all of them
)

// Unreadable remembers records that were met in the store and cannot be read: damaged by
// a disk or by hand, or written by a newer version. Whoever reads many passes over such
// a record, for one must not stop all others; whoever reads it alone returns
// [ErrUnreadable]. Nobody writes over it or removes it, but its owner.
//
// Its methods are safe for concurrent use; a nil one remembers nothing.
type Unreadable struct {
	log   *slog.Logger
	now   func() time.Time
	reads atomic.Uint64
	some  atomic.Bool // there are keys

	mu     sync.Mutex
	met    map[string]met // by key
	logged time.Time      // begin of the hour of lines
	lines  int            // in it
}

// met is when a record was met.
type met struct {
	last   time.Time
	logged time.Time
}

// NewUnreadable returns one that logs to log.
func NewUnreadable(log *slog.Logger) *Unreadable {
	return &Unreadable{log: log, now: time.Now, met: map[string]met{}}
}

// Note takes in that the record at key, or the domain of that name, could not be read.
// The log gets the key and the kind of the error, never what is in the record.
func (u *Unreadable) Note(key string, err error) {
	if u == nil {
		return
	}
	u.reads.Add(1)
	now := u.now()
	u.mu.Lock()
	is, known := u.met[key]
	if !known && len(u.met) >= maxUnreadable {
		u.mu.Unlock()
		return
	}
	tell := now.Sub(is.logged) >= unreadableLog && u.line(now)
	if is.last = now; tell {
		is.logged = now
	}
	u.met[key] = is
	u.some.Store(true)
	u.mu.Unlock()
	if tell {
		u.log.Error("a record in the store cannot be read, and is passed over: is it damaged, or of a newer version?", "record", key, "error", decodeFault(err))
	}
}

// line reports whether one more line may be logged at now.
func (u *Unreadable) line(now time.Time) bool {
	if now.Sub(u.logged) >= time.Hour {
		u.logged, u.lines = now, 0
	}
	u.lines++
	return u.lines <= unreadableRate
}

// Mended takes in that the record at key can be read. It costs next to nothing when no
// record is known that cannot.
func (u *Unreadable) Mended(key string) {
	if u == nil || !u.some.Load() {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, known := u.met[key]; !known {
		return
	}
	delete(u.met, key)
	u.some.Store(len(u.met) > 0)
	u.log.Info("a record can be read again", "record", key)
}

// Keys returns those of the records that were met in the last day and could not be read,
// in order.
func (u *Unreadable) Keys() []string {
	if u == nil || !u.some.Load() {
		return nil
	}
	now := u.now()
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.DeleteFunc(u.met, func(_ string, is met) bool { return now.Sub(is.last) > unreadableLife })
	u.some.Store(len(u.met) > 0)
	return slices.Sorted(maps.Keys(u.met))
}

// Summary is a sentence about the records that cannot be read; empty when there are none.
func (u *Unreadable) Summary() string {
	keys := u.Keys()
	switch n := len(keys); n {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("a record in the store cannot be read, and is passed over: %s", keys[0])
	default:
		return fmt.Sprintf("%d records in the store cannot be read, and are passed over: %s is the first", n, keys[0])
	}
}

// Metrics returns what there is to tell of.
func (u *Unreadable) Metrics() []Metric {
	if u == nil {
		return nil
	}
	return []Metric{
		{Name: "shingle_unreadable_records", Help: "Records in the store that this process met in the last day and could not read.", Values: One(float64(len(u.Keys())))},
		{Name: "shingle_unreadable_reads_total", Help: "Reads of records that could not be read.", Values: One(float64(u.reads.Load()))},
	}
}

// UnreadableError returns the error of a record that is there and cannot be read. What
// may be shown of it does not name the key, which may be of interest to others.
func UnreadableError(key string, err error) error {
	return &Error{Code: CodeUnreadable, Message: ErrUnreadable.Message, Err: fmt.Errorf("read %s: %w", key, decodeFault(err))}
}

// decodeFault is err without what it may quote of the record.
func decodeFault(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s at byte %d is not a %s", e.Field, e.Offset, e.Type)
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("no JSON at byte %d", e.Offset)
	}
	if e, ok := errors.AsType[*recordFault](err); ok {
		return e
	}
	return errors.New("a value in it is none that this version knows")
}

// recordFault says what is wrong with a record, without quoting it.
type recordFault struct{ is string }

func (f *recordFault) Error() string { return f.is }

// RecordFault returns an error that says what is wrong with a record. It may be logged,
// and so must not quote what is in it.
func RecordFault(is string) error { return &recordFault{is} }

// Readable returns an error for a row that no writer of ours leaves: one which those who
// follow the domains could not make keys of, say. Stores call it for each row that they
// read, so it is quick, and looks at what others rely on alone.
func (d *Domain) Readable() error {
	switch {
	case !isHostKey(d.Host):
		return errHost
	case d.Tenant != "" && !isName(d.Tenant, MaxTenant, func(c byte) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c == ':' || c == '@'
	}):
		return RecordFault("its tenant is none")
	case d.Version < 1:
		return RecordFault("its version is none")
	case d.Settings != "" && !json.Valid([]byte(d.Settings)):
		return RecordFault("its settings are no JSON")
	}
	return nil
}

// Readable is [Domain.Readable] for a change.
func (c *Change) Readable() error {
	if c.Deleted {
		if !isHostKey(c.Host) {
			return errHost
		}
		return nil
	}
	return c.Domain.Readable()
}

var errHost = RecordFault("its host is none")

// isHostKey reports whether s can be a part of a key, as each host is. Whether it is a
// host it does not look at.
func isHostKey(s string) bool {
	return isName(s, MaxHost, func(c byte) bool { return 'a' <= c && c <= 'z' || c == '*' || c == '_' })
}

// isName reports whether s is made of digits, ".", "-" and what also takes.
func isName(s string, most int, also func(c byte) bool) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := range len(s) {
		if c := s[i]; ('0' > c || c > '9') && c != '.' && c != '-' && !also(c) {
			return false
		}
	}
	return true
}
