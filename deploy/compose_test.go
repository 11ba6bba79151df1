package deploy

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// composeFile is compose.yaml, with the fields that it uses and no others.
type composeFile struct {
	Services map[string]composed `yaml:"services"`
	Volumes  map[string]any      `yaml:"volumes"`
}

type composed struct {
	Build *struct {
		Context    string `yaml:"context"`
		Dockerfile string `yaml:"dockerfile"`
	} `yaml:"build"`
	Image       string            `yaml:"image"`
	Environment map[string]string `yaml:"environment"`
	Ports       []string          `yaml:"ports"`
	Volumes     []string          `yaml:"volumes"`
	Restart     string            `yaml:"restart"`
	Grace       time.Duration     `yaml:"stop_grace_period"`
	ReadOnly    bool              `yaml:"read_only"`
	CapDrop     []string          `yaml:"cap_drop"`
	SecurityOpt []string          `yaml:"security_opt"`
	Sysctls     map[string]int    `yaml:"sysctls"`
}

var variable = regexp.MustCompile(`\$\{(\w+)(:[-?])([^}]*)\}`)

// readCompose reads the file with what its head exports.
func readCompose(t *testing.T) composed {
	t.Helper()
	text, err := os.ReadFile("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	expanded := variable.ReplaceAllFunc(text, func(found []byte) []byte {
		v := variable.FindSubmatch(found)
		if string(v[2]) == ":-" {
			return v[3]
		}
		set := regexp.MustCompile(string(v[1]) + `=(\S+)`).FindSubmatch(text)
		if set == nil {
			t.Fatalf("the head does not set %s", v[1])
		}
		return set[1]
	})
	f := strictly(t, expanded, &composeFile{})
	s, ok := f.Services["shingle"]
	if !ok || s.Build == nil || s.Build.Dockerfile != "deploy/Dockerfile" {
		t.Fatalf("services: %+v", f.Services)
	}
	for _, v := range s.Volumes {
		if name, _, _ := strings.Cut(v, ":"); !slices.Contains(slices.Collect(maps.Keys(f.Volumes)), name) {
			t.Errorf("%s is no volume", name)
		}
	}
	return s
}

func TestCompose_SettingsAreTheProgram(t *testing.T) {
	t.Parallel()
	s, d := readCompose(t), readDockerfile(t)
	v := readVerb(t, d.command(t, "CMD")[0])
	for name := range s.Environment {
		if _, ok := v.settings[name]; !ok {
			t.Errorf("the program has no setting %s", name)
		}
	}
	setting := func(name string) string {
		value, ok := s.Environment[name]
		if !ok {
			value = v.settings[name]
		}
		return strings.TrimPrefix(value, ":")
	}
	https := setting("SHINGLE_EDGE_HTTPS")
	want := []string{"80:" + setting("SHINGLE_EDGE_HTTP"), "443:" + https, "443:" + https + "/udp", "127.0.0.1:8090:" + setting("SHINGLE_CONTROL")}
	if !slices.Equal(s.Ports, want) {
		t.Errorf("ports: %q, want %q", s.Ports, want)
	}
	if want := []string{"data:" + setting("SHINGLE_DATA")}; !slices.Equal(s.Volumes, want) {
		t.Errorf("volumes: %q, want %q", s.Volumes, want)
	}
}

func TestCompose_ServiceIsRestricted(t *testing.T) {
	t.Parallel()
	s := readCompose(t)
	if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"}) {
		t.Errorf("read_only %t, cap_drop %q, security_opt %q", s.ReadOnly, s.CapDrop, s.SecurityOpt)
	}
	if port, ok := s.Sysctls["net.ipv4.ip_unprivileged_port_start"]; !ok || port > 80 {
		t.Errorf("sysctls: %v, and it listens on 80 without a capability", s.Sysctls)
	}
}

// TestCompose_ServiceServesAndEnds runs what the file runs: the health check of the image
// says so, and it ends in time.
func TestCompose_ServiceServesAndEnds(t *testing.T) {
	t.Parallel()
	s, d, host := readCompose(t), readDockerfile(t), ownHost(t)
	env := maps.Clone(s.Environment)
	// Its own, unlike the container, it has not: a network, a file system, and names in it.
	env["SHINGLE_EDGE_HTTP"], env["SHINGLE_EDGE_HTTPS"], env["SHINGLE_CONTROL"] = host+":8080", host+":8443", host+env["SHINGLE_CONTROL"]
	env["SHINGLE_DATA"], env["SHINGLE_ACME_CA"] = t.TempDir(), "https://127.0.0.1:1/dir"
	check := d.command(t, "HEALTHCHECK")
	p := &place{t: t, env: env}

	if err := p.tries(check[1:]...); err == nil {
		t.Error("healthy before it runs")
	}
	r := start(t, d.command(t, "CMD"), env)
	r.await("healthy", func() error { return p.tries(check[1:]...) })
	if err := get("http://" + env["SHINGLE_CONTROL"] + "/health"); err != nil {
		t.Error(err)
	}
	if most := r.terminate(); most >= s.Grace {
		t.Errorf("it may take %s to end, and is killed after %s", most, s.Grace)
	}
	if err := r.ends(); err != nil {
		t.Errorf("it ends with %v", err)
	}
}
