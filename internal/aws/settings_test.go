package aws

import (
	"slices"
	"strings"
	"testing"
)

func settings() Settings {
	return Settings{
		Control: map[string]string{"SHINGLE_QUARANTINE": "2160h", "SHINGLE_ACME_CA": "letsencrypt profile=shortlived;letsencrypt", "SHINGLE_DNS01_ZONE": "acme.example.com", "SHINGLE_DNS01_PROVIDER": "route53:Z0123456789ABC"},
		Edge:    map[string]string{"SHINGLE_POLL": "500ms", "SHINGLE_ACME_CA": "letsencrypt profile=shortlived;letsencrypt", "SHINGLE_DNS01_ZONE": "acme.example.com", "SHINGLE_DNS01_PROVIDER": "route53:Z0123456789ABC"},
	}
}

// TestSettings_ReachTheProcesses: each kind of process gets its own, and rights on the
// zone that they name.
func TestSettings_ReachTheProcesses(t *testing.T) {
	d := deployment(FrontRoute53, usEast, euWest)
	plain := d.Stacks()
	d.Settings = settings()
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	if e := d.functionEnvironment(); e["SHINGLE_QUARANTINE"] != "2160h" || e["SHINGLE_POLL"] != "" || e["SHINGLE_ACME_CA"] != settings().Control["SHINGLE_ACME_CA"] {
		t.Errorf("the function has %v", e)
	}
	lines := d.edgeEnvironment(euWest)
	for _, line := range []string{"SHINGLE_POLL=500ms", "SHINGLE_ACME_CA=letsencrypt profile=shortlived;letsencrypt"} {
		if !slices.Contains(lines, line) {
			t.Errorf("%s is not in %q", line, lines)
		}
	}
	if slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, "SHINGLE_QUARANTINE") }) {
		t.Errorf("an edge is told what is the function's: %q", lines)
	}
	for i, s := range d.Stacks() {
		const right = ":route53:::hostedzone/Z0123456789ABC"
		wants := strings.HasSuffix(s.Name, "-control") || strings.HasSuffix(s.Name, "-edge")
		if has := strings.Contains(string(s.Template.JSON()), right); has != wants || strings.Contains(string(plain[i].Template.JSON()), right) {
			t.Errorf("%s: right on the zone: %v", s.ID(), has)
		}
	}
}

func TestSettings_Refused(t *testing.T) {
	for name, value := range map[string]string{
		"PATH": "/tmp", "SHINGLE_": "x", "SHINGLE_TABLE": "another", "SHINGLE_MASTER_KEY": "file", "SHINGLE_AWS_GROUP": "x", "SHINGLE_SUPPORT": "x",
		"SHINGLE_A": "", "SHINGLE_B": "a\nSHINGLE_TABLE=b", "SHINGLE_C": "${AWS::Region}", "SHINGLE_D": `a"b`, "SHINGLE_E": `a\`, "SHINGLE_F": strings.Repeat("x", 1001),
		"SHINGLE_DNS01_PROVIDER": "route53",
	} {
		for _, s := range []Settings{{Control: map[string]string{name: value}}, {Edge: map[string]string{name: value}}} {
			d := deployment(FrontRoute53, usEast)
			d.Settings = s
			if err := d.Validate(); err == nil || !strings.Contains(err.Error(), "--set") {
				t.Errorf("%s=%q: %v", name, value, err)
			}
		}
	}
	// What the deployment sets for everybody is refused to all.
	d := deployment(FrontRoute53, usEast)
	for name := range d.functionEnvironment() {
		if !slices.Contains(settled, name) && !strings.HasPrefix(name, "SHINGLE_AWS_") {
			t.Errorf("%s can be set", name)
		}
	}
}
