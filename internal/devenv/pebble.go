package devenv

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
)

// Profile is a kind of certificate that a client may order by name.
type Profile struct {
	Name        string
	Description string

	// Lifetime is how long a certificate is good for, in whole seconds.
	Lifetime time.Duration

	// CommonName has the certificate's first name in its subject too.
	CommonName bool
}

// LetsEncryptProfiles returns the profiles that Let's Encrypt offers.
func LetsEncryptProfiles() []Profile {
	return []Profile{
		{Name: "classic", Description: "90 days, with a common name", Lifetime: 90 * 24 * time.Hour, CommonName: true},
		{Name: "tlsserver", Description: "45 days", Lifetime: 45 * 24 * time.Hour},
		{Name: "shortlived", Description: "160 hours", Lifetime: 160 * time.Hour},
	}
}

func validateProfiles(profiles []Profile) error {
	seen := map[string]bool{}
	for _, p := range profiles {
		if p.Name == "" || seen[p.Name] {
			return fmt.Errorf("CA: Profiles need names of their own, not %q", p.Name)
		}
		if p.Lifetime < time.Second || p.Lifetime%time.Second != 0 {
			return fmt.Errorf("CA: Profiles: the lifetime of %q must be whole seconds, not %v", p.Name, p.Lifetime)
		}
		seen[p.Name] = true
	}
	return nil
}

// ExternalAccount is what the holder of an account outside ACME was given.
type ExternalAccount struct {
	KeyID  string
	MACKey string // base64url without padding
}

func (a *ExternalAccount) validate() error {
	if a == nil {
		return nil
	}
	key, err := base64.RawURLEncoding.DecodeString(a.MACKey)
	if err != nil {
		return fmt.Errorf("CA: ExternalAccount: decode MAC key: %w", err)
	}
	if a.KeyID == "" || len(key) == 0 {
		return errors.New("CA: ExternalAccount: KeyID and MACKey are required")
	}
	return nil
}

func pebbleProfiles(profiles []Profile) map[string]ca.Profile {
	all := map[string]ca.Profile{}
	for _, p := range profiles {
		all[p.Name] = ca.Profile{
			Description: p.Description, PromoteCommonName: p.CommonName, ValidityPeriod: uint64(p.Lifetime / time.Second),
		}
	}
	return all
}

var pebbleEnvMu sync.Mutex // held from setPebbleEnv until its restore

// setPebbleEnv sets what Pebble's constructors read from the environment, and
// returns a function that puts all back. They read nothing later. It is the
// same for every CA: what differs between them, the gate does. What we do not
// set is emptied, so that a stray PEBBLE_VA_ALWAYS_VALID in somebody's shell
// does not switch validation off.
func setPebbleEnv() (restore func() error, err error) {
	pebbleEnvMu.Lock()
	var undo []func() error
	restore = func() error {
		defer pebbleEnvMu.Unlock()
		var errs []error
		for _, f := range undo {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
	for key, value := range map[string]string{
		"PEBBLE_VA_NOSLEEP":          "1",
		"PEBBLE_VA_SLEEPTIME":        "",
		"PEBBLE_VA_ALWAYS_VALID":     "",
		"PEBBLE_WFE_NONCEREJECT":     "0",
		"PEBBLE_WFE_ORDERS_PER_PAGE": "",
		"PEBBLE_AUTHZREUSE":          "",
	} {
		if old, ok := os.LookupEnv(key); ok {
			undo = append(undo, func() error { return os.Setenv(key, old) })
		} else {
			undo = append(undo, func() error { return os.Unsetenv(key) })
		}
		if err := os.Setenv(key, value); err != nil {
			return nil, errors.Join(fmt.Errorf("set environment for Pebble: %w", err), restore())
		}
	}
	return restore, nil
}
