-- Which links to a domain's set-up page are good.
ALTER TABLE domains ADD COLUMN setup_generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE changes ADD COLUMN setup_generation INTEGER NOT NULL DEFAULT 0;
