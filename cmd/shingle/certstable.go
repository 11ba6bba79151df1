package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/shingle-proxy/shingle/internal/api"
)

func printCertificate(w io.Writer, c api.Certificate, now time.Time) error {
	return printRows(w, [][2]string{
		{"host", c.Host},
		{"state", c.State},
		{"tenant", c.Tenant},
		{"issuer", issuerOf(c)},
		{"serial", c.Serial},
		{"valid from", timeOrEmpty(c.NotBefore)},
		{"valid until", timeOrEmpty(c.NotAfter) + left(c.NotAfter, now)},
		{"renewal", renewalOf(c)},
		{"looked at", timeOrEmpty(c.Next)},
		{"CA's advice", c.Advice},
		{"problem", problemOf(c)},
		{"who acts", actor(c)},
		{"warning", strings.Join(c.Warnings, "; ")},
		{"CA's limits", limits(c)},
	})
}

func printCertificates(w io.Writer, list []api.Certificate, now time.Time) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "No certificates yet. They come with the domains: shingle domains add blog.customer.com")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "HOST\tSTATE\tDAYS LEFT\tNEXT\tPROBLEM")
	for _, c := range list {
		days := "-"
		if c.NotAfter.After(now) {
			days = fmt.Sprint(int(c.NotAfter.Sub(now).Hours() / 24))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", c.Host, c.State, days, orDash(timeOrEmpty(c.Next)), orDash(cmp.Or(problemOf(c), strings.Join(c.Warnings, "; "))))
	}
	return t.Flush()
}

func printBudgets(w io.Writer, q api.Queue) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "CA\tNEW ORDERS LEFT\tRENEWALS LEFT\tNOT BEFORE")
	for _, ca := range q.CAs {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", ca.Directory, budget(ca.Orders), budget(ca.Renewals), orDash(timeOrEmpty(ca.NotBefore)))
	}
	return t.Flush()
}

func printQueue(w io.Writer, q api.Queue) error {
	if err := printBudgets(w, q); err != nil {
		return err
	}
	more := ""
	if q.More {
		more = " or more"
	}
	fmt.Fprintf(w, "\n%d%s without a certificate wait, %d are looked at for renewal\n", q.New, more, q.Renew)
	return printWaiting(w, q.Waiting)
}

func printDrill(w io.Writer, q api.Queue, now time.Time) error {
	if err := printBudgets(w, q); err != nil {
		return err
	}
	if len(q.Waiting) == 0 {
		_, err := fmt.Fprintln(w, "\nThere is no certificate to replace")
		return err
	}
	last := q.Waiting[len(q.Waiting)-1].ETA
	fmt.Fprintf(w, "\nIf every certificate were revoked now, %d would be replaced in this order,\nthe last %s (in %s). This is a drill: nothing was done.\n",
		q.Renew, localTime(last), last.Sub(now).Round(time.Second))
	return printWaiting(w, q.Waiting)
}

func printWaiting(w io.Writer, list []api.Waiting) error {
	if len(list) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "HOST\tNEEDS\tSINCE\tEXPECTED")
	for _, x := range list {
		needs := "renewal"
		if x.New {
			needs = "first certificate"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", x.Host, needs, localTime(x.Since), localTime(x.ETA))
	}
	return t.Flush()
}

func budget(b api.Budget) string {
	return fmt.Sprintf("%d of %d in %s", int(b.Left), b.Count, time.Duration(b.Seconds*float64(time.Second)))
}

// limits tells of what was used of the limits for the name, if anything.
func limits(c api.Certificate) string {
	var list []string
	for _, l := range c.Limits {
		if l.Failures.Left >= float64(l.Failures.Count) && l.Certificates.Left >= float64(l.Certificates.Count) {
			continue
		}
		text := fmt.Sprintf("%s: %s may fail, %s may be issued", l.Directory, budget(l.Failures), budget(l.Certificates))
		if !l.NotBefore.IsZero() {
			text += ", none before " + localTime(l.NotBefore)
		}
		list = append(list, text)
	}
	return strings.Join(list, "; ")
}

func issuerOf(c api.Certificate) string {
	if c.Uploaded {
		return "uploaded"
	}
	return c.Issuer
}

func problemOf(c api.Certificate) string {
	if c.Failed == nil {
		return ""
	}
	return c.Failed.Message
}

// renewalOf says when a certificate is replaced.
func renewalOf(c api.Certificate) string {
	if c.Keep {
		return "kept until it ends; upload the next one before"
	}
	return timeOrEmpty(c.RenewAt)
}

// actor says who must act, in words.
func actor(c api.Certificate) string {
	if c.Failed == nil {
		if len(c.Warnings) > 0 {
			return "you"
		}
		return ""
	}
	switch c.Failed.Who {
	case "customer":
		return "the customer, at their DNS"
	case "operator":
		return "you"
	case "ca":
		return "the certificate authority; it will be tried again"
	}
	return "nobody; it will be tried again"
}

func left(until, now time.Time) string {
	switch {
	case until.IsZero():
		return ""
	case until.Before(now):
		return " (expired)"
	}
	return fmt.Sprintf(" (%d days left)", int(until.Sub(now).Hours()/24))
}

func timeOrEmpty(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return localTime(t)
}
