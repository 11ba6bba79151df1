package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	"github.com/shingle-proxy/shingle"
)

// jsonLines is the other form in which a job can be sent: a domain a line.
const jsonLines = "application/x-ndjson"

// jobLines reads that form. Lines are checked here, so that what is wrong is told by the
// number of its line.
type jobLines struct {
	schemas huma.Registry
	domain  *huma.Schema
}

func newJobLines(a huma.API) *jobLines {
	schemas := a.OpenAPI().Components.Schemas
	return &jobLines{schemas, schemas.Map()["NewDomain"]}
}

// describe adds the form to the description of an operation.
func (j *jobLines) describe(op *huma.Operation) {
	op.RequestBody.Content[jsonLines] = &huma.MediaType{
		Schema:  &huma.Schema{Type: huma.TypeString, Description: "A domain a line: an object as in domains, or a host alone as a string. Lines without anything count, and say nothing"},
		Example: "{\"host\":\"blog.customer.com\",\"tenant\":\"acme\"}\n\"shop.customer.com\"\n",
	}
}

// turn turns a request with JSON lines into one with a [NewJob]; any other it returns as it
// is. The body must be bounded.
func (j *jobLines) turn(r *http.Request) (*http.Request, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != jsonLines {
		return r, nil
	}
	q := r.URL.Query()
	n, err := linesJob(q)
	if err != nil {
		return r, err
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return r, err
	}
	lines, err := j.read(data, n.Kind)
	if err != nil {
		return r, err
	}
	body, err := n.body(lines)
	if err != nil {
		return r, err
	}
	q.Del("kind")
	q.Del("revoke")
	r = r.Clone(r.Context())
	r.URL.RawQuery = q.Encode()
	r.Header.Set("Content-Type", "application/json")
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return r, nil
}

// linesJob is the job of which the lines are sent, as the query has it.
func linesJob(q url.Values) (n NewJob, err error) {
	n.Kind = q.Get("kind")
	if n.Kind != string(shingle.JobCreate) && n.Kind != string(shingle.JobDelete) {
		return n, at("query.kind", shingle.Errorf(shingle.CodeInvalid, "say what to do with the lines: ?kind=create or ?kind=delete"))
	}
	if q.Has("revoke") {
		if n.Revoke, err = strconv.ParseBool(q.Get("revoke")); err != nil {
			return n, at("query.revoke", shingle.Errorf(shingle.CodeInvalid, "revoke is true or false"))
		}
	}
	return n, nil
}

// body is the job with the lines, as JSON.
func (n *NewJob) body(lines []json.RawMessage) ([]byte, error) {
	to := "domains"
	if n.Kind == string(shingle.JobDelete) {
		to = "hosts"
	}
	return json.Marshal(map[string]any{"kind": n.Kind, "revoke": n.Revoke, to: lines})
}

// read takes the lines apart: objects to create, strings to delete.
func (j *jobLines) read(data []byte, kind string) (lines []json.RawMessage, err error) {
	var faults []InvalidField
	n := 0
	for line := range bytes.Lines(bytes.TrimPrefix(data, []byte("\ufeff"))) {
		n++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		x, fault := j.line(line, kind)
		if fault == "" && len(lines) == shingle.MaxJobLines {
			fault = fmt.Sprintf("a job has at most %d lines: send the others as another", shingle.MaxJobLines)
		}
		if lines = append(lines, x); fault == "" {
			continue
		}
		if faults = append(faults, InvalidField{Location: fmt.Sprintf("body.line %d", n), Message: fault}); len(faults) == maxErrors || len(lines) > shingle.MaxJobLines {
			break
		}
	}
	if faults == nil {
		return lines, nil
	}
	details := make([]string, len(faults))
	for i, f := range faults {
		details[i] = fieldOf(f.Location) + ": " + f.Message
	}
	p := newProblem(http.StatusUnprocessableEntity, shingle.CodeInvalid, strings.Join(details, "; "))
	p.Errors = faults
	return nil, p
}

// line returns a line as the job has it, or what is wrong with it.
func (j *jobLines) line(text []byte, kind string) (line json.RawMessage, fault string) {
	if len(text) > shingle.MaxJobLine {
		return nil, "a line has at most 65536 bytes"
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&v); err != nil {
		return nil, "this is not JSON: " + notJSON(err)
	}
	if d.InputOffset() != int64(len(text)) {
		return nil, "there is something behind the end of the JSON: each line is one object, or one string"
	}
	host, isHost := v.(string)
	if isHost {
		v = map[string]any{"host": host}
	}
	if fault := j.check(v); fault != "" {
		return nil, fault
	}
	switch remove := kind == string(shingle.JobDelete); {
	case remove && !isHost:
		var d NewDomain
		if err := json.Unmarshal(text, &d); err != nil {
			return nil, err.Error()
		}
		line, _ = json.Marshal(d.Host) // a string
	case !remove && isHost:
		line, _ = json.Marshal(v) // of a string
	default:
		line = text
	}
	return line, ""
}

// notJSON says where the end came, rather than that it did.
func notJSON(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends in the middle"
	}
	return err.Error()
}

// check returns what is wrong with a domain; empty: nothing.
func (j *jobLines) check(v any) string {
	var found huma.ValidateResult
	huma.Validate(j.schemas, j.domain, huma.NewPathBuffer(nil, 0), huma.ModeWriteToServer, v, &found)
	var faults []string
	for _, err := range found.Errors {
		e, ok := errors.AsType[*huma.ErrorDetail](err)
		if !ok {
			faults = append(faults, err.Error())
			continue
		}
		message := e.Message
		if message == validation.MsgUnexpectedProperty {
			message = "there is no such member"
		}
		if where := knownLocation(e.Location); where != "" {
			message = where + ": " + message
		}
		faults = append(faults, message)
	}
	return strings.Join(faults[:min(len(faults), 3)], ", ")
}

// CreateJobOf has the fleet work on the domains of JSON lines, each an object as of
// [NewDomain] or a host as a string. A line that is neither is an error whose field is
// "line" and its number.
func (c *Client) CreateJobOf(ctx context.Context, kind string, revoke bool, lines []byte) (out Job, err error) {
	q := url.Values{"kind": {kind}, "revoke": {strconv.FormatBool(revoke)}}
	return out, c.call(ctx, http.MethodPost, "/v1/jobs?"+q.Encode(), linesBody(lines), &out)
}

// linesBody is a body that is sent as JSON lines.
type linesBody []byte
