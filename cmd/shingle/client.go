package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

// apiFlags are those of every command that talks to the API.
type apiFlags struct {
	API   string `name:"api" placeholder:"URL" env:"SHINGLE_API" help:"URL of the API. Default: that of the shingle dev that runs here."`
	Token string `env:"SHINGLE_TOKEN" help:"API token; SHINGLE_TOKEN keeps it out of the process list."`
	Data  string `placeholder:"DIR" env:"SHINGLE_DATA" help:"Data folder of the shingle dev to talk to." type:"path"`
}

// client returns a client for the API that the flags name or, without any, for
// the `shingle dev` that runs here. A token that was given goes only to an API
// that was given, never to whoever has the port of an old `shingle dev`.
func (c *apiFlags) client() (*api.Client, error) {
	switch {
	case c.API == "" && c.Token == "":
		return c.devClient()
	case c.API == "":
		return nil, errors.New("--api: name the API that the token is for, or set SHINGLE_API")
	case c.Token == "":
		return nil, errors.New("--token: name the API token, or set SHINGLE_TOKEN")
	}
	return api.NewClient(c.API, c.Token)
}

// devClient reads what a `shingle dev` wrote into its data folder.
func (c *apiFlags) devClient() (*api.Client, error) {
	dir, err := devData(c.Data)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "endpoints.json")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("no shingle dev has run in %s: start one, or name an API with --api and --token", dir)
	}
	var e struct{ Control string }
	if err := json.Unmarshal(data, &e); err != nil || e.Control == "" {
		return nil, fmt.Errorf("%s cannot be read: start shingle dev again", file)
	}
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		return nil, fmt.Errorf("read the token of shingle dev: %w", err)
	}
	return api.NewClient("http://"+e.Control, strings.TrimSpace(string(token)))
}

// collect returns all that seq yields, or its error. Without anything it is an
// empty array in JSON, not null.
func collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	list := []T{}
	for x, err := range seq {
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	return list, nil
}

// each does something for each host. One that the API refuses does not keep it
// from the others; any other failure ends it.
func each(hosts []string, do func(host string) error) error {
	var refused []error
	for i, host := range hosts {
		err := do(host)
		switch {
		case err == nil:
		case errors.Is(err, shingle.ErrNotFound) || errors.Is(err, shingle.ErrInvalid):
			refused = append(refused, err)
		default:
			if left := len(hosts) - i - 1; left > 0 {
				err = fmt.Errorf("%w (%d more left as they are)", err, left)
			}
			return errors.Join(append(refused, err)...)
		}
	}
	return errors.Join(refused...)
}
