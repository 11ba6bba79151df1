package sqlite

import "context"

// Exec runs a statement, for tests that make odd databases.
func (db *DB) Exec(ctx context.Context, query string) error {
	_, err := db.write.ExecContext(ctx, query)
	return err
}
