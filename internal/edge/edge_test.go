package edge

import (
	"net/http"
	"testing"
)

func TestEdge_HostAndSNIMustAgree(t *testing.T) {
	allProtocols(t, func(t *testing.T, major int) {
		te := startEdge(t, origin(t, func(http.ResponseWriter, *http.Request) { t.Error("reached the origin") }))
		for _, host := range []string{"other.customer.test", "unknown.test"} {
			req, _ := http.NewRequest("GET", "https://"+testHost+"/", nil)
			req.Host = host
			resp, err := te.client(t, major).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != 421 {
				t.Errorf("%s: status %d, want 421", host, resp.StatusCode)
			}
		}
	})
}
