package sqlite

import "context"

// Exec runs a statement on the writer, for tests that make odd databases.
func (db *DB) Exec(ctx context.Context, query string) error {
	_, err := db.write.ExecContext(ctx, query)
	return err
}

// Ask returns the one value that a query on the writer has.
func (db *DB) Ask(ctx context.Context, query string) (answer string, err error) {
	err = db.write.QueryRowContext(ctx, query).Scan(&answer)
	return answer, err
}
