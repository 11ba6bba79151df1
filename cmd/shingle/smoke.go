package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/app"
	"github.com/shingle-proxy/shingle/internal/aws"
	"github.com/shingle-proxy/shingle/internal/smoke"
)

type smokeCmd struct {
	apiFlags
	accountFlags
	Stage    string        `placeholder:"NAME" help:"Stage on AWS, whose API, edges and names are then known. Without it: the API of --api, or the shingle dev that runs here."`
	Region   string        `default:"us-east-1" placeholder:"REGION" help:"Its home region."`
	Domain   string        `placeholder:"HOST" help:"Domain of yours to try with, whose DNS leads to the edges. Default: one with a name of its own in the stage's zone, or else below --below."`
	Below    string        `placeholder:"HOST" help:"The domain is a name below this one, all of which lead to the edges. Default: what customers' CNAME records of the stage lead to; localhost for shingle dev."`
	Edge     []string      `placeholder:"ADDRESS" help:"Address of an edge, which is asked too. Several: repeat it. Those of a stage are known."`
	Echo     string        `placeholder:"PATH" help:"Path of your product whose answer shows the header User-Custom-Domain as it got it, name and value. Without it that is not checked."`
	Skip     []string      `placeholder:"STEP" help:"Leave out a step, and what needs it. Several: repeat it."`
	CARoot   string        `name:"ca-root" placeholder:"FILE" type:"existingfile" help:"PEM file that verifies the certificate, when the CA is one for tests."`
	Resolver []string      `placeholder:"ADDRESS" help:"DNS resolver that finds the name servers of the stage's name. Default: the system's."`
	Wait     time.Duration `default:"5m" placeholder:"TIME" help:"How long the certificate may take."`
	Timeout  time.Duration `default:"20m" placeholder:"TIME" help:"How long all may take, but for taking away what was made: two minutes more at most."`
	JSON     bool          `name:"json" help:"Print JSON, at the end."`
	DNSRoot  []string      `name:"dns-root" hidden:"" help:"For tests: in place of the Internet's root servers."`
}

// Help is what --help adds.
func (smokeCmd) Help() string {
	return `It deploys and mends nothing. On AWS it looks at the stacks, the instances, what is before them, the table, the master
key and the alarms; then, there and elsewhere, at the API, the token, the edges, DNS and port 80; it adds a domain
of its own, waits until it is active, visits it by the way of visitors and at each address, deletes it, and sees to it
that no edge serves it any more. A line for each step says what was looked at and how it went; one that failed says why, and
what to do. Steps that do not need it go on. Domain and record are deleted whatever happens, on Ctrl-C too; what a run left
that was killed, the next one deletes. It costs the CA one order. On AWS it needs credentials as for shingle deploy,
and an API token in SHINGLE_TOKEN.

Exit codes: 0 if all is well; 1 if a step failed; 2 if the command line cannot be understood; 3 if nothing failed, but not all
could be tried: there are no credentials or no stage, it was interrupted, or the time was up.`
}

// Run tries an installation from end to end.
func (c *smokeCmd) Run(ctx context.Context, s streams) error {
	r := smokeReport{Stage: c.Stage, Begun: time.Now().UTC().Truncate(time.Second)}
	x := &smoke.Installation{Domain: c.Domain, Below: c.Below, Echo: c.Echo, Wait: c.Wait, Settle: settleTime, Old: c.Timeout}
	if err := c.apply(x); err != nil {
		return &exitError{misunderstood, err}
	}
	steps, err := c.steps(ctx, x, s)
	if err != nil {
		return &exitError{untried, err}
	}
	if err := c.skip(steps); err != nil {
		return &exitError{misunderstood, err}
	}
	within, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	r.Steps = smoke.Run(within, steps, func(each smoke.Result) {
		if !c.JSON {
			printSmoke(s.Out, each)
		}
	})
	return r.end(s.Out, c.JSON, c.Skip)
}

// settleTime is for edges: twice what one takes from its first report to the next, and many
// times what it takes to hear of a change.
const settleTime = 20 * time.Second

// Exit codes.
const (
	misunderstood = 2 // the command line
	untried       = 3
)

// steps are those of what the flags name.
func (c *smokeCmd) steps(ctx context.Context, x *smoke.Installation, s streams) ([]shingle.SmokeStep, error) {
	if c.Stage != "" {
		return c.ofStage(ctx, x, s)
	}
	if err := c.ofAPI(x); err != nil {
		return nil, err
	}
	if x.Domain == "" && x.Below == "" {
		return nil, errors.New("--domain: name a domain whose DNS leads to the edges, or with --below a host whose names do")
	}
	return x.Steps(), nil
}

// apply reads what the flags say.
func (c *smokeCmd) apply(x *smoke.Installation) error {
	for _, text := range c.Edge {
		a, err := netip.ParseAddrPort(text)
		if addr, plain := netip.ParseAddr(text); plain == nil {
			x.Front = append(x.Front, usualPorts(addr))
			continue
		}
		if err != nil {
			return shingle.Errorf(shingle.CodeInvalid, "--edge: %q is no address, such as 192.0.2.1", text)
		}
		x.Front = append(x.Front, smoke.Address{HTTPS: a})
	}
	for _, host := range []*string{&x.Domain, &x.Below} {
		if *host == "" {
			continue
		}
		var err error
		if *host, err = shingle.NormalizeHost(*host); err != nil {
			return fmt.Errorf("--domain and --below: %w", err)
		}
	}
	if c.CARoot == "" {
		return nil
	}
	var err error
	x.Roots, err = readRoot(c.CARoot)
	return err
}

func usualPorts(a netip.Addr) smoke.Address {
	return smoke.Address{HTTPS: netip.AddrPortFrom(a, 443), HTTP: netip.AddrPortFrom(a, 80)}
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

// ofStage finds out what there is to try of a stage.
func (c *smokeCmd) ofStage(ctx context.Context, x *smoke.Installation, s streams) ([]shingle.SmokeStep, error) {
	f := stageFlags{Stage: c.Stage, Region: c.Region, accountFlags: c.accountFlags}
	d, err := f.open(ctx, s)
	if err != nil {
		return nil, err
	}
	if d.Deployment.Name == "" {
		return nil, shingle.Errorf(shingle.CodeNotFound, "there is no stage %s in %s: name its home region with --region", c.Stage, c.Region)
	}
	steps := d.Smoke()
	if err := c.reach(ctx, d, x); err != nil {
		steps = append(steps, shingle.SmokeStep{
			Name: "entry", What: "how the stage is reached", Within: time.Minute,
			Do: func(context.Context) (string, error) {
				return "", &shingle.SmokeFault{Reason: err.Error(), Do: "shingle deploy"}
			},
		})
		return steps, nil
	}
	return slices.Concat(steps, x.Steps(), []shingle.SmokeStep{d.SmokeDrift()}), nil
}

// reach finds out how a stage is reached.
func (c *smokeCmd) reach(ctx context.Context, d *aws.Deployer, x *smoke.Installation) error {
	entry, err := d.Entry(ctx)
	if err != nil {
		return err
	}
	for _, text := range entry.Addresses {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("the address %q of the stage: %w", text, err)
		}
		x.Front = append(x.Front, usualPorts(a))
	}
	x.Edges = map[string]int{}
	for _, r := range d.Deployment.Regions {
		x.Edges[r.Name] = r.Edges
	}
	x.API, x.Target, x.ByName = cmp.Or(c.API, entry.API), d.Deployment.Name, true
	if x.Names, err = app.NameServers(c.Resolver, c.DNSRoot); err != nil {
		return err
	}
	if c.Token != "" {
		if x.Client, err = api.NewClient(x.API, c.Token); err != nil {
			return err
		}
	}
	if c.Domain != "" || c.Below != "" {
		return nil
	}
	records, err := d.Records(ctx)
	if err == nil && records != nil {
		x.Zone = records
	}
	return err
}

// ofAPI tries what an API belongs to; without one, the shingle dev of this machine.
func (c *smokeCmd) ofAPI(x *smoke.Installation) (err error) {
	x.API = strings.TrimSuffix(c.API, "/")
	if x.Client, err = c.client(); err != nil || c.API != "" {
		x.ByName = err == nil
		return err
	}
	dir, err := devData(c.Data)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, "endpoints.json"))
	var e struct {
		HTTPS, HTTP     netip.AddrPort
		Control, Origin string
	}
	if err == nil {
		err = json.Unmarshal(data, &e)
	}
	if err != nil {
		return fmt.Errorf("read where shingle dev is: %w", err)
	}
	x.API, x.Front, x.Below = "http://"+e.Control, append(x.Front, smoke.Address{HTTPS: e.HTTPS, HTTP: e.HTTP}), cmp.Or(x.Below, "localhost")
	if e.Origin != "" {
		x.Echo = cmp.Or(x.Echo, "/?format=json")
	}
	x.Roots, err = readRoot(filepath.Join(dir, "ca", "root.pem"))
	return err
}

// skip has the steps of --skip not done.
func (c *smokeCmd) skip(steps []shingle.SmokeStep) error {
	for _, name := range c.Skip {
		i := slices.IndexFunc(steps, func(s shingle.SmokeStep) bool { return s.Name == name })
		if i < 0 {
			var names []string
			for _, s := range steps {
				names = append(names, s.Name)
			}
			return fmt.Errorf("--skip: there is no step %q among %s", name, strings.Join(names, ", "))
		}
		if steps[i].Always {
			return fmt.Errorf("--skip: %s takes away what was made, and is never left out", name)
		}
		steps[i].Do = func(context.Context) (string, error) {
			return "", &shingle.SmokeFault{Reason: "--skip", Skipped: true}
		}
	}
	return nil
}
