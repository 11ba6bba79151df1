package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

// printDomain writes one domain, for people or for programs.
func printDomain(w io.Writer, d api.Domain, asJSON bool) error {
	if asJSON {
		return printJSON(w, d)
	}
	must := ""
	if is := d.Delegation; is != nil && is.Required {
		must = is.Name + " " + is.Type + " " + is.Value
	}
	return printRows(w, append([][2]string{
		{"host", d.Host},
		{"unicode", d.Unicode},
		{"state", stateSince(d)},
		{"because", because(d)},
		{"who acts", whoActs(d)},
		{"next check", nextCheck(d)},
		{"tenant", d.Tenant},
		{"goes to", destination(d)},
		{"customer sets", must},
		{"cname", cname(d)},
		{"txt", proof(d)},
		{"added", localTime(d.CreatedAt)},
		{"changed", localTime(d.UpdatedAt)},
	}, settingRows(d.Settings)...))
}

// cname is what a CNAME record of the customer's is to lead to.
func cname(d api.Domain) string {
	if d.DNS == nil {
		return ""
	}
	return d.DNS.CNAME
}

// proof is the TXT record that proves control, of a domain with a tenant.
func proof(d api.Domain) string {
	if d.DNS == nil || d.DNS.Proof == nil || d.Tenant == "" {
		return ""
	}
	text := d.DNS.Proof.TXT + " " + d.DNS.Proof.Text
	if d.Status != nil && !d.Status.Proven.IsZero() {
		text += " (proven " + localTime(d.Status.Proven) + ")"
	}
	return text
}

// printRows writes a line for each name whose value is not empty.
func printRows(w io.Writer, rows [][2]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		if row[1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", row[0], row[1])
		}
	}
	return t.Flush()
}

// printDomains writes a table with a line a domain.
func printDomains(w io.Writer, list []api.Domain) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "No domains yet. Add one: shingle domains add blog.customer.com")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "HOST\tSTATE\tTENANT\tGOES TO\tADDED")
	for _, d := range list {
		host := d.Host
		if d.Unicode != "" {
			host += " (" + d.Unicode + ")"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", host, state(d), orDash(d.Tenant), destination(d), localTime(d.CreatedAt))
	}
	return t.Flush()
}

// printStatuses prints domains with what their checks found, a line each.
func printStatuses(w io.Writer, list []api.Domain) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "HOST\tSTATE\tSINCE\tWHO ACTS\tTENANT\tREASON")
	for _, d := range list {
		s := d.Status
		if s == nil {
			s = &api.Status{State: "not checked yet"}
		}
		since := ""
		if !s.Since.IsZero() {
			since = localTime(s.Since)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", d.Host, s.State, orDash(since), orDash(s.Who), orDash(d.Tenant), orDash(s.Reason))
	}
	return t.Flush()
}

// printJSON writes what a program reads.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// stateSince is what the operator decided, or else what the checks found.
func stateSince(d api.Domain) string {
	if d.Status == nil || d.Paused {
		return state(d)
	}
	return d.Status.State + " since " + localTime(d.Status.Since)
}

func because(d api.Domain) string {
	if d.Status == nil {
		return ""
	}
	return d.Status.Message
}

func whoActs(d api.Domain) string {
	if d.Status == nil || d.Status.Who == shingle.WhoNobody {
		return ""
	}
	return "the " + d.Status.Who
}

func nextCheck(d api.Domain) string {
	if d.Status == nil {
		return ""
	}
	return timeOrEmpty(d.Status.Next)
}

func state(d api.Domain) string {
	if d.Paused {
		return "paused"
	}
	return "allowed"
}

func destination(d api.Domain) string {
	set, _ := shingle.SettingsText(d.Settings).Parse() // of a newer server there may be more
	switch {
	case set.Redirect != nil:
		return "redirect to " + set.Redirect.To
	case d.Redirect != "":
		return "redirect to " + d.Redirect
	case d.Origin != "":
		return d.Origin
	}
	return "the target"
}

func localTime(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// bar is as long as n is of most, which fills the width; what is not nothing is seen.
func bar(n, most, width int) string {
	if n == 0 {
		return ""
	}
	return strings.Repeat("#", max(1, int(float64(n)/float64(most)*float64(width)+0.5)))
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
