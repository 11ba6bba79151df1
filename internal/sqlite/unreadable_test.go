package sqlite_test

import (
	"database/sql"
	"testing"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/sqlite"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// TestDB_Unreadable damages rows as somebody with sqlite3 can.
func TestDB_Unreadable(t *testing.T) {
	storetest.TestUnreadableDomains(t, func(t *testing.T, u *shingle.Unreadable) (shingle.DomainStore, []storetest.Damage) {
		p := path(t)
		db := open(t, sqlite.Config{Path: p, Unreadable: u})
		raw, err := sql.Open("sqlite", p)
		check(t, err)
		t.Cleanup(func() { _ = raw.Close() })
		way := func(column, value string) storetest.Damage {
			set := func(table, where string) func(t *testing.T, host string) {
				return func(t *testing.T, host string) {
					t.Helper()
					r, err := raw.ExecContext(t.Context(), "UPDATE "+table+" SET "+column+" = "+value+" WHERE "+where, host)
					check(t, err)
					if n, _ := r.RowsAffected(); n != 1 {
						t.Fatalf("%d rows damaged", n)
					}
				}
			}
			d := storetest.Damage{Name: column, Row: set("domains", "host = ?"), Change: set("changes", "seq = (SELECT max(seq) FROM changes WHERE host = ?)")}
			if column == "host" {
				d.Change = nil // whose it was is not known
			}
			return d
		}
		before := way("before", `'{"Host":'`)
		before.Row = way("settings", "'x'").Row
		return db, []storetest.Damage{
			way("settings", `'{"tags"'`), way("tenant", "'a b/c'"), way("version", "0"), way("host", "'C/../x'"), way("host", "''"), before,
		}
	})
}
