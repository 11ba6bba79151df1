package check

import (
	"errors"
	"reflect"
	"testing"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

func TestShown_IsWhatTheKeeperHas(t *testing.T) {
	const host = "blog.customer.com"
	h := newHousehold(t)
	k := h.keeper()
	shown := Shown{From: h.store}
	if _, err := shown.Status(t.Context(), host); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("before there is one: %v", err)
	}
	h.add(host, "acme")
	if _, _, err := k.CheckNow(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	want, err := k.Status(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	h.blobs.Inject(storetest.Refuse(shingle.ErrUnavailable)) // home is cut off
	if got, err := shown.Status(t.Context(), host); err != nil || !reflect.DeepEqual(got, want) || got.Host != host {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}
