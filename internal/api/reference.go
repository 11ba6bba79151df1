package api

import (
	"bytes"
	"cmp"
	_ "embed"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed reference.html
var referenceHTML string

//go:embed reference.css
var referenceCSS []byte

var referencePage = template.Must(template.New("reference").Parse(referenceHTML))

// reference is the OpenAPI document as people read it.
type reference struct {
	Title, Version, Description string
	Groups                      []referenceGroup
	Schemas                     []referenceSchema
	Errors                      []problemKind
}

// referenceGroup has the operations on one kind of thing.
type referenceGroup struct {
	Name       string
	Operations []referenceOperation
}

type referenceOperation struct {
	ID, Method, Path, Summary string
	Description               []string // paragraphs
	Params                    []referenceField
	Body                      string // name of a schema; empty: none
	Answers                   []referenceAnswer
}

type referenceAnswer struct {
	Status, Description, Schema string
}

type referenceSchema struct {
	Name   string
	Fields []referenceField
}

type referenceField struct {
	Name, In, Type, Schema, Doc string
	Required                    bool
}

// serveReference serves the page at /docs. It asks no other host for anything, and
// has no script.
func (s *server) serveReference(o *huma.OpenAPI) error {
	var page bytes.Buffer
	if err := referencePage.Execute(&page, referenceOf(o)); err != nil {
		return err
	}
	s.public("GET /docs", func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		_, _ = w.Write(page.Bytes()) // a client that has gone will not miss it
	})
	s.public("GET /docs/reference.css", fixed("text/css; charset=utf-8", referenceCSS))
	return nil
}

func referenceOf(o *huma.OpenAPI) reference {
	page := reference{Title: o.Info.Title, Version: o.Info.Version, Description: o.Info.Description, Errors: problemKinds}
	groups := map[string]*referenceGroup{}
	for _, path := range slices.Sorted(maps.Keys(o.Paths)) {
		item := o.Paths[path]
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			name := groupOf(path)
			if groups[name] == nil {
				groups[name] = &referenceGroup{Name: name}
			}
			groups[name].Operations = append(groups[name].Operations, referenceOfOperation(op))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		page.Groups = append(page.Groups, *groups[name])
	}
	schemas := o.Components.Schemas.Map()
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		if fields := fieldsOf(schemas[name]); len(fields) > 0 {
			page.Schemas = append(page.Schemas, referenceSchema{Name: name, Fields: fields})
		}
	}
	return page
}

// groupOf is the first word of a path behind the version.
func groupOf(path string) string {
	path, versioned := strings.CutPrefix(path, "/v1/")
	if !versioned {
		return "for other servers"
	}
	name, _, _ := strings.Cut(path, "/")
	return name
}

func referenceOfOperation(op *huma.Operation) referenceOperation {
	out := referenceOperation{ID: op.OperationID, Method: op.Method, Path: op.Path, Summary: op.Summary}
	for text := range strings.SplitSeq(op.Description, "\n\n") {
		if text != "" {
			out.Description = append(out.Description, text)
		}
	}
	for _, p := range op.Parameters {
		f := referenceField{Name: p.Name, In: p.In, Required: p.Required, Doc: p.Description}
		f.Type, f.Schema = typeOf(p.Schema)
		if f.Doc == "" && p.Schema != nil {
			f.Doc = p.Schema.Description
		}
		out.Params = append(out.Params, f)
	}
	if op.RequestBody != nil {
		out.Body = schemaIn(op.RequestBody.Content)
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		r := op.Responses[status]
		out.Answers = append(out.Answers, referenceAnswer{Status: status, Description: r.Description, Schema: schemaIn(r.Content)})
	}
	return out
}

func schemaIn(content map[string]*huma.MediaType) string {
	for _, m := range content {
		if _, name := typeOf(m.Schema); name != "" {
			return name
		}
	}
	return ""
}

func fieldsOf(s *huma.Schema) (fields []referenceField) {
	for name, p := range s.Properties {
		f := referenceField{Name: name, Doc: p.Description, Required: slices.Contains(s.Required, name)}
		f.Type, f.Schema = typeOf(p)
		fields = append(fields, f)
	}
	slices.SortFunc(fields, func(a, b referenceField) int {
		if a.Required != b.Required {
			if a.Required {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
	})
	return fields
}

// typeOf describes a schema: in words, and by the name of the one that it refers to.
func typeOf(s *huma.Schema) (text, name string) {
	switch {
	case s == nil:
		return "", ""
	case s.Ref != "":
		return "", s.Ref[strings.LastIndex(s.Ref, "/")+1:]
	case s.Type == huma.TypeArray:
		text, name = typeOf(s.Items)
		return strings.TrimSpace("list of " + text), name
	case len(s.Enum) > 0:
		var words []string
		for _, v := range s.Enum {
			if word, ok := v.(string); ok {
				words = append(words, word)
			}
		}
		return strings.Join(words, " | "), ""
	case s.Format != "":
		return s.Format, ""
	}
	return s.Type, ""
}
