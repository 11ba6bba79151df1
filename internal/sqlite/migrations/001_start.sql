CREATE TABLE domains (
    host       TEXT PRIMARY KEY,
    tenant     TEXT NOT NULL,
    origin     TEXT NOT NULL,
    redirect   TEXT NOT NULL,
    paused     INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    created_at INTEGER NOT NULL, -- microseconds since 1970, UTC, like every time here
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The change feed: each write appends the row as it left it.
CREATE TABLE changes (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    host       TEXT NOT NULL,
    deleted    INTEGER NOT NULL,
    tenant     TEXT NOT NULL,
    origin     TEXT NOT NULL,
    redirect   TEXT NOT NULL,
    paused     INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE tokens (
    id         TEXT PRIMARY KEY,
    hash       BLOB NOT NULL,
    label      TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Versions come from one counter, so that none is ever used twice.
CREATE TABLE blobs (
    key     TEXT PRIMARY KEY COLLATE BINARY,
    value   BLOB NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE blob_version (next INTEGER NOT NULL) STRICT;
INSERT INTO blob_version VALUES (1);
