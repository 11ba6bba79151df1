package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/alecthomas/kong"
)

// tomlResolver reads flags from a TOML file: its keys are the flags' names.
// A key that is no flag is refused, lest a misspelt setting go unnoticed.
func tomlResolver(r io.Reader) (kong.Resolver, error) {
	var values map[string]any
	if _, err := toml.NewDecoder(r).Decode(&values); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return tomlFile(values), nil
}

type tomlFile map[string]any

// Validate implements kong.Resolver.
func (f tomlFile) Validate(app *kong.Application) error {
	known := map[string]bool{}
	for _, leaf := range app.Leaves(true) {
		for _, group := range leaf.AllFlags(false) {
			for _, flag := range group {
				known[flag.Name] = true
			}
		}
	}
	for key := range f {
		if !known[strings.ReplaceAll(key, "_", "-")] {
			return fmt.Errorf("configuration: %q is not a setting; the settings are the flags of shingle serve --help", key)
		}
	}
	return nil
}

// Resolve implements kong.Resolver.
func (f tomlFile) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if v, ok := f[flag.Name]; ok {
		return v, nil
	}
	return f[strings.ReplaceAll(flag.Name, "-", "_")], nil
}
