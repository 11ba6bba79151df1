-- Who wrote a row last, and what the change feed knows of the row before.
ALTER TABLE domains ADD COLUMN updated_by TEXT NOT NULL DEFAULT '';
ALTER TABLE changes ADD COLUMN updated_by TEXT NOT NULL DEFAULT '';
ALTER TABLE changes ADD COLUMN before TEXT NOT NULL DEFAULT ''; -- JSON; empty: there was none
