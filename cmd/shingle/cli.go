package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/alecthomas/kong"
)

// streams is where a command reads and writes: results to Out, all else to Err.
type streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// cli is the command line. A verb has a file of its own.
type cli struct {
	Dev        devCmd        `cmd:"" help:"Run everything on this machine: edge, API, a test CA, DNS and a sample product."`
	Serve      serveCmd      `cmd:"" help:"Serve customers' domains from this machine."`
	Edge       edgeCmd       `cmd:"" help:"Serve visitors only: one of a fleet."`
	Control    controlCmd    `cmd:"" help:"Run the API and the certificate worker only, for a fleet of edges."`
	Domains    domainsCmd    `cmd:"" help:"Add, list, show, update, remove, import and export domains."`
	Certs      certsCmd      `cmd:"" help:"List, show, upload, import and renew certificates; see what waits for the certificate authorities."`
	Keys       keysCmd       `cmd:"" help:"List the master keys, and make the next one."`
	Edges      edgesCmd      `cmd:"" help:"Show the processes of the fleet: who is alive, behind, of another version, without a master key."`
	Jobs       jobsCmd       `cmd:"" help:"Have the fleet create or delete many domains, and see how far it is."`
	Events     eventsCmd     `cmd:"" help:"List what happened to domains and certificates: what, when, and by whom."`
	Webhooks   webhooksCmd   `cmd:"" help:"Have events sent to your product."`
	Tokens     tokensCmd     `cmd:"" help:"Make, list and revoke API tokens."`
	Store      storeCmd      `cmd:"" help:"Create, check and move the place where everything is kept."`
	Deploy     deployCmd     `cmd:"" help:"Bring a stage on AWS to what the flags say: make it, change it, add a region."`
	Diff       diffCmd       `cmd:"" help:"Show what shingle deploy would change."`
	Status     statusCmd     `cmd:"" help:"Show how a stage on AWS is: its stacks and its edges."`
	Remove     removeCmd     `cmd:"" help:"Remove a stage from AWS; the data stays unless you say otherwise."`
	Cost       costCmd       `cmd:"" help:"Show what a stage on AWS costs in 30 days, line by line."`
	Smoke      smokeCmd      `cmd:"" help:"Try an installation from end to end with a domain of its own, which it deletes again."`
	Health     healthCmd     `cmd:"" help:"Ask the process on this machine whether it can serve."`
	Completion completionCmd `cmd:"" help:"Print what completes command lines in your shell."`
	Version    versionCmd    `cmd:"" help:"Print the version."`

	CompleteWords completeWordsCmd `cmd:"" hidden:""`
}

// run executes a command line and returns the exit code: 0, 1 for a command
// that failed, 2 for a command line that cannot be understood, or that of an [exitError].
func run(ctx context.Context, args []string, s streams) int {
	var c cli
	exited, code := false, 0
	parser, err := kong.New(&c,
		kong.Name("shingle"),
		kong.Description("Custom domains with HTTPS for the customers of your product.\n\nExit codes: 0; 1 if a command failed, or found something wrong; 2 if the command line cannot be understood."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(s.Out, s.Err),
		kong.Exit(func(n int) { exited, code = true, n }),
		kong.Bind(s, &c),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Configuration(tomlResolver),
	)
	if err != nil {
		fmt.Fprintln(s.Err, "shingle:", err)
		return 2
	}
	k, err := parser.Parse(args)
	if exited { // --help
		return code
	}
	if err != nil {
		fmt.Fprintf(s.Err, "shingle: %v (try shingle --help)\n", err)
		return 2
	}
	if err := k.Run(); err != nil {
		fmt.Fprintln(s.Err, "shingle:", err)
		if e, own := errors.AsType[*exitError](err); own {
			return e.code
		}
		return 1
	}
	return 0
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(s streams) error {
	_, err := fmt.Fprintln(s.Out, "shingle", version())
	return err
}

// version is the module's, or the commit that the binary was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "dev-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return "dev"
}
