-- What the Labels contract says -----------------------------------------------------------------------------------

-- What owners did to the aliases, tags and notes of versions. `text` is the alias, tag or note: a note may be any bytes.
CREATE TABLE labels (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  model BLOB NOT NULL REFERENCES models (model),
  digest BLOB NOT NULL,
  owner BLOB NOT NULL,
  change TEXT NOT NULL CHECK (change IN ('alias set', 'alias removed', 'tagged', 'untagged', 'noted')),
  text BLOB NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX labels_by_model ON labels (model);
