package api

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// humaConfig sets huma up to serve our operations and nothing else: no pages
// with scripts from other hosts, no links to schemas. The document is served by
// serveSpec, because huma's own handlers make it while they answer, unlocked.
func humaConfig(version string) huma.Config {
	schemas := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	schemas.RegisterTypeAlias(reflect.TypeFor[huma.ErrorModel](), reflect.TypeFor[Problem]())
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:       "Shingle",
				Version:     version,
				Description: "Custom domains with HTTPS for the customers of a product.",
			},
			Components: &huma.Components{
				Schemas:         schemas,
				SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}},
			},
			Security: []map[string][]string{{"token": {}}},
		},
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{translate},
	}
}

// serveSpec serves the OpenAPI document, which must be complete by now.
func (s *server) serveSpec(o *huma.OpenAPI) error {
	asJSON, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return err
	}
	asYAML, err := o.YAML()
	if err != nil {
		return err
	}
	s.public("GET /openapi.json", fixed("application/json", append(asJSON, '\n')))
	s.public("GET /openapi.yaml", fixed("application/yaml", asYAML)) // RFC 9512
	return nil
}

func fixed(contentType string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body) // a client that has gone will not miss it
	}
}

// describePublic adds the routes that are not JSON.
func describePublic(o *huma.OpenAPI) {
	token := &huma.Param{Name: "token", In: "query", Description: "Needed where the operator has set one; a bearer token will do as well", Schema: &huma.Schema{Type: huma.TypeString}}
	domain := &huma.Param{Name: "domain", In: "query", Required: true, Description: "The name that a visitor asked for", Schema: &huma.Schema{Type: huma.TypeString}}
	o.AddOperation(&huma.Operation{
		OperationID: "ask", Method: http.MethodGet, Path: "/ask",
		Summary:     "May a certificate be obtained for a name?",
		Description: "For the on-demand TLS of a Caddy fleet.",
		Parameters:  []*huma.Param{domain, token},
		Security:    []map[string][]string{{}},
		Responses: texts(map[int]string{
			http.StatusOK:                 "Yes",
			http.StatusBadRequest:         "That is not a name of a domain",
			http.StatusForbidden:          "The token is missing or wrong",
			http.StatusNotFound:           "No",
			http.StatusServiceUnavailable: "Not known now",
		}),
	})
	o.AddOperation(&huma.Operation{
		OperationID: "health", Method: http.MethodGet, Path: "/health",
		Summary:     "Does the API answer, and is the process cut off from anything?",
		Description: "`ok`, or `degraded` and a line for each part that serves what it remembers, with the reason.",
		Security:    []map[string][]string{{}},
		Responses:   texts(map[int]string{http.StatusOK: "It answers"}),
	})
}

// texts documents answers in plain text.
func texts(of map[int]string) map[string]*huma.Response {
	out := map[string]*huma.Response{}
	for status, meaning := range of {
		out[strconv.Itoa(status)] = &huma.Response{
			Description: meaning,
			Content:     map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}},
		}
	}
	return out
}
