package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"

	"github.com/shingle-proxy/shingle"
)

var _ shingle.MovableStore = (*DB)(nil)

// LoadDomains implements [shingle.MovableStore], in one transaction.
func (db *DB) LoadDomains(ctx context.Context, rows []shingle.Domain) error {
	return db.update(ctx, func(tx *sql.Tx) error {
		for i := range rows {
			if err := putRow(ctx, tx, rows[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// Current returns an error unless the file's schema is that of this version.
func (db *DB) Current(ctx context.Context) error {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	var version int
	if err := db.read.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return translate(err)
	}
	if version < len(names) {
		return fmt.Errorf("the database %s is of an older version of shingle (schema %d, this one has %d): start this version on it once, which brings it up to date", db.cfg.Path, version, len(names))
	}
	if version > len(names) {
		return fmt.Errorf("the database %s is of a newer version of shingle (schema %d, this one knows %d): update shingle", db.cfg.Path, version, len(names))
	}
	return nil
}
