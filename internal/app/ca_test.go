package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseCA(t *testing.T) {
	key := filepath.Join(t.TempDir(), "eab")
	if err := os.WriteFile(key, []byte("c2VjcmV0LWtleQ==\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ca, err := parseCA("zerossl  eab-key-id=kid eab-key-file=" + key + " profile=shortlived chain=ISRG_Root_X1")
	if err != nil {
		t.Fatal(err)
	}
	if ca.Directory != "https://acme.zerossl.com/v2/DV90" || ca.EABKeyID != "kid" || ca.EABKey != "c2VjcmV0LWtleQ" ||
		ca.Profile != "shortlived" || ca.PreferredChain != "ISRG Root X1" {
		t.Errorf("got %+v", ca)
	}
	if ca, err := parseCA("https://ca.example/dir"); err != nil || ca.Directory != "https://ca.example/dir" {
		t.Errorf("got %+v, %v", ca, err)
	}
	for text, want := range map[string]string{
		"":                              "name one of google, letsencrypt",
		"lets-encrypt":                  "neither one of google, letsencrypt",
		"http://ca.example/dir":         "nor an https URL",
		"letsencrypt profile":           `"profile" is not NAME=VALUE`,
		"letsencrypt colour=red":        `"colour" is not a setting`,
		"letsencrypt root=/nowhere.pem": "no such file",
		"zerossl eab-key-file=/nowhere": "eab-key-file: ",
		"letsencrypt root=" + key:       "holds no PEM certificate",
	} {
		if _, err := parseCA(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestCAs_LimitsOfANameAreForRealCAs(t *testing.T) {
	for played, want := range map[string]int{"": 0, "127.0.0.1:53": 1000} { // 0: the default
		c := Config{ACMECAs: []string{"letsencrypt"}}
		if played != "" {
			c.world.rootServers = []string{played}
		}
		list, err := c.cas()
		if err != nil || list[0].Limits.SameName.Count != want || list[0].Limits.Failures.Count != want {
			t.Errorf("played at %q: %+v, %v", played, list, err)
		}
	}
}
