package main

import (
	"context"
	"fmt"

	"github.com/shingle-proxy/shingle/internal/app"
)

type storeCopyCmd struct {
	From   string `arg:"" help:"Where the installation is: sqlite:FILE or dynamodb:REGION/TABLE; if all but the domains is elsewhere, a comma and s3://BUCKET/PREFIX or files:FOLDER behind it."`
	To     string `arg:"" help:"Where it is to be, in the same words."`
	DryRun bool   `help:"Look, count, and write nothing."`
	Live   bool   `help:"Copy while Shingle is at work on FROM, and leave TO unfinished: when all of it has ended, the same command without --live copies what changed meanwhile."`
	JSON   bool   `name:"json" help:"Print what a program reads."`
}

// Help is what --help adds.
func (storeCopyCmd) Help() string {
	return `All of it: domains with their versions, API tokens, certificates and keys (sealed, as they are), plans,
accounts and budgets at CAs, statuses, events, webhooks. End every process of Shingle first, or have most
of it copied before by --live. TO must be empty: shingle store create makes a table or a bucket. In the end both are read again and compared.

Run it again whenever it was cut short: it goes on. Until it has come to its end nothing starts on TO.
The master key is not in a store: copy seal.key to the machines that are to use TO.

  shingle store copy sqlite:/var/lib/shingle/shingle.db dynamodb:eu-central-1/shingle
  shingle store copy dynamodb:eu-central-1/shingle dynamodb:eu-central-1/shingle,s3://my-shingle

Behind a bucket or a table there may be settings: s3://BUCKET?region=REGION&endpoint=URL.`
}

// Run copies the installation.
func (c *storeCopyCmd) Run(ctx context.Context, s streams) error {
	copying, verifying := newProgress(s.Err, "copying"), newProgress(s.Err, "comparing")
	total := 0
	result, err := app.CopyStore(ctx, app.CopyConfig{
		From: c.From, To: c.To, DryRun: c.DryRun, Live: c.Live,
		Progress: func(p app.CopyProgress) {
			n := p.Domains + p.Records
			if !p.Verifying {
				total = n
				copying.at(n, -1)
				return
			}
			copying.clear()
			verifying.at(n, float64(n)/float64(max(total, 1)))
		},
	})
	copying.clear()
	verifying.clear()
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.Out, copyJSON(result))
	}
	_, err = fmt.Fprintln(s.Out, c.summary(result))
	return err
}

func (c *storeCopyCmd) summary(r app.CopyResult) string {
	what := fmt.Sprintf("%s and %s", plural(r.Domains, "domain"), plural(r.Records, "record"))
	switch {
	case c.DryRun && r.AtWork != "":
		return fmt.Sprintf("would copy %s; nothing was written\nbefore that, end shingle: it is at work on FROM (%s)", what, r.AtWork)
	case c.DryRun:
		return fmt.Sprintf("would copy %s; nothing was written", what)
	case c.Live:
		return fmt.Sprintf("copied %s, as they were; TO is not finished\nnext: end every process of shingle, and run the same command without --live", what)
	}
	went := "copied"
	if r.Resumed {
		went = "went on; there are now"
	}
	return fmt.Sprintf("%s %s, %d KiB; both sides have the digest\nsha256 %s\nnext: copy seal.key to the machines that are to use TO, and start them; keep FROM until they serve", went, what, r.Bytes>>10, r.Digest)
}

// copyResultJSON is a result for programs.
type copyResultJSON struct {
	Domains int    `json:"domains"`
	Records int    `json:"records"`
	Bytes   int64  `json:"bytes"`
	Written int    `json:"written"`
	Resumed bool   `json:"resumed"`
	Digest  string `json:"sha256,omitempty"`
	AtWork  string `json:"at_work,omitempty"`
}

func copyJSON(r app.CopyResult) copyResultJSON {
	return copyResultJSON{
		Domains: r.Domains, Records: r.Records, Bytes: r.Bytes,
		Written: r.Written, Resumed: r.Resumed, Digest: r.Digest, AtWork: r.AtWork,
	}
}
