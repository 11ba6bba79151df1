package certs

import (
	"maps"
	"testing"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
)

func TestHeldLeases_OfTheFleetAlone(t *testing.T) {
	t.Parallel()
	b, want := &memory.Store{}, map[string]string{}
	for key, value := range map[string]string{
		"leases/certs/a.example.com": `{"holder":"a"}`,
		"leases/released":            `{"token":3,"holder":"","beat":9}`,
		"leases/rewrap":              `{"token":1,"holder":"b"}`,
		"leases/aaa":                 `{"token":1,"holder":"a"}`,
		"other/worker":               `{"holder":"a"}`,
	} {
		version, err := b.Put(t.Context(), key, []byte(value), shingle.NoVersion)
		if err != nil {
			t.Fatal(err)
		}
		if key == "leases/rewrap" || key == "leases/aaa" {
			want[key[len("leases/"):]] = version
		}
	}
	held, err := HeldLeases(t.Context(), b)
	if err != nil || !maps.Equal(held, want) {
		t.Errorf("%v, %v; want %v", held, err, want)
	}
}
