package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"strconv"

	"github.com/shingle-proxy/shingle"
)

// Get implements [shingle.Blobs].
func (db *DB) Get(ctx context.Context, key string) (shingle.Blob, error) {
	b := shingle.Blob{Key: key}
	err := db.read.QueryRowContext(ctx, "SELECT value, version FROM blobs WHERE key = ?", key).Scan(&b.Value, &b.Version)
	if err != nil {
		return shingle.Blob{}, translate(err)
	}
	return b, nil
}

// Put implements [shingle.Blobs].
func (db *DB) Put(ctx context.Context, key string, value []byte, ifVersion string) (string, error) {
	if err := shingle.CheckBlob(key, value); err != nil {
		return "", err
	}
	var version int64
	err := db.update(ctx, func(tx *sql.Tx) error {
		if now, err := versionIn(ctx, tx, key); err != nil || now != ifVersion {
			return orElse(err, shingle.ErrConflict)
		}
		if err := tx.QueryRowContext(ctx, "UPDATE blob_version SET next = next + 1 RETURNING next").Scan(&version); err != nil {
			return err
		}
		if value == nil {
			value = []byte{}
		}
		_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO blobs (key, value, version) VALUES (?, ?, ?)", key, value, version)
		return err
	})
	if err != nil {
		return "", err
	}
	return strconv.FormatInt(version, 10), nil
}

// Delete implements [shingle.Blobs].
func (db *DB) Delete(ctx context.Context, key, ifVersion string) error {
	return db.update(ctx, func(tx *sql.Tx) error {
		now, err := versionIn(ctx, tx, key)
		switch {
		case err != nil:
			return err
		case now == shingle.NoVersion:
			return shingle.ErrNotFound
		case now != ifVersion:
			return shingle.ErrConflict
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM blobs WHERE key = ?", key)
		return err
	})
}

// List implements [shingle.Blobs].
func (db *DB) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if err := checkLimit(limit); err != nil {
		return nil, err
	}
	// Keys are ASCII, so every key with the prefix sorts before prefix + DEL. Of two lower
	// bounds SQLite would take either, and pass over all keys between them.
	from, compare := prefix, ">="
	if after >= prefix {
		from, compare = after, ">"
	}
	rows, err := db.read.QueryContext(ctx,
		"SELECT key FROM blobs WHERE key "+compare+" ? AND key < ? ORDER BY key LIMIT ?", from, prefix+"\x7f", limit)
	if err != nil {
		return nil, translate(err)
	}
	defer rows.Close()
	var keys []string
	for rows.Next() {
		var k string
		if err := rows.Scan(&k); err != nil {
			return nil, translate(err)
		}
		keys = append(keys, k)
	}
	return keys, translate(rows.Err())
}

// versionIn returns the record's version, or NoVersion.
func versionIn(ctx context.Context, tx *sql.Tx, key string) (string, error) {
	var v string
	err := tx.QueryRowContext(ctx, "SELECT version FROM blobs WHERE key = ?", key).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return shingle.NoVersion, nil
	}
	return v, err
}
