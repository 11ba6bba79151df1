package panel_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
)

// TestPanel_ListSortsByItsHeads follows the heads of the columns, which keep the filters.
func TestPanel_ListSortsByItsHeads(t *testing.T) {
	s := open(t)
	v := s.as(shingle.RoleOperator, "")
	for i := range 3 {
		_, err := s.store.CreateDomain(t.Context(), shingle.Domain{Host: fmt.Sprintf("h%d.example.com", i), Tenant: "acme"}, time.Now())
		check(t, err)
	}
	first := v.want(200, v.get("domains?tenant=acme&text=h"))
	v.says(first, `<th scope="col" aria-sort="ascending"><a href="?sort=host&tenant=acme&text=h">`, `<a href="?sort=-created&tenant=acme&text=h">Added</a>`)
	newest := v.want(200, v.get("domains?tenant=acme&text=h&sort=-created"))
	v.says(newest, `<th scope="col" aria-sort="descending"><a href="?sort=created&tenant=acme&text=h">Added`, `<option value="-created" selected>`)
	oldest := v.want(200, v.get("domains?sort=created"))
	v.says(oldest, `<th scope="col" aria-sort="ascending"><a href="?sort=-created">Added`)
	if strings.Count(oldest.text, "aria-sort") != 1 {
		t.Error("the list is in several orders")
	}
	v.want(422, v.get("domains?sort=updated"))
}
