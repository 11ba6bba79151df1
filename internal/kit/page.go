package kit

import (
	"bytes"
	"embed"
	"html/template"
	"strings"

	"github.com/shingle-proxy/shingle"
)

//go:embed setup.html setup.css page.css setup.js
var assets embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{"dots": dots}).ParseFS(assets, "setup.html"))

// dots lets long names break where they have dots.
func dots(s string) template.HTML {
	return template.HTML(strings.ReplaceAll(template.HTMLEscapeString(s), ".", ".<wbr>")) //nolint:gosec // is escaped
}

// render executes a template.
func render(name string, v *view) ([]byte, error) {
	var b bytes.Buffer
	err := pages.ExecuteTemplate(&b, name, v)
	return b.Bytes(), err
}

// step is one of those that lead to a site that is live.
type step struct {
	Number int
	Name   string // key of a text
	Is     string // done, now or later
}

// Says is the key of the text for those who do not see its colour.
func (s step) Says() string { return "step.is." + s.Is }

// Steps returns the steps, and which are done.
func (v *view) Steps() []step {
	steps := []step{{1, "step.dns", ""}, {2, "step.certificate", ""}, {3, "step.live", ""}}
	at := map[stage]int{stageDNS: 0, stageCertificate: 1, stageLive: len(steps)}[v.Stage]
	for i := range steps {
		switch {
		case i < at:
			steps[i].Is = "done"
		case i == at:
			steps[i].Is = "now"
		default:
			steps[i].Is = "later"
		}
	}
	return steps
}

// Wildcard reports whether the domain is one, which no link can open.
func (v *view) Wildcard() bool { return shingle.IsWildcard(v.ASCII) }

// Title is that of the page.
func (v *view) Title() string {
	if v.Stage == stageGone {
		return v.Say(v.Head)
	}
	return v.Say("title")
}

// SupportText is how the address of the support is written.
func (v *view) SupportText() string {
	_, text, _ := strings.Cut(v.Support, ":")
	return strings.TrimPrefix(text, "//")
}

// named is a language by its own name.
type named struct{ Code, Name string }

// Others returns the languages that there are.
func (v *view) Others() (list []named) {
	for _, code := range Languages {
		list = append(list, named{code, texts[code]["language"]})
	}
	return list
}

// row is a record as it is shown.
type row struct {
	*words
	shingle.DNSRecord
	Kind string // set or remove
}

// Row is for the template.
func (v *view) Row(r shingle.DNSRecord, kind string) row { return row{&v.words, r, kind} }

// copied is what a button copies.
type copied struct {
	*words
	Text, Label, Key string
}

// Copy is for the template. what is the key of the name of the field.
func (r row) Copy(text, what string) copied {
	label := r.Say("copy.what", "{what}", r.Say(what)+" "+text)
	return copied{r.words, text, label, what + " " + r.Type + " " + r.FQDN}
}
