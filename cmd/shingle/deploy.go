package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/aws"
)

// accountFlags say which AWS account.
type accountFlags struct {
	Endpoint string `name:"aws-endpoint" placeholder:"URL" env:"SHINGLE_AWS_ENDPOINT" hidden:"" help:"For tests: in place of AWS's."`
}

type deployCmd struct {
	deploymentFlags
	accountFlags
	Binary string `placeholder:"FILE" type:"existingfile" help:"The binary to run there, for Linux on arm64. Default: this one if it is such, or else one that is built from the source in this folder."`
	Print  string `placeholder:"DIR" type:"path" help:"Only write the templates into this folder, for a pipeline of your own, and an IAM policy for whoever deploys them."`
	Yes    bool   `help:"Do not ask."`

	OIDCClientSecret string `name:"oidc-client-secret" placeholder:"SECRET" env:"SHINGLE_OIDC_CLIENT_SECRET" help:"The secret that goes with --oidc-client-id: in the environment others on the machine do not see it. It is put into the encrypted parameter /shingle/STAGE/oidc-client-secret, and nowhere else; once it is there it may be left out."`

	NewToken bool `help:"Have an API token made, and print it. The first deployment does so."`
}

// Help is what --help adds.
func (deployCmd) Help() string {
	return `It shows what it will change and what that costs, asks, and then makes the stacks in their order, regions
side by side. Run it again whenever it was cut short: it goes on where it was, and without changes it
changes nothing. AWS credentials are found as every AWS program finds them.`
}

// Run deploys.
func (c *deployCmd) Run(ctx context.Context, s streams) error {
	d, err := c.deployment()
	if err != nil {
		return err
	}
	if err := d.Validate(); err != nil {
		return err
	}
	if c.Print != "" {
		return printTemplates(d, c.Print, s)
	}
	x, err := c.deployer(ctx, d, s)
	if err != nil {
		return err
	}
	x.ClientSecret = c.OIDCClientSecret
	if err := x.CheckClientSecret(ctx); err != nil {
		return err
	}
	if x.Artifacts, err = c.artifacts(ctx, s); err != nil {
		return err
	}
	plan, err := showPlan(ctx, x, s)
	if err != nil {
		return err
	}
	if len(plan.Changes) > 0 && !c.Yes {
		if err := confirm(s, "Deploy this?"); err != nil {
			return err
		}
	}
	if err := x.Deploy(ctx, plan); err != nil {
		return err
	}
	if err := printOutputs(ctx, x, s.Out); err != nil {
		return err
	}
	if plan.Before == nil || c.NewToken {
		return printToken(ctx, x, s)
	}
	fmt.Fprintln(s.Err, "\nAn API token is shown once, by the deployment that makes it; if you have none: shingle deploy --new-token")
	return nil
}

// printToken prints a new API token, which cannot be shown again.
func printToken(ctx context.Context, x *aws.Deployer, s streams) error {
	token, err := x.Token(ctx)
	if err != nil {
		return fmt.Errorf("the stage is deployed, but has no API token yet; shingle deploy --new-token tries again: %w", err)
	}
	fmt.Fprintln(s.Err, "\nThe API token, which is not shown again:")
	_, err = fmt.Fprintln(s.Out, token)
	return err
}

// deployer opens the account.
func (f *accountFlags) deployer(ctx context.Context, d *aws.Deployment, s streams) (*aws.Deployer, error) {
	account, err := aws.OpenAccount(ctx, f.Endpoint)
	if err != nil {
		return nil, err
	}
	id, err := account.ID(ctx, d.Home())
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(s.Err, "stage %s in account %s, home region %s\n", d.Stage, id, d.Home())
	return &aws.Deployer{Account: account, Deployment: d, Report: eventPrinter(s.Err)}, nil
}

// eventPrinter writes each step of a deployment in a line.
func eventPrinter(w io.Writer) aws.Report {
	return func(e aws.Event) {
		what := cmp.Or(e.Resource, "stack")
		line := fmt.Sprintf("%s  %-34s %-20s %s", e.At.Local().Format(time.TimeOnly), e.Stack, e.Status, what)
		if e.Type != "" && e.Resource != "" {
			line += " (" + e.Type + ")"
		}
		if e.Reason != "" {
			line += ": " + e.Reason
		}
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

// artifacts reads the binary to deploy.
func (c *deployCmd) artifacts(ctx context.Context, s streams) (*aws.Artifacts, error) {
	if c.Binary != "" {
		return aws.ReadArtifacts(c.Binary)
	}
	if own, err := os.Executable(); err == nil && runtime.GOOS == "linux" && runtime.GOARCH == "arm64" {
		return aws.ReadArtifacts(own)
	}
	if _, err := os.Stat(filepath.Join("cmd", "shingle", "main.go")); err != nil {
		return nil, shingle.Errorf(shingle.CodeInvalid, "--binary: name a binary for Linux on arm64; this one is for %s on %s, and there is no source in this folder to build one from", runtime.GOOS, runtime.GOARCH)
	}
	dir, err := os.MkdirTemp("", "shingle-deploy-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	fmt.Fprintln(s.Err, "building the binary for Linux on arm64")
	path := filepath.Join(dir, "shingle")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "./cmd/shingle")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	build.Stderr = s.Err
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("build the binary: %w", err)
	}
	return aws.ReadArtifacts(path)
}

func printTemplates(d *aws.Deployment, dir string, s streams) error {
	for _, stack := range d.Stacks() {
		path := filepath.Join(dir, stack.Region, stack.Name+".json")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, stack.Template.JSON(), 0o644); err != nil { //nolint:gosec // templates are no secret
			return err
		}
		fmt.Fprintln(s.Out, path)
	}
	path := filepath.Join(dir, "deployer-policy.json")
	if err := os.WriteFile(path, d.DeployerPolicy(), 0o644); err != nil { //nolint:gosec // no secret either
		return err
	}
	fmt.Fprintln(s.Out, path)
	return nil
}

// showPlan prints what would change, and what it costs.
func showPlan(ctx context.Context, x *aws.Deployer, s streams) (aws.Plan, error) {
	plan, err := x.Plan(ctx)
	if err != nil {
		return plan, err
	}
	if len(plan.Changes) == 0 {
		fmt.Fprintln(s.Out, "Nothing changes.")
		return plan, nil
	}
	printChanges(s.Out, plan)
	bill := x.Deployment.Cost(aws.Load{})
	was := ""
	if plan.Before != nil {
		old := plan.Before.Cost(aws.Load{})
		was = fmt.Sprintf(" (now: %.2f)", old.Total())
	}
	fmt.Fprintf(s.Out, "\nIt costs %.2f USD in 30 days%s, without traffic; shingle cost shows how.\n", bill.Total(), was)
	return plan, nil
}

func printChanges(w io.Writer, plan aws.Plan) {
	stack := ""
	for _, c := range plan.Changes {
		if c.Stack != stack {
			stack = c.Stack
			fmt.Fprintln(w, stack)
		}
		line := "  " + c.String()
		if c.Destroys() || c.Replaces {
			line = colour(w, "31", line)
		}
		if c.Destroys() {
			line += colour(w, "31", "  THIS DESTROYS WHAT CANNOT BE HAD AGAIN")
		}
		fmt.Fprintln(w, line)
	}
	for _, id := range plan.Unsure {
		fmt.Fprintf(w, "%s depends on what other stacks become: AWS may replace more of it than is shown\n", id)
	}
}

// colour paints a line on a terminal, unless NO_COLOR is set.
func colour(w io.Writer, code, line string) string {
	if !isTerminal(w) || os.Getenv("NO_COLOR") != "" {
		return line
	}
	return "\033[" + code + "m" + line + "\033[0m"
}

func printOutputs(ctx context.Context, x *aws.Deployer, w io.Writer) error {
	rows, err := x.Outputs(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(w)
	return printRows(w, rows)
}

type diffCmd struct {
	deploymentFlags
	accountFlags
	Binary string `placeholder:"FILE" type:"existingfile" help:"As for shingle deploy. Default: what runs there stays."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Run shows what would change.
func (c *diffCmd) Run(ctx context.Context, s streams) error {
	d, err := c.deployment()
	if err != nil {
		return err
	}
	if err := d.Validate(); err != nil {
		return err
	}
	x, err := c.deployer(ctx, d, s)
	if err != nil {
		return err
	}
	if c.Binary != "" {
		if x.Artifacts, err = aws.ReadArtifacts(c.Binary); err != nil {
			return err
		}
	}
	if c.JSON {
		plan, err := x.Plan(ctx)
		if err != nil {
			return err
		}
		return printJSON(s.Out, plan)
	}
	_, err = showPlan(ctx, x, s)
	return err
}

// stageFlags name a stage that was deployed.
type stageFlags struct {
	Stage  string `default:"prd" help:"Name of the stage."`
	Region string `default:"us-east-1" placeholder:"REGION" help:"Its home region."`
	accountFlags
}

// open opens the account, with the deployment as it is there, or as much of it as there is.
func (f *stageFlags) open(ctx context.Context, s streams) (*aws.Deployer, error) {
	x, err := f.deployer(ctx, &aws.Deployment{Stage: f.Stage, Regions: []aws.Region{{Name: f.Region, Edges: 1}}}, s)
	if err != nil {
		return nil, err
	}
	return x, x.Found(ctx)
}

type removeCmd struct {
	stageFlags
	DeleteData bool `help:"Delete what is kept otherwise, but a zone that was made: the table, with every domain and every certificate, the master key and the other parameters."`
	Yes        bool `help:"Do not ask whether to remove the stacks. Deleting data is asked for in any case."`
}

// Help is what --help adds.
func (removeCmd) Help() string {
	return `It removes the stage's stacks in all regions, also those that a deployment left which was cut short, and says what
stays and what that costs. The table, the master key and a zone that was made stay, and the next deployment of the stage takes
them up. With --delete-data they go too, but the zone: a KMS key in 30 days, which cost nothing and in which it can be called
back. Run it again whenever it was cut short.`
}

// Run removes a stage.
func (c *removeCmd) Run(ctx context.Context, s streams) error {
	x, err := c.open(ctx, s)
	if err != nil {
		return err
	}
	regions, err := x.Regions(ctx)
	if err != nil {
		return err
	}
	if len(regions) == 0 {
		fmt.Fprintf(s.Out, "There are no stacks of stage %s with the home region %s; is its home another --region?\n", c.Stage, c.Region)
	} else if !c.Yes {
		if err := confirm(s, fmt.Sprintf("Remove stage %s from %s? Its domains are no longer served.", c.Stage, strings.Join(regions, ", "))); err != nil {
			return err
		}
	}
	if c.DeleteData {
		if err := confirmBy(s, c.Stage, "Delete every domain and every certificate of it as well, and the key that opens them? This cannot be undone."); err != nil {
			return err
		}
	}
	if err := x.Remove(ctx); err != nil {
		return err
	}
	if c.DeleteData {
		if err := x.DeleteData(ctx); err != nil {
			return err
		}
	}
	return printRemnants(ctx, x, len(regions) > 0, s.Out)
}

// printRemnants says what stays of a stage, what that costs, and how it goes.
func printRemnants(ctx context.Context, x *aws.Deployer, removed bool, w io.Writer) error {
	list, err := x.Remnants(ctx)
	if err != nil {
		return fmt.Errorf("the stage is removed; what is left of it cannot be said: %w", err)
	}
	if len(list) == 0 {
		if removed {
			fmt.Fprintln(w, "Nothing of the stage is left.")
		}
		return nil
	}
	fmt.Fprintln(w, "What stays, and what it costs in 30 days; shingle deploy takes it up again:")
	for _, r := range list {
		cost := fmt.Sprintf("%.2f USD", r.USD)
		switch {
		case r.USD == 0:
			cost = "free"
		case r.USD < 0.005:
			cost = "less than 0.01 USD"
		}
		fmt.Fprintf(w, "  %s: %s; to be rid of it: %s\n", r.What, cost, r.Do)
	}
	return nil
}

type statusCmd struct {
	stageFlags
	JSON bool `name:"json" help:"Print JSON."`
}

// Run shows how a stage is.
func (c *statusCmd) Run(ctx context.Context, s streams) error {
	x, err := c.open(ctx, s)
	if err != nil {
		return err
	}
	status, err := x.Status(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, status)
	}
	t := tabwriter.NewWriter(s.Out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "STACK\tSTATUS\tREASON")
	for _, each := range status.Stacks {
		fmt.Fprintf(t, "%s\t%s\t%s\n", each.Stack, each.Status, cmp.Or(each.Reason, "-"))
	}
	fmt.Fprintln(t, "\t\t\nEDGE\tSTATE\tHEALTH")
	for _, e := range status.Edges {
		health := e.Health
		if !e.Current {
			health += ", to be replaced by a newer one"
		}
		fmt.Fprintf(t, "%s/%s\t%s\t%s\n", e.Region, e.Instance, e.State, health)
	}
	return t.Flush()
}
