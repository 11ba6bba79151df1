package api

import (
	"fmt"
	"net/http"
	"strings"
)

// ErrorsPage is docs/errors.md.
func ErrorsPage() string {
	var b strings.Builder
	b.WriteString(`# Errors of the API

Every error is a problem ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) with the
media type ` + "`application/problem+json`" + `:

` + "```json" + `
{"type":"urn:shingle:problem:not_found","title":"Not Found","status":404,
 "detail":"blog.customer.com is not set up here","code":"not_found"}
` + "```" + `

` + "`detail`" + ` is for people, and may change. Programs switch on ` + "`code`" + `, which does not.
Where parts of the request are at fault, ` + "`errors`" + ` has up to ten, each with its
` + "`location`" + ` (such as ` + "`body.host`" + `) and a ` + "`message`" + `.

| code | status | means | what to do |
|---|---|---|---|
`)
	for _, k := range problemKinds {
		fmt.Fprintf(&b, "| `%s` | %d %s | %s | %s |\n", k.Code, k.Status, http.StatusText(k.Status), k.Meaning, k.Do)
	}
	b.WriteString("\nThis page is made from `internal/api/errors.go`.\n")
	return b.String()
}
