package edge

import (
	"strconv"
	"strings"
)

// responseHead is an origin's status line and header (RFC 9112 section 4).
type responseHead struct {
	status int
	minor  int    // HTTP/1.minor
	header Fields // as received
	length int64  // Content-Length in bytes, -1 when absent
	coded  bool   // Transfer-Encoding: chunked
	close  bool   // the origin closes the connection behind this message
}

// parseResponseHead reads a head with its final empty line. fields is storage
// to use again. It is strict: what two readers could understand differently is
// errBadFraming.
func parseResponseHead(s string, fields Fields) (responseHead, error) {
	h := responseHead{length: -1, header: fields[:0]}
	line, rest, ok := cutLine(s)
	if !ok || len(line) < 12 || line[:7] != "HTTP/1." || (line[7] != '0' && line[7] != '1') || line[8] != ' ' {
		return h, errBadFraming
	}
	h.minor = int(line[7] - '0')
	if !allDigits(line[9:12]) || line[9] < '1' || (len(line) > 12 && line[12] != ' ') {
		return h, errBadFraming
	}
	h.status = int(line[9]-'0')*100 + int(line[10]-'0')*10 + int(line[11]-'0')
	h.close = h.minor == 0
	for rest != "\r\n" {
		if line, rest, ok = cutLine(rest); !ok || len(h.header) == maxHeadFields {
			return h, errBadFraming
		}
		f, ok := parseField(line)
		if !ok {
			return h, errBadFraming
		}
		if err := h.note(f); err != nil {
			return h, err
		}
		h.header = append(h.header, f)
	}
	if h.coded && h.length >= 0 { // RFC 9112 section 6.3: the mark of an attack
		return h, errBadFraming
	}
	return h, nil
}

// note takes in a field that frames the message.
func (h *responseHead) note(f Field) error {
	switch len(f.Name) {
	case 10:
		if equalFold(f.Name, "Connection") {
			h.close = h.close && !hasToken(f.Value, "keep-alive") || hasToken(f.Value, "close")
		}
	case 14:
		if equalFold(f.Name, "Content-Length") {
			n, ok := parseLength(f.Value)
			if !ok || (h.length >= 0 && h.length != n) {
				return errBadFraming
			}
			h.length = n
		}
	case 17:
		if equalFold(f.Name, "Transfer-Encoding") {
			if h.coded || h.minor == 0 || !equalFold(f.Value, "chunked") {
				return errBadFraming
			}
			h.coded = true
		}
	}
	return nil
}

// bodyless tells the responses that end with their head (RFC 9112 section 6.3).
func (h *responseHead) bodyless(method string) bool {
	return method == "HEAD" || h.status < 200 || h.status == 204 || h.status == 304
}

// keepAlive returns the seconds for which the origin says that it keeps an idle
// connection, as in "Keep-Alive: timeout=5", or -1 when it does not say.
func (h *responseHead) keepAlive() int {
	v := h.header.Get("Keep-Alive")
	if v == "" {
		return -1
	}
	for part := range strings.SplitSeq(v, ",") {
		if s, ok := strings.CutPrefix(strings.TrimSpace(part), "timeout="); ok {
			if n, err := strconv.Atoi(s); err == nil && n >= 0 {
				return n
			}
		}
	}
	return -1
}

// cutLine splits s behind its first CRLF. A bare CR or LF is refused.
func cutLine(s string) (line, rest string, ok bool) {
	i := strings.IndexByte(s, '\n')
	if i < 1 || s[i-1] != '\r' {
		return "", "", false
	}
	return s[:i-1], s[i+1:], true
}

// parseField reads "name: value" (RFC 9112 section 5). Folded lines and space
// before the colon are refused.
func parseField(line string) (Field, bool) {
	i := strings.IndexByte(line, ':')
	if i < 1 {
		return Field{}, false
	}
	name, value := line[:i], strings.Trim(line[i+1:], " \t")
	for j := range len(name) {
		if !isTokenByte[name[j]] {
			return Field{}, false
		}
	}
	for j := range len(value) {
		if c := value[j]; c == 0 || c == '\r' || c == '\n' {
			return Field{}, false
		}
	}
	return Field{name, value}, true
}

// parseLength reads a Content-Length, or a list that repeats one value.
func parseLength(s string) (int64, bool) {
	first, rest, more := strings.Cut(s, ",")
	first = strings.Trim(first, " \t")
	if first == "" || len(first) > 18 || !allDigits(first) {
		return 0, false
	}
	if more {
		for part := range strings.SplitSeq(rest, ",") {
			if strings.Trim(part, " \t") != first {
				return 0, false
			}
		}
	}
	n, err := strconv.ParseInt(first, 10, 64)
	return n, err == nil
}

// isTokenByte holds the characters of a token (RFC 9110 section 5.6.2).
var isTokenByte = func() (t [256]bool) {
	for c := range 256 {
		t[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0 && c < 128
	}
	return t
}()
