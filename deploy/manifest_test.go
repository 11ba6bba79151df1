package deploy

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// manifest is kubernetes.yaml. Its types have the fields that it uses and no others: one
// that is misspelt is an error, and a new one is added here.
type manifest struct {
	text      string
	namespace object
	settings  configMap
	workloads map[string]*workload // by component
	services  map[string]*service
	budgets   map[string]*budget
}

type meta struct {
	Name        string            `yaml:"name"`
	Namespace   string            `yaml:"namespace"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

type object struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   meta   `yaml:"metadata"`
}

type configMap struct {
	object `yaml:",inline"`
	Data   map[string]string `yaml:"data"`
}

type serviceAccount struct {
	object    `yaml:",inline"`
	Automount *bool `yaml:"automountServiceAccountToken"`
}

type selector struct {
	MatchLabels map[string]string `yaml:"matchLabels"`
}

type workload struct {
	object `yaml:",inline"`
	Spec   struct {
		Replicas    int      `yaml:"replicas"`
		ServiceName string   `yaml:"serviceName"`
		Selector    selector `yaml:"selector"`
		Strategy    struct {
			RollingUpdate map[string]int `yaml:"rollingUpdate"`
		} `yaml:"strategy"`
		Template struct {
			Metadata meta `yaml:"metadata"`
			Spec     pod  `yaml:"spec"`
		} `yaml:"template"`
		Claims []struct {
			Metadata meta `yaml:"metadata"`
			Spec     struct {
				AccessModes []string             `yaml:"accessModes"`
				Resources   map[string]resources `yaml:"resources"`
			} `yaml:"spec"`
		} `yaml:"volumeClaimTemplates"`
	} `yaml:"spec"`
}

type resources map[string]string

type pod struct {
	ServiceAccount string `yaml:"serviceAccountName"`
	Automount      *bool  `yaml:"automountServiceAccountToken"`
	ServiceLinks   *bool  `yaml:"enableServiceLinks"`
	GraceSeconds   int    `yaml:"terminationGracePeriodSeconds"`
	Security       struct {
		NonRoot bool              `yaml:"runAsNonRoot"`
		User    int               `yaml:"runAsUser"`
		Group   int               `yaml:"runAsGroup"`
		FSGroup int               `yaml:"fsGroup"`
		Seccomp map[string]string `yaml:"seccompProfile"`
	} `yaml:"securityContext"`
	Spread []struct {
		MaxSkew  int      `yaml:"maxSkew"`
		Key      string   `yaml:"topologyKey"`
		When     string   `yaml:"whenUnsatisfiable"`
		Selector selector `yaml:"labelSelector"`
	} `yaml:"topologySpreadConstraints"`
	Containers []container `yaml:"containers"`
	Volumes    []struct {
		Name     string             `yaml:"name"`
		EmptyDir *map[string]string `yaml:"emptyDir"`
		Secret   *struct {
			Name string `yaml:"secretName"`
			Mode int    `yaml:"defaultMode"`
		} `yaml:"secret"`
	} `yaml:"volumes"`
}

type container struct {
	Name    string   `yaml:"name"`
	Image   string   `yaml:"image"`
	Args    []string `yaml:"args"`
	EnvFrom []struct {
		ConfigMap struct {
			Name string `yaml:"name"`
		} `yaml:"configMapRef"`
	} `yaml:"envFrom"`
	Ports []struct {
		Name     string `yaml:"name"`
		Port     int    `yaml:"containerPort"`
		Protocol string `yaml:"protocol"`
	} `yaml:"ports"`
	Startup   *probe               `yaml:"startupProbe"`
	Readiness *probe               `yaml:"readinessProbe"`
	Liveness  *probe               `yaml:"livenessProbe"`
	Resources map[string]resources `yaml:"resources"`
	Security  struct {
		Escalation   *bool               `yaml:"allowPrivilegeEscalation"`
		ReadOnlyRoot bool                `yaml:"readOnlyRootFilesystem"`
		Capabilities map[string][]string `yaml:"capabilities"`
	} `yaml:"securityContext"`
	Mounts []mount `yaml:"volumeMounts"`
}

type mount struct {
	Name     string `yaml:"name"`
	Path     string `yaml:"mountPath"`
	ReadOnly bool   `yaml:"readOnly"`
}

type probe struct {
	HTTPGet *struct {
		Path string `yaml:"path"`
		Port string `yaml:"port"`
	} `yaml:"httpGet"`
	TCPSocket *struct {
		Port string `yaml:"port"`
	} `yaml:"tcpSocket"`
	Period    int `yaml:"periodSeconds"`
	Timeout   int `yaml:"timeoutSeconds"`
	Threshold int `yaml:"failureThreshold"`
}

type service struct {
	object `yaml:",inline"`
	Spec   struct {
		Type     string            `yaml:"type"`
		Traffic  string            `yaml:"externalTrafficPolicy"`
		Selector map[string]string `yaml:"selector"`
		Ports    []servicePort     `yaml:"ports"`
	} `yaml:"spec"`
}

type servicePort struct {
	Name     string `yaml:"name"`
	Port     int    `yaml:"port"`
	Target   string `yaml:"targetPort"`
	Protocol string `yaml:"protocol"`
}

type budget struct {
	object `yaml:",inline"`
	Spec   struct {
		MaxUnavailable int      `yaml:"maxUnavailable"`
		Selector       selector `yaml:"selector"`
	} `yaml:"spec"`
}

func readManifest(t *testing.T) *manifest {
	t.Helper()
	text, err := os.ReadFile("kubernetes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m := &manifest{text: string(text), workloads: map[string]*workload{}, services: map[string]*service{}, budgets: map[string]*budget{}}
	for _, part := range strings.Split(m.text, "\n---\n") {
		var o object
		if err := yaml.Unmarshal([]byte(part), &o); err != nil {
			t.Fatal(err)
		}
		m.add(t, o, []byte(part))
	}
	return m
}

func (m *manifest) add(t *testing.T, o object, text []byte) {
	t.Helper()
	switch o.APIVersion + " " + o.Kind {
	case "v1 Namespace":
		strictly(t, text, &m.namespace)
	case "v1 ConfigMap":
		strictly(t, text, &m.settings)
	case "v1 ServiceAccount":
		strictly(t, text, &serviceAccount{})
	case "apps/v1 Deployment", "apps/v1 StatefulSet":
		m.workloads[o.Metadata.Name] = strictly(t, text, &workload{})
	case "v1 Service":
		m.services[o.Metadata.Name] = strictly(t, text, &service{})
	case "policy/v1 PodDisruptionBudget":
		m.budgets[o.Metadata.Name] = strictly(t, text, &budget{})
	default:
		t.Fatalf("there is no type for %s %s", o.APIVersion, o.Kind)
	}
	if o.Kind != "Namespace" && o.Metadata.Namespace != "shingle" {
		t.Errorf("%s %s is in the namespace %q", o.Kind, o.Metadata.Name, o.Metadata.Namespace)
	}
}

// strictly reads one document, in which every field must be known.
func strictly[T any](t *testing.T, text []byte, into *T) *T {
	t.Helper()
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		t.Fatal(err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		t.Fatalf("a second document, or rubbish: %v", err)
	}
	return into
}

// notices is how long a kubelet takes to believe a probe that fails, with its defaults.
func (p *probe) notices() time.Duration {
	or := func(n, otherwise int) time.Duration {
		if n == 0 {
			n = otherwise
		}
		return time.Duration(n)
	}
	return or(p.Period, 10)*or(p.Threshold, 3)*time.Second + or(p.Timeout, 1)*time.Second
}

// only returns the container of the pods.
func (w *workload) only(t *testing.T) *container {
	t.Helper()
	if n := len(w.Spec.Template.Spec.Containers); n != 1 {
		t.Fatalf("%s has %d containers", w.Metadata.Name, n)
	}
	return &w.Spec.Template.Spec.Containers[0]
}

// port returns the number of a port by its name.
func (c *container) port(t *testing.T, name string) int {
	t.Helper()
	for _, p := range c.Ports {
		if p.Name == name {
			return p.Port
		}
	}
	t.Fatalf("the container has no port %q", name)
	return 0
}
