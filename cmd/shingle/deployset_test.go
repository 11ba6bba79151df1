package main

import (
	"maps"
	"strings"
	"testing"
)

func TestSettings(t *testing.T) {
	s, err := settings([]string{"quarantine=2160h", "acme-ca=letsencrypt profile=shortlived;letsencrypt", "poll=500ms", "max-domains=acme=5000,rival=10", "rsa-keys=true"})
	if err != nil {
		t.Fatal(err)
	}
	control := map[string]string{
		"SHINGLE_QUARANTINE": "2160h", "SHINGLE_ACME_CA": "letsencrypt profile=shortlived;letsencrypt", "SHINGLE_MAX_DOMAINS": "acme=5000,rival=10", "SHINGLE_RSA_KEYS": "true",
	}
	edge := map[string]string{"SHINGLE_ACME_CA": control["SHINGLE_ACME_CA"], "SHINGLE_POLL": "500ms", "SHINGLE_RSA_KEYS": "true"}
	if delete(s.Control, "SHINGLE_POLL"); !maps.Equal(s.Control, control) || !maps.Equal(s.Edge, edge) {
		t.Errorf("control %v, edge %v", s.Control, s.Edge)
	}
	for text, want := range map[string]string{
		"quarantine":                          "it must look like",
		"colour=red":                          "neither shingle control nor shingle edge has a flag --colour",
		"quarantine=soon":                     "--quarantine",
		"proof=none":                          "--proof must be one of",
		"ask-token=x":                         "a secret",
		"oidc-client-secret=parameter:x":      "a secret",
		"data=/tmp":                           "names a file",
		"config=/tmp/x":                       "neither shingle control nor shingle edge has a flag --config",
		"acme-root=/tmp/x":                    "names a file",
		"acme-ca=zerossl eab-key-file=/etc/x": "names a file",
		"dynamodb-endpoint=http://127.0.0.1:8000": "has a flag",
	} {
		if _, err := settings([]string{text}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := settings([]string{"proof=pointing", "--proof=tenant"}); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("twice: %v", err)
	}
}
