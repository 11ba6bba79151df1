package main

import (
	"embed"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// The shells' parts are small: on Tab they ask `shingle complete-words`, so
// that the candidates are always those of the program that will run.
//
//go:embed completion
var completionScripts embed.FS

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is what --help adds.
func (completionCmd) Help() string {
	return "Load it in the shell's start-up file, such as ~/.bashrc:\n\n  source <(shingle completion bash)"
}

// Run prints the script.
func (c completionCmd) Run(s streams) error {
	script, err := completionScripts.ReadFile("completion/shingle." + c.Shell)
	if err != nil {
		return fmt.Errorf("read completion script: %w", err)
	}
	_, err = s.Out.Write(script)
	return err
}

// completeWordsCmd is what the scripts call with the words after the program's
// name; the last, perhaps empty, is the one that is being typed.
type completeWordsCmd struct {
	Words []string `arg:"" optional:""`
}

// Run prints the candidates, one a line with a tab before its description, or
// ":files" where the name of a file is wanted.
func (c completeWordsCmd) Run(k *kong.Context, s streams) error {
	if len(c.Words) == 0 {
		return nil
	}
	last := len(c.Words) - 1
	l := line{node: k.Model.Node}
	for _, w := range c.Words[:last] {
		l.take(w)
	}
	l.complete(s.Out, c.Words[last])
	return nil
}

// line is a command line up to the word that is being typed.
type line struct {
	node       *kong.Node
	flag       *kong.Flag // the one that awaits its value
	positional int        // arguments of node that are there
	ended      bool       // by "--": no flag follows
}

func (l *line) take(w string) {
	switch {
	case l.flag != nil:
		if w != "=" { // bash makes "=" a word of its own
			l.flag = nil
		}
	case w == "--":
		l.ended = true
	case strings.HasPrefix(w, "--") && !l.ended:
		if name, _, whole := strings.Cut(w[2:], "="); !whole {
			l.flag = l.awaits(name)
		}
	default:
		if i := slices.IndexFunc(l.node.Children, func(n *kong.Node) bool { return n.Name == w }); i >= 0 {
			l.node = l.node.Children[i]
			return
		}
		l.positional++
	}
}

// complete writes the candidates for w.
func (l *line) complete(out io.Writer, w string) {
	name, value, hasValue := strings.Cut(strings.TrimPrefix(w, "--"), "=")
	switch {
	case l.flag != nil:
		completeValue(out, l.flag.Value, "", strings.TrimPrefix(w, "="))
	case strings.HasPrefix(w, "--") && hasValue && !l.ended:
		if f := l.awaits(name); f != nil {
			completeValue(out, f.Value, "--"+name+"=", value)
		}
	case strings.HasPrefix(w, "-") && !l.ended:
		for _, f := range slices.Concat(l.node.AllFlags(true)...) {
			candidate(out, "--"+f.Name, w, f.Help)
		}
	case l.positional < len(l.node.Positional):
		completeValue(out, l.node.Positional[l.positional], "", w)
	case l.positional == 0:
		for _, n := range l.node.Children {
			if !n.Hidden {
				candidate(out, n.Name, w, n.Help)
			}
		}
	}
}

// awaits returns the flag of that name if it needs a value, and nil otherwise.
func (l *line) awaits(name string) *kong.Flag {
	for _, f := range slices.Concat(l.node.AllFlags(false)...) {
		if f.Name == name && !f.IsBool() {
			return f
		}
	}
	return nil
}

func completeValue(out io.Writer, v *kong.Value, before, w string) {
	switch {
	case v.Enum != "":
		for _, choice := range v.EnumSlice() {
			candidate(out, before+choice, before+w, "")
		}
	case strings.HasSuffix(v.Tag.Type, "path") || strings.HasPrefix(v.Tag.Type, "existing"):
		fmt.Fprintln(out, ":files")
	}
}

func candidate(out io.Writer, text, typed, help string) {
	if strings.HasPrefix(text, typed) {
		fmt.Fprintf(out, "%s\t%s\n", text, help)
	}
}
