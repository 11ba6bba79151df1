package main

import (
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/aws"
)

// settings reads --set: flags of shingle control and shingle edge by their names, as
// environment variables of those of the two that know them. A value that they would not
// take is refused here, before anything is deployed.
func settings(set []string) (s aws.Settings, err error) {
	s = aws.Settings{Control: map[string]string{}, Edge: map[string]string{}}
	var commands struct {
		Edge    edgeCmd    `cmd:""`
		Control controlCmd `cmd:""`
	}
	parser, err := kong.New(&commands, kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}))
	if err != nil {
		return s, err
	}
	for _, text := range set {
		name, value, ok := strings.Cut(text, "=")
		if name = strings.TrimPrefix(name, "--"); !ok {
			return s, shingle.Errorf(shingle.CodeInvalid, "--set: it must look like quarantine=2160h, a flag of shingle control or shingle edge and its value, not %q", text)
		}
		known := false
		for of, into := range map[string]map[string]string{"control": s.Control, "edge": s.Edge} {
			variable, err := setting(parser, of, name, value)
			if err != nil {
				return s, err
			}
			if variable == "" {
				continue
			}
			if _, twice := into[variable]; twice {
				return s, shingle.Errorf(shingle.CodeInvalid, "--set: %s is there twice; several values of one flag are put into one, as its environment variable takes them: shingle %s --help", name, of)
			}
			into[variable], known = value, true
		}
		if !known {
			return s, shingle.Errorf(shingle.CodeInvalid, "--set: neither shingle control nor shingle edge has a flag --%s", name)
		}
	}
	return s, nil
}

// secretFlags have their values in templates never.
var secretFlags = []string{"ask-token", "oidc-client-secret"}

// setting returns the environment variable of a command's flag, or "" if it has none.
func setting(parser *kong.Kong, command, name, value string) (variable string, err error) {
	flags := parser.Model.Children[slices.IndexFunc(parser.Model.Children, func(n *kong.Node) bool { return n.Name == command })].Flags
	i := slices.IndexFunc(flags, func(f *kong.Flag) bool { return f.Name == name && !f.Hidden && len(f.Envs) > 0 })
	if i < 0 {
		return "", nil
	}
	flag := flags[i]
	switch {
	case slices.Contains(secretFlags, name):
		return "", shingle.Errorf(shingle.CodeInvalid, "--set: %s is a secret, and would be readable in the templates", name)
	case flag.Tag.Type == "path", strings.Contains(value, "eab-key-file="), strings.Contains(value, " root="):
		return "", shingle.Errorf(shingle.CodeInvalid, "--set: %s names a file, and the stage's machines have none of yours", name)
	}
	if _, err := parser.Parse([]string{command, "--target=http://127.0.0.1", "--" + name + "=" + value}); err != nil {
		return "", shingle.Errorf(shingle.CodeInvalid, "--set: %s", err)
	}
	return flag.Envs[0], nil
}
