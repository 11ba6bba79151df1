package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/aws"
)

type smokeCmd struct {
	apiFlags
	accountFlags
	Stage  string        `placeholder:"NAME" help:"Stage on AWS, whose API, edges and name are then known. Without it: the API of --api, or the shingle dev that runs here."`
	Region string        `default:"us-east-1" placeholder:"REGION" help:"Its home region."`
	Below  string        `placeholder:"HOST" help:"The test domain is a name below this one, all of which lead to the edges. Default: what customers' CNAME records of the stage lead to; localhost for shingle dev."`
	Edge   []string      `placeholder:"ADDRESS" help:"Addresses of the edges, each of which is asked. Default: those of the stage."`
	Echo   string        `placeholder:"PATH" help:"Path of your product whose answer shows the header User-Custom-Domain as it got it, name and value. Without it that is not checked."`
	CARoot string        `name:"ca-root" placeholder:"FILE" type:"existingfile" help:"PEM file that verifies the certificate, when the CA is one for tests."`
	Wait   time.Duration `default:"5m" placeholder:"TIME" help:"How long the certificate may take, and the edges to hear of the deletion."`
}

// Help is what --help adds.
func (smokeCmd) Help() string {
	return `It deploys nothing. It adds a domain of its own, waits for its certificate, visits it by the way of visitors
and at each edge, deletes it, and sees to it that no edge serves it any more: a line for each, with the time that it
took. The domain is deleted whatever happens. It costs the CA one order. On AWS it needs credentials that may look at the
stage, and an API token in SHINGLE_TOKEN.`
}

// smoke is an installation that is tried.
type smoke struct {
	client *api.Client
	out    io.Writer
	host   string
	port   string   // of HTTPS
	edges  []string // addresses, each IP:port
	front  bool     // the name is to lead to the edges by DNS
	roots  *x509.CertPool
	echo   string
	wait   time.Duration
}

// Run tries an installation from end to end.
func (c *smokeCmd) Run(ctx context.Context, s streams) error {
	x := &smoke{out: s.Out, port: "443", echo: c.Echo, wait: c.Wait}
	var err error
	if c.Stage != "" {
		err = c.ofStage(ctx, x, s)
	} else {
		err = c.ofAPI(x)
	}
	if err != nil {
		return err
	}
	for _, address := range c.Edge {
		if _, err := netip.ParseAddr(address); err == nil {
			address = net.JoinHostPort(address, x.port)
		}
		if _, err := netip.ParseAddrPort(address); err != nil {
			return shingle.Errorf(shingle.CodeInvalid, "--edge: %q is no address, such as 192.0.2.1", address)
		}
		x.edges = append(x.edges, address)
	}
	if c.CARoot != "" {
		if x.roots, err = readRoot(c.CARoot); err != nil {
			return err
		}
	}
	below := cmp.Or(c.Below, x.host)
	if below == "" {
		return errors.New("--below: name the host whose names lead to the edges")
	}
	x.host = "smoke-" + strings.ToLower(rand.Text()[:10]) + "." + below
	return x.run(ctx)
}

func readRoot(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, shingle.Errorf(shingle.CodeInvalid, "%s has no certificate in PEM form", path)
	}
	return roots, nil
}

// ofStage finds out what there is to try, and whether all of it is in order.
func (c *smokeCmd) ofStage(ctx context.Context, x *smoke, s streams) error {
	f := stageFlags{Stage: c.Stage, Region: c.Region, accountFlags: c.accountFlags}
	d, err := f.open(ctx, s)
	if err != nil {
		return err
	}
	if d.Deployment.Name == "" {
		return shingle.Errorf(shingle.CodeNotFound, "there is no stage %s in %s", c.Stage, c.Region)
	}
	if err := x.step("stacks and instances are in order", func() (string, error) { return stageInOrder(ctx, d) }); err != nil {
		return err
	}
	entry, err := d.Entry(ctx)
	if err != nil {
		return err
	}
	for _, address := range entry.Addresses {
		x.edges = append(x.edges, net.JoinHostPort(address, x.port))
	}
	x.host, x.front = d.Deployment.Name, true
	if c.Token == "" {
		return errors.New("--token: name an API token, or set SHINGLE_TOKEN; shingle deploy --new-token makes one")
	}
	x.client, err = api.NewClient(cmp.Or(c.API, entry.API), c.Token)
	return err
}

// stageInOrder returns what is there, or what is not as it should be.
func stageInOrder(ctx context.Context, d *aws.Deployer) (string, error) {
	status, err := d.Status(ctx)
	if err != nil {
		return "", err
	}
	var faults []error
	for _, s := range status.Stacks {
		if !strings.HasSuffix(s.Status, "_COMPLETE") || strings.HasPrefix(s.Status, "ROLLBACK") || strings.HasPrefix(s.Status, "DELETE") {
			faults = append(faults, fmt.Errorf("%s is %s", s.Stack, s.Status))
		}
	}
	serving := map[string]int{}
	for _, e := range status.Edges {
		if e.State == "InService" && e.Health == "Healthy" {
			serving[e.Region]++
		}
	}
	for _, r := range d.Deployment.Regions {
		if serving[r.Name] < r.Edges {
			faults = append(faults, fmt.Errorf("in %s %d of %d edges are in service", r.Name, serving[r.Name], r.Edges))
		}
	}
	return fmt.Sprintf("%d stacks, %d edges", len(status.Stacks), len(status.Edges)), errors.Join(faults...)
}

// ofAPI tries what an API belongs to; without one, the shingle dev of this machine.
func (c *smokeCmd) ofAPI(x *smoke) (err error) {
	if x.client, err = c.client(); err != nil || c.API != "" {
		x.front = err == nil
		return err
	}
	dir, err := devData(c.Data)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, "endpoints.json"))
	var e struct{ HTTPS, Origin string }
	if err == nil {
		err = json.Unmarshal(data, &e)
	}
	if err != nil {
		return fmt.Errorf("read where shingle dev is: %w", err)
	}
	x.edges, x.host = []string{e.HTTPS}, "localhost"
	if e.Origin != "" {
		x.echo = cmp.Or(x.echo, "/?format=json")
	}
	x.roots, err = readRoot(filepath.Join(dir, "ca", "root.pem"))
	return err
}

// step does one thing, and prints how it went.
func (x *smoke) step(what string, do func() (string, error)) error {
	begun := time.Now()
	found, err := do()
	took := time.Since(begun).Round(time.Millisecond)
	if err != nil {
		_, _ = fmt.Fprintf(x.out, "FAILED  %s, after %s: %v\n", what, took, err)
		return fmt.Errorf("%s: %w", what, err)
	}
	if found != "" {
		what += ": " + found
	}
	_, _ = fmt.Fprintf(x.out, "ok      %s (%s)\n", what, took)
	return nil
}

// run tries everything. The domain is deleted whatever happens.
func (x *smoke) run(ctx context.Context) (err error) {
	if err := x.step("the API answers", func() (string, error) { return x.processes(ctx) }); err != nil {
		return err
	}
	if err := x.step("domain "+x.host+" is added", func() (string, error) {
		_, err := x.client.CreateDomain(ctx, api.NewDomain{Host: x.host})
		return "", err
	}); err != nil {
		return err
	}
	deleted := false
	defer func() {
		if deleted {
			return
		}
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second) // also when ctx ended
		defer cancel()
		if gone := x.step("domain is deleted", func() (string, error) { return "", x.client.DeleteDomain(after, x.host) }); gone != nil {
			err = errors.Join(err, fmt.Errorf("delete it yourself, by shingle domains rm %s: %w", x.host, gone))
		}
	}()
	if err := x.step("its certificate is there", func() (string, error) { return x.certified(ctx) }); err != nil {
		return err
	}
	if err := x.visits(ctx); err != nil {
		return err
	}
	if err := x.step("domain is deleted", func() (string, error) { return "", x.client.DeleteDomain(ctx, x.host) }); err != nil {
		return err
	}
	deleted = true
	return x.step("no edge serves it any more", func() (string, error) { return x.refused(ctx) })
}

// processes returns how many processes of the fleet the API knows. One that is not
// well, or was replaced a moment ago, is for shingle edges to judge.
func (x *smoke) processes(ctx context.Context) (string, error) {
	list, err := collect(x.client.Edges(ctx))
	if err != nil {
		return "", err
	}
	found, faults := fmt.Sprintf("%d processes have reported", len(list)), 0
	if len(list) == 1 {
		found = "1 process has reported"
	}
	for _, e := range list {
		if troubled(e) {
			faults++
		}
	}
	if faults > 0 {
		found += fmt.Sprintf("; see shingle edges about %d of them", faults)
	}
	return found, nil
}

func (x *smoke) certified(ctx context.Context) (string, error) {
	var c api.Certificate
	err := x.until(ctx, func() (err error) {
		if c, err = x.client.Certificate(ctx, x.host); err != nil {
			return err
		}
		switch {
		case c.State == "valid":
			return nil
		case c.Failed != nil:
			return fmt.Errorf("it is %s: %s", c.State, c.Failed.Message)
		}
		return fmt.Errorf("it is %s", c.State)
	})
	return "by " + c.Issuer + " until " + c.NotAfter.UTC().Format(time.DateOnly), err
}

// visits goes by the way of visitors, and then to each edge.
func (x *smoke) visits(ctx context.Context) error {
	if x.front {
		if err := x.step("HTTPS by the name", func() (string, error) { return x.visit(ctx, "") }); err != nil {
			return err
		}
	}
	for _, edge := range x.edges {
		if err := x.step("HTTPS at edge "+edge, func() (string, error) {
			var found string
			err := x.until(ctx, func() (err error) { found, err = x.visit(ctx, edge); return err })
			return found, err
		}); err != nil {
			return err
		}
	}
	return nil
}

// smokeEvery is how often something is tried again.
const smokeEvery = time.Second

// until tries something again and again, as long as patience lasts.
func (x *smoke) until(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, x.wait)
	defer cancel()
	tick := time.NewTicker(smokeEvery)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// visit asks for the host, at an edge or wherever its name leads to, and returns what
// was found.
func (x *smoke) visit(ctx context.Context, edge string) (string, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: x.roots}, ForceAttemptHTTP2: true, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, cmp.Or(edge, address))
		},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport: transport, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+net.JoinHostPort(x.host, x.port)+cmp.Or(x.echo, "/"), nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", err
	}
	found := fmt.Sprintf("%s %d, certificate %x", resp.Proto, resp.StatusCode, resp.TLS.PeerCertificates[0].SerialNumber)
	switch {
	case resp.StatusCode >= 500:
		return found, fmt.Errorf("the answer is %s", resp.Status)
	case x.echo == "":
		return found + "; what the product got is not checked without --echo", nil
	case !x.shown(body):
		return found, fmt.Errorf("the answer to %s, %s, does not show the domain as User-Custom-Domain: the product did not get it, or does not show it", x.echo, resp.Status)
	}
	return found + ", User-Custom-Domain arrives", nil
}

// shown reports whether an answer has the header in it, with the host as its value, in
// whatever form.
func (x *smoke) shown(body []byte) bool {
	return regexp.MustCompile(`(?i)user-custom-domain\W{1,12}` + regexp.QuoteMeta(x.host)).Match(body)
}

// refused waits until every edge refuses the host in the handshake.
func (x *smoke) refused(ctx context.Context) (string, error) {
	edges := x.edges
	if len(edges) == 0 {
		edges = []string{""} // wherever the name leads to
	}
	for _, edge := range edges {
		err := x.until(ctx, func() error {
			_, err := x.visit(ctx, edge)
			if err != nil && strings.HasSuffix(err.Error(), unrecognizedName) {
				return nil
			}
			return fmt.Errorf("edge %s still answers, or does not say why it does not: %w", edge, cmp.Or(err, errors.New("it serves the domain")))
		})
		if err != nil {
			return "", err
		}
	}
	return "", nil
}

// unrecognizedName is what crypto/tls says of the alert of RFC 6066 section 3, for which
// it has no type.
const unrecognizedName = "remote error: tls: unrecognized name"
