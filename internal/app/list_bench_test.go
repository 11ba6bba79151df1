package app

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/sqlite"
	"github.com/shingle-proxy/shingle/internal/tokens"
)

// BenchmarkList_Million reads pages anywhere in the list of a million domains, over
// SQLite, through the API.
func BenchmarkList_Million(b *testing.B) {
	const all, tenants = 1_000_000, 1000
	db, err := sqlite.Open(b.Context(), sqlite.Config{Path: filepath.Join(b.TempDir(), "shingle.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	host := func(i int) string { return fmt.Sprintf("www.customer-%06d.com", i) }
	for i := 0; i < all; i += 10_000 {
		rows := make([]shingle.Domain, 10_000)
		for j := range rows {
			rows[j] = shingle.Domain{Host: host(i + j), Tenant: fmt.Sprint("tenant", (i+j)%tenants), Version: 1, CreatedAt: time.Unix(1, 0), UpdatedAt: time.Unix(1, 0)}
		}
		if err := db.LoadDomains(b.Context(), rows); err != nil {
			b.Fatal(err)
		}
	}
	keeper, err := tokens.New(tokens.Config{Blobs: db})
	if err != nil {
		b.Fatal(err)
	}
	text, _, err := keeper.CreateToken(b.Context(), shingle.Token{Name: "bench", Role: shingle.RoleRead})
	if err != nil {
		b.Fatal(err)
	}
	h, err := api.New(api.Config{Store: db, Tokens: keeper})
	if err != nil {
		b.Fatal(err)
	}
	for _, query := range []string{"", "&tenant=tenant7", "&text=99999", "&paused=true"} {
		b.Run("limit=100"+query, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				after := base64.RawURLEncoding.EncodeToString([]byte(host(rand.IntN(all))))
				r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/v1/domains?limit=100&after="+after+query, nil)
				r.Header.Set("Authorization", "Bearer "+text)
				w, start := httptest.NewRecorder(), time.Now()
				h.ServeHTTP(w, r)
				if took = append(took, time.Since(start)); w.Code != http.StatusOK {
					b.Fatal(w.Body)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
		})
	}
}
