-- Tokens are records in blobs now. Those of before could do everything.
INSERT INTO blobs (key, value, version)
SELECT 'tokens/ids/' || id,
       CAST(json_object('hash', lower(hex(hash)), 'name', 'first-' || id, 'role', 'admin',
                        'created_at', strftime('%Y-%m-%dT%H:%M:%SZ', created_at / 1000000, 'unixepoch')) AS BLOB),
       (SELECT next FROM blob_version)
FROM tokens;
UPDATE blob_version SET next = next + 1;
DROP TABLE tokens;
