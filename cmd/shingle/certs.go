package main

import (
	"context"
	"fmt"
	"time"

	"github.com/shingle-proxy/shingle/internal/api"
)

// certsCmd is a client of the API.
type certsCmd struct {
	apiFlags

	List     certsListCmd     `cmd:"" help:"List the certificates."`
	Show     certsShowCmd     `cmd:"" help:"Show a certificate, and what is planned for it."`
	Upload   certsUploadCmd   `cmd:"" help:"Serve a certificate of your own."`
	Import   certsImportCmd   `cmd:"" help:"Take over the certificates of Caddy, Traefik, or a folder of PEM files."`
	Renew    certsRenewCmd    `cmd:"" help:"Renew certificates now."`
	Queue    certsQueueCmd    `cmd:"" help:"Show what waits for the certificate authorities, and their budgets."`
	Calendar certsCalendarCmd `cmd:"" help:"Show how many certificates are renewed on which day."`
	Drill    certsDrillCmd    `cmd:"" help:"Show how long it would take to replace every certificate now, as after a mass revocation."`
	Rm       certsRmCmd       `cmd:"" help:"Remove certificates, and have them issued anew."`
	Rewrap   certsRewrapCmd   `cmd:"" help:"Have what is secret protected by the current keys alone, or give up a lost one."`
}

type certsListCmd struct {
	JSON bool `name:"json" help:"Print a JSON array."`
}

// Run lists all certificates.
func (c *certsListCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Certs.client()
	if err != nil {
		return err
	}
	list, err := collect(client.Certificates(ctx))
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, list)
	}
	return printCertificates(s.Out, list, time.Now())
}

type certsShowCmd struct {
	Host string `arg:"" help:"The customer's name."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Run shows a certificate.
func (c *certsShowCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Certs.client()
	if err != nil {
		return err
	}
	cert, err := client.Certificate(ctx, c.Host)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, cert)
	}
	return printCertificate(s.Out, cert, time.Now())
}

type certsRenewCmd struct {
	Hosts []string `arg:"" name:"host" help:"The customers' names."`
}

// Run has certificates renewed.
func (c *certsRenewCmd) Run(ctx context.Context, all *cli, s streams) error {
	client, err := all.Certs.client()
	if err != nil {
		return err
	}
	return each(c.Hosts, func(host string) error {
		cert, err := client.RenewCertificate(ctx, host)
		if err == nil {
			fmt.Fprintf(s.Out, "renewal of %s begins; see it with: shingle certs show %s\n", cert.Host, cert.Host)
		}
		return err
	})
}

type certsQueueCmd struct {
	Limit int  `default:"20" help:"How many hosts to show, at most 1000."`
	JSON  bool `name:"json" help:"Print JSON."`
}

// Run shows the queue.
func (c *certsQueueCmd) Run(ctx context.Context, all *cli, s streams) error {
	q, err := all.Certs.queue(ctx, c.Limit, false)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, q)
	}
	return printQueue(s.Out, q)
}

type certsDrillCmd struct {
	Limit int  `default:"20" help:"How many hosts to show, at most 1000; the last to be done is always shown."`
	JSON  bool `name:"json" help:"Print JSON."`
}

// Run shows the drill. It changes nothing.
func (c *certsDrillCmd) Run(ctx context.Context, all *cli, s streams) error {
	q, err := all.Certs.queue(ctx, c.Limit, true)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, q)
	}
	return printDrill(s.Out, q, time.Now())
}

func (c *certsCmd) queue(ctx context.Context, limit int, drill bool) (api.Queue, error) {
	client, err := c.client()
	if err != nil {
		return api.Queue{}, err
	}
	return client.Queue(ctx, limit, drill)
}
