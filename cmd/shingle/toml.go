package main

import (
	"fmt"
	"io"
	"reflect"
	"slices"
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
	key := flag.Name
	v, ok := f[key]
	if !ok {
		key = strings.ReplaceAll(key, "-", "_")
		v, ok = f[key]
	}
	if !ok {
		return nil, nil
	}
	if want := wanted(flag.Target.Kind()); want.is != nil && !want.is(v) {
		return nil, fmt.Errorf("configuration: %s has to be %s, not %v", key, want.words, v)
	}
	return v, nil
}

// form is what a setting looks like in the file; is is nil where all forms are the
// flag's own affair.
type form struct {
	words string
	is    func(v any) bool
}

func wanted(kind reflect.Kind) form {
	isText := func(v any) bool { _, ok := v.(string); return ok }
	switch kind {
	case reflect.String:
		return form{`text in quotes`, isText}
	case reflect.Slice:
		return form{`texts in quotes, such as ["a", "b"]`, func(v any) bool {
			list, ok := v.([]any)
			return isText(v) || ok && !slices.ContainsFunc(list, func(v any) bool { return !isText(v) })
		}}
	case reflect.Bool:
		return form{`true or false, without quotes`, func(v any) bool { _, ok := v.(bool); return ok }}
	case reflect.Int:
		return form{`a number, without quotes`, func(v any) bool { _, ok := v.(int64); return ok }}
	}
	return form{}
}
