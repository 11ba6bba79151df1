-- What a domain has besides its columns, as JSON; empty: nothing.
ALTER TABLE domains ADD COLUMN settings TEXT NOT NULL DEFAULT '';
ALTER TABLE changes ADD COLUMN settings TEXT NOT NULL DEFAULT '';
