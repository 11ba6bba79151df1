package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"regexp"
	"slices"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// maxAnswer bounds one answer of Cloudflare's API in a file, in bytes.
const maxAnswer = 16 << 20

var (
	ourHost        = regexp.MustCompile(`"host"\s*:`)
	cloudflareName = regexp.MustCompile(`"(hostname|result)"\s*:`)
)

// isCloudflare reports whether a file that begins so has answers of Cloudflare's list of
// custom hostnames, and not JSON lines of ours.
func isCloudflare(first []byte) bool {
	return bytes.HasPrefix(first, []byte("[")) || bytes.HasPrefix(first, []byte("{")) && !ourHost.Match(first) && cloudflareName.Match(first)
}

// exported is a custom hostname as Cloudflare's API shows it, as far as it matters here.
type exported struct {
	ID       string
	Hostname string
	Metadata json.RawMessage `json:"custom_metadata"`
	Origin   string          `json:"custom_origin_server"`
	SNI      string          `json:"custom_origin_sni"`
	SSL      struct {
		Wildcard bool
		Uploaded string `json:"uploaded_on"`
		Settings struct {
			HTTP2      string
			HTTP3      string
			TLS13      string `json:"tls_1_3"`
			EarlyHints string `json:"early_hints"`
			MinTLS     string `json:"min_tls_version"`
			Ciphers    []string
		}
	}
}

// readCloudflare yields the custom hostnames in a file: whole answers of the list, one
// after the other, or what is in their result. They are counted as lines.
func readCloudflare(r io.Reader) iter.Seq[row] {
	return func(yield func(row) bool) {
		in := &bounded{r: r, until: maxAnswer}
		d := json.NewDecoder(in)
		for n := 0; ; in.until = d.InputOffset() + maxAnswer {
			var value json.RawMessage
			err := d.Decode(&value)
			if errors.Is(err, io.EOF) {
				return
			}
			var list []exported
			if err == nil {
				list, err = hostnamesIn(value)
			}
			if err != nil {
				yield(row{err: shingle.Errorf(shingle.CodeInvalid, "after hostname %d: this is no answer of Cloudflare's: %v", n, err)})
				return
			}
			for _, h := range list {
				n++
				domain, note, err := h.domain()
				if !yield(row{line: n, domain: domain, settings: true, note: note, err: err}) {
					return
				}
			}
		}
	}
}

// hostnamesIn reads an answer, the list in it, or one hostname.
func hostnamesIn(value json.RawMessage) (list []exported, err error) {
	var answer struct{ Result json.RawMessage }
	if value[0] == '{' {
		if err := json.Unmarshal(value, &answer); err != nil {
			return nil, err
		}
		if answer.Result != nil {
			value = answer.Result
		}
	}
	if value[0] == '[' {
		return list, json.Unmarshal(value, &list)
	}
	list = make([]exported, 1)
	return list, json.Unmarshal(value, &list[0])
}

// domain is what the hostname becomes, and note what is not taken over.
func (h *exported) domain() (d shingle.Domain, note string, err error) {
	d = shingle.Domain{Host: h.Hostname, Origin: h.Origin}
	var set shingle.Settings
	if string(h.Metadata) != "{}" {
		set.Metadata = h.Metadata
	}
	if h.SSL.Settings.MinTLS == "1.3" {
		set.TLS = &shingle.TLS{MinVersion: "1.3"}
	}
	if h.SSL.Settings.HTTP3 == shingle.HTTP3Off {
		set.HTTP3 = shingle.HTTP3Off
	}
	if shingle.IsCloudflareID(h.ID) {
		set.CloudflareID = h.ID
	}
	d.Settings, err = set.Text()
	return d, h.left(), err
}

// left says what has no place here.
func (h *exported) left() string {
	var list []string
	add := func(is bool, what string) {
		if is {
			list = append(list, what)
		}
	}
	s := &h.SSL.Settings
	add(h.SNI != "" && !strings.EqualFold(h.SNI, h.Origin), "custom_origin_sni")
	add(h.SSL.Wildcard && !strings.HasPrefix(h.Hostname, "*."), "ssl.wildcard (add *."+h.Hostname+" too)")
	add(h.SSL.Uploaded != "", "the certificate that was uploaded")
	add(s.HTTP2 == "off", "http2 off")
	add(s.TLS13 == "off", "tls_1_3 off")
	add(s.EarlyHints == "on", "early_hints")
	add(slices.Contains([]string{"1.0", "1.1"}, s.MinTLS), "min_tls_version "+s.MinTLS+" (1.2 is the least)")
	add(len(s.Ciphers) > 0, "ciphers")
	if list == nil {
		return ""
	}
	return "not taken over: " + strings.Join(list, ", ")
}

// bounded reads no further than until, which is moved on as what was read is used.
type bounded struct {
	r           io.Reader
	read, until int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.read >= b.until {
		return 0, errors.New("it has more than 16 MiB")
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.until-b.read)])
	b.read += int64(n)
	return n, err
}
