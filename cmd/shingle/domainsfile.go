package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// row is a line of a file of domains: a domain, or what is wrong with the line.
type row struct {
	line   int
	domain shingle.Domain
	// settings tells that the line says what the domain's are. Otherwise they stay.
	settings bool
	note     string // what the line says that a domain does not have; may be empty
	err      error
}

// domainColumns are the columns of CSV, and the fields of JSON lines.
var domainColumns = []string{"host", "tenant", "origin", "redirect", "paused", "settings"}

const maxLine = 64 << 10 // bytes of a JSON line

// readDomains yields the lines of a file: those of [readCloudflare], JSON lines when it
// begins with "{", otherwise CSV, whose first line may name the columns. A line that is wrong is
// yielded with its error; a file that cannot be read further ends with one that
// has no line.
func readDomains(r io.Reader) iter.Seq[row] {
	b := bufio.NewReaderSize(r, maxLine)
	if bom, _ := b.Peek(3); string(bom) == "\ufeff" {
		_, _ = b.Discard(3) // it is in the buffer
	}
	first, _ := b.Peek(512)
	first = bytes.TrimSpace(first)
	switch {
	case isCloudflare(first):
		return readCloudflare(b)
	case bytes.HasPrefix(first, []byte("{")):
		return readJSONLines(b)
	}
	return readCSV(b)
}

func readJSONLines(b *bufio.Reader) iter.Seq[row] {
	return func(yield func(row) bool) {
		lines := bufio.NewScanner(b)
		lines.Buffer(nil, maxLine)
		n := 0
		for lines.Scan() {
			n++
			if len(bytes.TrimSpace(lines.Bytes())) == 0 {
				continue
			}
			d, err := parseJSONLine(lines.Bytes())
			if !yield(row{line: n, domain: d, settings: d.Settings != "", err: err}) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(row{err: fmt.Errorf("after line %d: %w", n, err)})
		}
	}
}

func parseJSONLine(line []byte) (shingle.Domain, error) {
	var in struct {
		Host, Tenant, Origin, Redirect string
		Paused                         bool
		Settings                       json.RawMessage
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return shingle.Domain{}, shingle.Errorf(shingle.CodeInvalid, "%s; a line is like {\"host\":\"blog.example.com\",\"tenant\":\"acme\"}, with the fields %s",
			strings.TrimPrefix(err.Error(), "json: "), strings.Join(domainColumns, ", "))
	}
	if d.More() {
		return shingle.Domain{}, shingle.Errorf(shingle.CodeInvalid, "there is more than one value on the line")
	}
	return shingle.Domain{Host: in.Host, Tenant: in.Tenant, Origin: in.Origin, Redirect: in.Redirect, Paused: in.Paused, Settings: shingle.SettingsText(in.Settings)}, nil
}

func readCSV(b *bufio.Reader) iter.Seq[row] {
	return func(yield func(row) bool) {
		c := csv.NewReader(b)
		c.FieldsPerRecord, c.Comment, c.TrimLeadingSpace = -1, '#', true
		var columns []string
		for {
			fields, err := c.Read()
			if errors.Is(err, io.EOF) {
				return
			}
			if e, ok := errors.AsType[*csv.ParseError](err); ok {
				if !yield(row{line: e.StartLine, err: shingle.Errorf(shingle.CodeInvalid, "%v", e.Err)}) {
					return
				}
				continue
			}
			if err != nil {
				yield(row{err: err})
				return
			}
			line, _ := c.FieldPos(0)
			if columns == nil {
				var named bool
				if columns, named, err = csvColumns(fields); err != nil {
					yield(row{err: err})
					return
				}
				if named {
					continue
				}
			}
			d, err := parseCSV(columns, fields)
			if !yield(row{line: line, domain: d, settings: d.Settings != "", err: err}) {
				return
			}
		}
	}
}

// csvColumns reads the first line. Without a column "host" it is a line like the
// others, of a file whose columns are ours in their order.
func csvColumns(fields []string) (columns []string, named bool, err error) {
	for _, f := range fields {
		columns = append(columns, strings.ToLower(strings.TrimSpace(f)))
	}
	if !slices.Contains(columns, "host") {
		return domainColumns, false, nil
	}
	for i, c := range columns {
		if !slices.Contains(domainColumns, c) || slices.Index(columns, c) != i {
			return nil, false, shingle.Errorf(shingle.CodeInvalid, "the column %q is unknown or there twice; the columns are %s", c, strings.Join(domainColumns, ", "))
		}
	}
	return columns, true, nil
}

func parseCSV(columns, fields []string) (d shingle.Domain, err error) {
	if len(fields) > len(columns) {
		return d, shingle.Errorf(shingle.CodeInvalid, "the line has %d fields, but there are %d columns (%s)", len(fields), len(columns), strings.Join(columns, ","))
	}
	for i, value := range fields {
		value = strings.TrimSpace(value)
		switch columns[i] {
		case "host":
			d.Host = value
		case "tenant":
			d.Tenant = value
		case "origin":
			d.Origin = value
		case "redirect":
			d.Redirect = value
		case "settings":
			d.Settings = shingle.SettingsText(value)
		case "paused":
			if value == "" {
				continue
			}
			if d.Paused, err = strconv.ParseBool(value); err != nil {
				return d, shingle.Errorf(shingle.CodeInvalid, "paused: %q is neither true nor false", value)
			}
		}
	}
	return d, nil
}
