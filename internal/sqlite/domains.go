package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

const domainColumns = "host, tenant, origin, redirect, paused, version, created_at, updated_at, updated_by, settings, setup_generation"

// CreateDomain implements [shingle.DomainStore].
func (db *DB) CreateDomain(ctx context.Context, d shingle.Domain, now time.Time) (shingle.Domain, error) {
	d.Version, d.CreatedAt = 1, fromMicros(micros(now))
	d.UpdatedAt = d.CreatedAt
	err := db.change(ctx, func(tx *sql.Tx) error {
		if _, err := db.domainIn(ctx, tx, d.Host); !errors.Is(err, shingle.ErrNotFound) {
			return orElse(err, shingle.ErrExists)
		}
		return writeDomain(ctx, tx, d, nil)
	})
	if err != nil {
		return shingle.Domain{}, err
	}
	return d, nil
}

// Domain implements [shingle.DomainStore].
func (db *DB) Domain(ctx context.Context, host string) (shingle.Domain, error) {
	return db.domainIn(ctx, db.read, host)
}

// UpdateDomain implements [shingle.DomainStore].
func (db *DB) UpdateDomain(ctx context.Context, d shingle.Domain, now time.Time) (shingle.Domain, error) {
	err := db.change(ctx, func(tx *sql.Tx) error {
		old, err := db.domainIn(ctx, tx, d.Host)
		if err != nil {
			return err
		}
		if d, err = d.Replacing(old, now); err != nil {
			return err
		}
		return writeDomain(ctx, tx, d, &old)
	})
	if err != nil {
		return shingle.Domain{}, err
	}
	return d, nil
}

// DeleteDomain implements [shingle.DomainStore].
func (db *DB) DeleteDomain(ctx context.Context, host string, version int64, by string, now time.Time) error {
	return db.change(ctx, func(tx *sql.Tx) error {
		d, err := db.domainIn(ctx, tx, host)
		if err != nil {
			return err
		}
		if version != 0 && d.Version != version {
			return shingle.ErrConflict
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM domains WHERE host = ?", host); err != nil {
			return err
		}
		return logChange(ctx, tx, shingle.Domain{Host: host, UpdatedAt: now, UpdatedBy: by}, &d, true)
	})
}

// Domains implements [shingle.DomainStore].
func (db *DB) Domains(ctx context.Context, after string, limit int) ([]shingle.Domain, error) {
	return db.FindDomains(ctx, shingle.DomainQuery{After: shingle.DomainPlace{Host: after}, Limit: limit})
}

// FindDomains implements [shingle.DomainStore].
func (db *DB) FindDomains(ctx context.Context, q shingle.DomainQuery) ([]shingle.Domain, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	var list []shingle.Domain
	for place, left := placeOf(&q), q.Limit; ; left = q.Limit - len(list) {
		text, args := find(&q, place, left)
		page, err := db.rows(ctx, text, args)
		if err != nil {
			return nil, err
		}
		for _, d := range page {
			if db.readable(&d) == nil {
				list = append(list, d)
			}
		}
		if len(page) < left || len(list) == q.Limit {
			return list, nil
		}
		last := shingle.PlaceOf(&page[len(page)-1]) // others take the places of those that cannot be read
		place = &last
	}
}

// CountDomains implements [shingle.DomainCounter].
func (db *DB) CountDomains(ctx context.Context, tenant string, most int) (n int, err error) {
	err = db.read.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM domains WHERE tenant = ? LIMIT ?)", tenant, most).Scan(&n)
	return n, translate(err)
}

// placeOf returns where the answer to q begins; nil: at the beginning.
func placeOf(q *shingle.DomainQuery) *shingle.DomainPlace {
	if q.After.Host == "" {
		return nil
	}
	return &q.After
}

// find is the statement for limit rows that q wants behind a place.
func find(q *shingle.DomainQuery, behind *shingle.DomainPlace, limit int) (text string, args []any) {
	var where []string
	if q.Tenant != "" {
		where, args = append(where, "tenant = ?"), append(args, q.Tenant)
	}
	order, later := "host", "host > ?"
	switch q.Order {
	case shingle.ByHost:
	case shingle.OldestFirst:
		order, later = "created_at, host", "(created_at, host) > (?, ?)"
	case shingle.NewestFirst:
		order, later = "created_at DESC, host DESC", "(created_at, host) < (?, ?)"
	}
	if behind != nil {
		if where = append(where, later); q.Order != shingle.ByHost {
			args = append(args, micros(behind.Created))
		}
		args = append(args, behind.Host)
	}
	text = "SELECT " + domainColumns + " FROM domains"
	if len(where) > 0 {
		text += " WHERE " + strings.Join(where, " AND ")
	}
	return text + " ORDER BY " + order + " LIMIT ?", append(args, limit)
}

// rows returns rows as they are, readable or not.
func (db *DB) rows(ctx context.Context, query string, args []any) ([]shingle.Domain, error) {
	rows, err := db.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, translate(err)
	}
	defer rows.Close()
	var list []shingle.Domain
	for rows.Next() {
		d, err := scanDomain(rows.Scan)
		if err != nil {
			return nil, translate(err)
		}
		list = append(list, d)
	}
	return list, translate(rows.Err())
}

// readable returns an error for a row that cannot be used, and notes it.
func (db *DB) readable(d *shingle.Domain) error {
	if err := d.Readable(); err != nil {
		key := "domain " + d.Host
		db.cfg.Unreadable.Note(key, err)
		return shingle.UnreadableError(key, err)
	}
	db.cfg.Unreadable.Mended("domain " + d.Host)
	return nil
}

// Head implements [shingle.DomainStore].
func (db *DB) Head(ctx context.Context) (shingle.Cursor, error) {
	var seq int64
	// sqlite_sequence keeps the last number when the feed was trimmed.
	err := db.read.QueryRowContext(ctx, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'changes'").Scan(&seq)
	return cursor(seq), translate(err)
}

// Changes implements [shingle.DomainStore]. A cursor behind the end is of
// another file, which had more, such as the one that a backup replaced.
func (db *DB) Changes(ctx context.Context, after shingle.Cursor, limit int) ([]shingle.Change, shingle.Cursor, error) {
	if err := checkLimit(limit); err != nil {
		return nil, "", err
	}
	from, err := sequence(after)
	if err != nil {
		return nil, "", err
	}
	var list []shingle.Change
	for end := from; len(list) == 0; {
		page, err := db.changesFrom(ctx, end, limit)
		switch {
		case err != nil:
			return nil, "", err
		case len(page) == 0 && end > from: // none of the last ones can be read
			return nil, cursor(end), nil
		case len(page) == 0:
			return nil, after, db.within(ctx, from)
		case page[0].seq != end+1: // those between were trimmed: numbers have no gaps
			return nil, "", shingle.ErrNotFound
		}
		if list, err = db.tell(ctx, page); err != nil {
			return nil, "", err
		}
		end = page[len(page)-1].seq
		after = cursor(end)
	}
	return list, after, nil
}

// within returns [shingle.ErrNotFound] for the number of a change that there was not yet.
func (db *DB) within(ctx context.Context, seq int64) error {
	head, err := db.Head(ctx)
	if err != nil {
		return err
	}
	if end, err := sequence(head); err != nil || seq > end {
		return orElse(err, shingle.ErrNotFound)
	}
	return nil
}

// logged is a row of the feed.
type logged struct {
	seq     int64
	row     shingle.Domain
	before  string
	deleted bool
}

// changesFrom returns the changes numbered above from.
func (db *DB) changesFrom(ctx context.Context, from int64, limit int) (list []logged, err error) {
	rows, err := db.read.QueryContext(ctx, "SELECT seq, deleted, before, "+domainColumns+" FROM changes WHERE seq > ? ORDER BY seq LIMIT ?", from, limit)
	if err != nil {
		return nil, translate(err)
	}
	defer rows.Close()
	for rows.Next() {
		var l logged
		var deleted int64
		if l.row, err = scanDomain(rows.Scan, &l.seq, &deleted, &l.before); err != nil {
			return nil, translate(err)
		}
		l.deleted = deleted != 0
		list = append(list, l)
	}
	return list, translate(rows.Err())
}

// tell makes changes of rows of the feed. Where one cannot be read, the domain as it is
// now takes its place, so that whoever follows misses nothing.
func (db *DB) tell(ctx context.Context, rows []logged) ([]shingle.Change, error) {
	var list []shingle.Change
	for _, l := range rows {
		c, err := change(l.row, l.before, l.deleted)
		if err != nil {
			db.cfg.Unreadable.Note("change "+strconv.FormatInt(l.seq, 10), err)
			if c, err = shingle.PresentState(ctx, db, &c); errors.Is(err, shingle.ErrUnreadable) {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// change runs f, which writes a row and its change, in a write transaction, and
// wakes who follows the feed. It wakes them after a failed commit too: that may
// have landed.
func (db *DB) change(ctx context.Context, f func(*sql.Tx) error) error {
	written := false
	err := db.update(ctx, func(tx *sql.Tx) error {
		if err := f(tx); err != nil {
			return err
		}
		written = true
		return db.trim(ctx, tx)
	})
	if written {
		db.cfg.OnChange()
	}
	return err
}

// trim bounds the feed. It removes few entries at a time, so that no write pays
// for a bound that was lowered, yet more than a write appends.
func (db *DB) trim(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM changes WHERE seq IN (
		SELECT seq FROM changes WHERE seq <= (SELECT max(seq) FROM changes) - ? ORDER BY seq LIMIT 16)`, db.cfg.KeepChanges)
	return err
}

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// domainIn returns the row of host, of which an unreadable one is an error: nobody must
// decide by it, or write over it.
func (db *DB) domainIn(ctx context.Context, q queryer, host string) (shingle.Domain, error) {
	d, err := scanDomain(q.QueryRowContext(ctx, "SELECT "+domainColumns+" FROM domains WHERE host = ?", host).Scan)
	if err != nil {
		return d, translate(err)
	}
	return d, db.readable(&d)
}

// scanDomain reads domainColumns, and columns before them into before.
func scanDomain(scan func(...any) error, before ...any) (shingle.Domain, error) {
	var d shingle.Domain
	var created, updated, paused int64
	err := scan(append(before, &d.Host, &d.Tenant, &d.Origin, &d.Redirect, &paused, &d.Version, &created, &updated, &d.UpdatedBy, &d.Settings, &d.SetupGeneration)...)
	if err != nil {
		return shingle.Domain{}, err
	}
	d.Paused, d.CreatedAt, d.UpdatedAt = paused != 0, fromMicros(created), fromMicros(updated)
	return d, nil
}

// writeDomain writes a row and its change. before is nil when there was none.
func writeDomain(ctx context.Context, tx *sql.Tx, d shingle.Domain, before *shingle.Domain) error {
	if err := putRow(ctx, tx, d); err != nil {
		return err
	}
	return logChange(ctx, tx, d, before, false)
}

func putRow(ctx context.Context, tx *sql.Tx, d shingle.Domain) error {
	_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO domains ("+domainColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", domainValues(d)...)
	return err
}

func logChange(ctx context.Context, tx *sql.Tx, d shingle.Domain, before *shingle.Domain, deleted bool) error {
	var was []byte
	if before != nil {
		var err error
		if was, err = json.Marshal(before); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO changes ("+domainColumns+", deleted, before) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		append(domainValues(d), deleted, string(was))...)
	return err
}

func domainValues(d shingle.Domain) []any {
	return []any{d.Host, d.Tenant, d.Origin, d.Redirect, d.Paused, d.Version, micros(d.CreatedAt), micros(d.UpdatedAt), d.UpdatedBy, string(d.Settings), d.SetupGeneration}
}

// change makes a change out of a row of the feed. One from before its second
// schema has no row before.
func change(d shingle.Domain, before string, deleted bool) (shingle.Change, error) {
	c := shingle.Change{Host: d.Host, Deleted: deleted, Domain: d, At: d.UpdatedAt, By: d.UpdatedBy}
	if deleted {
		c.Domain = shingle.Domain{Host: d.Host}
	}
	if err := c.Readable(); err != nil {
		return c, err
	}
	if before == "" {
		return c, nil
	}
	if err := json.Unmarshal([]byte(before), &c.Before); err != nil {
		return c, fmt.Errorf("decode change: %w", err)
	}
	return c, nil
}

func cursor(seq int64) shingle.Cursor { return shingle.Cursor(strconv.FormatInt(seq, 10)) }

// sequence is the number of the change that c stands behind, or
// [shingle.ErrNotFound] for a cursor of another kind of store.
func sequence(c shingle.Cursor) (int64, error) {
	if c == "" {
		return 0, nil
	}
	seq, err := strconv.ParseInt(string(c), 10, 64)
	if err != nil || seq < 0 {
		return 0, shingle.ErrNotFound
	}
	return seq, nil
}

func orElse(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}
