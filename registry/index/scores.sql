-- What the Scores contract says -----------------------------------------------------------------------------------

-- How results of a model are scored from then on. Durations in seconds.
CREATE TABLE score_terms (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  model BLOB NOT NULL REFERENCES models (model),
  owner BLOB NOT NULL,
  minimum INTEGER NOT NULL,
  commit_duration INTEGER NOT NULL,
  reveal_duration INTEGER NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX score_terms_by_model ON score_terms (model);

-- Commitments to scores of results. Deadlines in Unix seconds.
CREATE TABLE score_commitments (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  round BLOB NOT NULL REFERENCES rounds (round),
  validator BLOB NOT NULL,
  result_hash BLOB NOT NULL,
  commitment BLOB NOT NULL,
  commit_deadline INTEGER NOT NULL,
  reveal_deadline INTEGER NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX score_commitments_by_round ON score_commitments (round);

-- Revealed scores, in millionths.
CREATE TABLE scores (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  round BLOB NOT NULL REFERENCES rounds (round),
  validator BLOB NOT NULL,
  result_hash BLOB NOT NULL,
  score INTEGER NOT NULL,
  predictions_root BLOB NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX scores_by_round ON scores (round);
