package app

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/shingle-proxy/shingle/internal/ssm"
)

// secretLife is how long a client secret that was read is good: so late a new one counts.
const secretLife = time.Minute

// clientSecret returns what gets the client's secret, nil when it has none. A parameter
// is read when somebody signs in, not when a function starts.
func (c *Config) clientSecret() (func(ctx context.Context) (string, error), error) {
	text := c.OIDC.ClientSecret
	name, inParameter := strings.CutPrefix(text, "parameter:")
	switch {
	case text == "":
		return nil, nil
	case !inParameter:
		return func(context.Context) (string, error) { return text, nil }, nil
	case name == "":
		return nil, errors.New("--oidc-client-secret: name the parameter: parameter:/shingle/prd/oidc-client-secret")
	}
	s := &parameterSecret{name: name, region: c.TableRegion, endpoint: c.SSMEndpoint}
	return s.get, nil
}

// parameterSecret is a secret in an encrypted parameter.
type parameterSecret struct {
	name, region, endpoint string

	mu   sync.Mutex
	text string
	read time.Time
}

func (s *parameterSecret) get(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.read) < secretLife {
		return s.text, nil
	}
	p, err := ssm.Open(ctx, ssm.Config{Name: s.name, Region: s.region, Endpoint: s.endpoint})
	if err != nil {
		return "", err
	}
	text, err := p.Text(ctx)
	if err != nil {
		return "", err
	}
	s.text, s.read = text, time.Now()
	return text, nil
}
