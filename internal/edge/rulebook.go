package edge

import (
	"log/slog"
	"runtime"
	"sync"
	"weak"

	"github.com/shingle-proxy/shingle"
)

// rulebook makes rules, each once, and bounds the memory of all that are in use.
type rulebook struct {
	port int   // the public HTTPS port
	max  int64 // bytes
	log  *slog.Logger

	mu sync.Mutex
	// parts are what [forEdge] made of texts of late: to read one takes as long as to
	// write a hundred domains to the table.
	parts     map[shingle.SettingsText]shingle.SettingsText
	partBytes int

	byText   map[shingle.SettingsText]weak.Pointer[rules] // those in use, and those not collected yet
	bytes    int64
	withheld int64 // how often rules had no room
}

func newRulebook(publicPort int, maxBytes int64, log *slog.Logger) *rulebook {
	return &rulebook{port: publicPort, max: maxBytes, log: log, byText: map[shingle.SettingsText]weak.Pointer[rules]{}}
}

// maxParts bounds the texts in parts, in bytes.
const maxParts = 4 << 20

// part is [forEdge], which has less to do for a text that has just been seen.
func (b *rulebook) part(text shingle.SettingsText) shingle.SettingsText {
	if text == "" {
		return ""
	}
	b.mu.Lock()
	part, known := b.parts[text]
	b.mu.Unlock()
	if known {
		return part
	}
	part = forEdge(text)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.partBytes += len(text) + len(part); b.parts == nil || b.partBytes > maxParts {
		b.parts, b.partBytes = map[shingle.SettingsText]shingle.SettingsText{}, len(text)+len(part)
	}
	b.parts[text] = part
	return part
}

// rules returns the rules for what [forEdge] returned, nil for none. Those for
// which there is no room serve nobody: to go on without them could let in whom they
// keep out.
func (b *rulebook) rules(text shingle.SettingsText) *rules {
	if text == "" {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if u := b.byText[text].Value(); u != nil {
		return u
	}
	size := rulesSize(text)
	if b.bytes+size > b.max && text != withheld {
		b.withheld++
		if b.withheld == 1 {
			b.log.Error("no room for the settings of domains, which are not served: raise --settings-memory and start again", "bytes", b.max)
		}
		return &rules{text: withheld, unknown: true}
	}
	u := newRules(text, b.port)
	if u.unknown && text != withheld {
		b.log.Error("settings of domains cannot be read, which are not served: is this edge of an older version?")
	}
	b.byText[text] = weak.Make(u)
	b.bytes += size
	runtime.AddCleanup(u, func(text shingle.SettingsText) { b.drop(text) }, text)
	return u
}

// drop takes in that the rules for a text are gone. Others may have been made of it
// meanwhile.
func (b *rulebook) drop(text shingle.SettingsText) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes -= rulesSize(text)
	if b.byText[text].Value() == nil {
		delete(b.byText, text)
	}
}

// rulesSize is about what rules take in memory: the text, what is made of it, and
// their place in the book.
func rulesSize(text shingle.SettingsText) int64 { return 600 + 3*int64(len(text)) }

func (b *rulebook) sizes() (bytes, withheld int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes, b.withheld
}
