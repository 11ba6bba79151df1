package deploy

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// listens are the settings of addresses to listen on.
var listens = []string{"SHINGLE_EDGE_HTTP", "SHINGLE_EDGE_HTTPS", "SHINGLE_CONTROL", "SHINGLE_METRICS"}

func TestKubernetes_SettingsAreTheProgram(t *testing.T) {
	t.Parallel()
	m := readManifest(t)
	known := map[string]bool{"AWS_SHARED_CREDENTIALS_FILE": true} // the AWS SDK's
	for name, w := range m.workloads {
		c := w.only(t)
		if c.Args[0] != name {
			t.Errorf("%s runs shingle %s", name, c.Args[0])
		}
		v := readVerb(t, c.Args[0])
		v.takes(t, c.Args[1:])
		for name := range v.settings {
			known[name] = true
		}
		if len(c.EnvFrom) != 1 || c.EnvFrom[0].ConfigMap.Name != m.settings.Metadata.Name {
			t.Errorf("%s has the environment of %v", name, c.EnvFrom)
		}
		if w.Spec.Template.Spec.ServiceLinks == nil || *w.Spec.Template.Spec.ServiceLinks {
			t.Errorf("%s: Kubernetes adds variables of its own that begin with SHINGLE_", name)
		}
	}
	for name := range m.settings.Data {
		if !known[name] {
			t.Errorf("no command has the setting %s", name)
		}
	}
}

// TestKubernetes_PortsAreListenedOn: each port has a setting, each address a port, and
// each Service leads to one.
func TestKubernetes_PortsAreListenedOn(t *testing.T) {
	t.Parallel()
	m := readManifest(t)
	for name, w := range m.workloads {
		c, v := w.only(t), readVerb(t, name)
		want := map[string]bool{}
		for _, setting := range listens {
			if _, has := v.settings[setting]; !has {
				continue
			}
			want[strings.TrimPrefix(m.settings.Data[setting], ":")+" TCP"] = true
			if setting == "SHINGLE_EDGE_HTTPS" && m.settings.Data["SHINGLE_HTTP3"] != "false" {
				want[strings.TrimPrefix(m.settings.Data[setting], ":")+" UDP"] = true
			}
		}
		got := map[string]bool{}
		for _, p := range c.Ports {
			got[strconv.Itoa(p.Port)+" "+protocol(p.Protocol)] = true
			if p.Port < 1024 {
				t.Errorf("%s: nobody but root may listen on %d everywhere", name, p.Port)
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s has the ports %v, and listens on %v", name, got, want)
		}
		if scraped := w.Spec.Template.Metadata.Annotations["prometheus.io/port"]; scraped != "" && scraped != strconv.Itoa(c.port(t, "metrics")) {
			t.Errorf("%s is scraped on %s", name, scraped)
		}
		for _, p := range m.services[name].Spec.Ports {
			c.port(t, p.Target)
		}
	}
	if public := m.settings.Data["SHINGLE_PUBLIC_PORT"]; !slices.ContainsFunc(m.services["edge"].Spec.Ports, func(p servicePort) bool { return strconv.Itoa(p.Port) == public && p.Target == "https" }) {
		t.Errorf("visitors are sent to port %s, which the Service does not have", public)
	}
}

func protocol(named string) string {
	if named == "" {
		return "TCP"
	}
	return named
}

func TestKubernetes_SelectorsFindTheirPods(t *testing.T) {
	t.Parallel()
	m := readManifest(t)
	for name, w := range m.workloads {
		pods := w.Spec.Template.Metadata.Labels
		for what, s := range map[string]map[string]string{"itself": w.Spec.Selector.MatchLabels, "its Service": m.services[name].Spec.Selector} {
			if !maps.Equal(s, pods) {
				t.Errorf("%s: %s looks for %v, its pods are %v", name, what, s, pods)
			}
		}
		if b, ok := m.budgets[name]; ok && !maps.Equal(b.Spec.Selector.MatchLabels, pods) {
			t.Errorf("%s: its budget is for %v", name, b.Spec.Selector.MatchLabels)
		}
		for _, s := range w.Spec.Template.Spec.Spread {
			if !maps.Equal(s.Selector.MatchLabels, pods) {
				t.Errorf("%s: it is spread by %v", name, s.Selector.MatchLabels)
			}
		}
		if w.Kind == "StatefulSet" && w.Spec.ServiceName != m.services[name].Metadata.Name {
			t.Errorf("%s: its Service is %q", name, w.Spec.ServiceName)
		}
	}
}

// TestKubernetes_PodsAreRestricted asks what the profile `restricted` of the Pod Security
// Standards asks, and a file system that nothing can be written to.
func TestKubernetes_PodsAreRestricted(t *testing.T) {
	t.Parallel()
	m := readManifest(t)
	if got := m.namespace.Metadata.Labels["pod-security.kubernetes.io/enforce"]; got != "restricted" {
		t.Errorf("the namespace enforces %q", got)
	}
	for command := range strings.Lines(m.text) {
		if strings.Contains(command, "kubectl -n shingle debug ") && !strings.Contains(command, " --profile=restricted ") {
			t.Errorf("this container is refused: %s", command)
		}
	}
	user, group := readDockerfile(t).user(t)
	for name, w := range m.workloads {
		p, c := w.Spec.Template.Spec, w.only(t)
		if p.Automount == nil || *p.Automount {
			t.Errorf("%s has a token for the API of Kubernetes, which it does not use", name)
		}
		if s := p.Security; !s.NonRoot || s.User != user || s.Group != group || s.FSGroup != group || s.Seccomp["type"] != "RuntimeDefault" {
			t.Errorf("%s: the pod's securityContext is %+v, the image's user %d:%d", name, s, user, group)
		}
		if s := c.Security; s.Escalation == nil || *s.Escalation || !s.ReadOnlyRoot || fmt.Sprint(s.Capabilities) != "map[drop:[ALL]]" {
			t.Errorf("%s: the container's securityContext is %+v", name, s)
		}
	}
}

var absolute = regexp.MustCompile(`(?:^|:)(/.*)`)

// TestKubernetes_FilesAreMounted: every path in the settings is in a volume, and what is
// written is in the only one that can be.
func TestKubernetes_FilesAreMounted(t *testing.T) {
	t.Parallel()
	m := readManifest(t)
	for name, w := range m.workloads {
		c, writable := w.only(t), []string{}
		volumes := map[string]bool{}
		for _, v := range w.Spec.Template.Spec.Volumes {
			volumes[v.Name] = true
			if v.Secret != nil && v.Secret.Mode != 0o440 { // root's, read by the group
				t.Errorf("%s: the secret %s has mode %o", name, v.Name, v.Secret.Mode)
			}
		}
		for _, v := range w.Spec.Claims {
			volumes[v.Metadata.Name] = true
		}
		for _, mount := range c.Mounts {
			if !volumes[mount.Name] {
				t.Errorf("%s mounts %q, which is no volume", name, mount.Name)
			}
			if !mount.ReadOnly {
				writable = append(writable, mount.Path)
			}
		}
		if !slices.Equal(writable, []string{m.settings.Data["SHINGLE_DATA"]}) {
			t.Errorf("%s can write to %v", name, writable)
		}
		for setting, value := range m.settings.Data {
			file := absolute.FindStringSubmatch(value)
			if file == nil {
				continue
			}
			if !slices.ContainsFunc(c.Mounts, func(v mount) bool { return v.Path == file[1] || v.Path == path.Dir(file[1]) }) {
				t.Errorf("%s: %s=%s is in no volume", name, setting, value)
			}
		}
	}
}
