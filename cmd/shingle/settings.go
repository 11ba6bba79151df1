package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

// settingsFlags set what docs/domains.md lists.
type settingsFlags struct {
	Tag      []string `placeholder:"WORD" help:"Word to find the domain by. Several: repeat it, or put , between them; they replace those before, and --tag= ends all."`
	Set      []string `sep:"none" placeholder:"NAME=VALUE" help:"A setting, such as metadata.plan=pro. The value is JSON, or else text; null ends it. May be repeated."`
	Settings string   `placeholder:"FILE" help:"JSON object with settings; - reads the standard input. What is not in there stays, and what is null ends."`
}

// patch returns what the flags say as a merge patch, empty when they say nothing.
func (f *settingsFlags) patch(s streams) (api.SettingsPatch, error) {
	all := map[string]any{}
	if f.Settings != "" {
		var err error
		if all, err = readSettings(f.Settings, s); err != nil {
			return "", fmt.Errorf("--settings: %w", err)
		}
	}
	if f.Tag != nil {
		all["tags"] = slices.DeleteFunc(slices.Clone(f.Tag), func(tag string) bool { return tag == "" })
	}
	for _, set := range f.Set {
		path, value, ok := strings.Cut(set, "=")
		if !ok || path == "" {
			return "", fmt.Errorf("--set %s: it must be like metadata.plan=pro", set)
		}
		if err := assign(all, strings.Split(path, "."), jsonOrText(value)); err != nil {
			return "", fmt.Errorf("--set %s: %w", set, err)
		}
	}
	if len(all) == 0 {
		return "", nil
	}
	text, err := json.Marshal(all)
	return api.SettingsPatch(text), err
}

func readSettings(name string, s streams) (all map[string]any, err error) {
	f, _, err := openInput(name, s)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 2*shingle.MaxSettings))
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&all); err != nil || all == nil || d.More() {
		return nil, shingle.Errorf(shingle.CodeInvalid, "%s must hold one JSON object of at most %d bytes, such as {\"tags\":[\"eu\"]}", name, 2*shingle.MaxSettings)
	}
	return all, nil
}

// assign sets a member of a member.
func assign(in map[string]any, path []string, value any) error {
	for _, name := range path[:len(path)-1] {
		next, ok := in[name].(map[string]any)
		if !ok {
			if in[name] != nil {
				return fmt.Errorf("%s is set already", name)
			}
			next = map[string]any{}
			in[name] = next
		}
		in = next
	}
	in[path[len(path)-1]] = value
	return nil
}

// jsonOrText takes a value for JSON if it is.
func jsonOrText(value string) any {
	if json.Valid([]byte(value)) {
		return json.RawMessage(value)
	}
	return value
}

// settingsDiff returns the patch that makes have into want, both rows' settings.
func settingsDiff(have api.Settings, want shingle.SettingsText) *api.SettingsPatch {
	patch := api.SettingsPatch("null")
	if want != "" {
		patch = api.SettingsPatch(mergeDiff([]byte(have), []byte(want)))
	}
	return &patch
}

// mergeDiff returns the merge patch (RFC 7396) from one JSON value to another.
func mergeDiff(have, want json.RawMessage) json.RawMessage {
	var from, to map[string]json.RawMessage
	if json.Unmarshal(want, &to) != nil || to == nil || json.Unmarshal(have, &from) != nil {
		return want
	}
	patch := map[string]json.RawMessage{}
	for name := range from {
		if _, ok := to[name]; !ok {
			patch[name] = json.RawMessage("null")
		}
	}
	for name, value := range to {
		if !bytes.Equal(from[name], value) {
			patch[name] = mergeDiff(from[name], value)
		}
	}
	text, _ := json.Marshal(patch) // of what was JSON
	return text
}

const maxShown = 160 // bytes of a setting

// settingRows are the settings for people, each in a line.
func settingRows(text api.Settings) [][2]string {
	var members map[string]json.RawMessage
	if text == "" || json.Unmarshal([]byte(text), &members) != nil {
		return nil
	}
	var rows [][2]string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value := plainJSON(members[name])
		if len(value) > maxShown {
			value = strings.ToValidUTF8(value[:maxShown], "") + fmt.Sprintf("... (%d bytes; --json shows all)", len(value))
		}
		rows = append(rows, [2]string{name, value})
	}
	return rows
}

// plainJSON is JSON without what protects it in HTML.
func plainJSON(data []byte) string {
	var b bytes.Buffer
	var v any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if d.Decode(&v) != nil || e.Encode(v) != nil {
		return string(data)
	}
	return strings.TrimSpace(b.String())
}
