-- What the contracts' events say, one row a fact, never changed: what holds now is the last fact said of it.
--
-- Every fact stands at a place, (block, log_index), which is also the order in which the chain says things. Taking a
-- block out takes its facts with it, so undoing blocks is one DELETE and a new table needs no code for it. Ids, digests
-- and roots are 32 bytes, accounts 20, times Unix seconds. What may pass 63 bits (wei, and leaf indices and counts, which
-- anybody may state) is 32 bytes, big-endian. Columns stand in the order of the event's fields. A reference or a UNIQUE
-- stands only where the contracts see to it whoever calls them: what does not fit one stops the index.

-- What is followed, and how much of it is final: blocks up to `final` stay. NULL while none is. Blocks up to `checked`
-- were checked as they were read; that says how the file was made, not what the chain holds, so dumps leave it out.
CREATE TABLE following (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  chain_id INTEGER NOT NULL,
  genesis BLOB NOT NULL,
  first_block INTEGER NOT NULL,
  final INTEGER,
  checked INTEGER
) STRICT;

CREATE TABLE contracts (
  number INTEGER PRIMARY KEY,
  address BLOB NOT NULL UNIQUE
) STRICT;

-- Blocks that hold facts, the last final one and the last one read. `logs` counts the facts' logs.
CREATE TABLE blocks (
  number INTEGER PRIMARY KEY,
  hash BLOB NOT NULL,
  logs INTEGER NOT NULL
) STRICT;
CREATE INDEX blocks_without_logs ON blocks (number) WHERE logs = 0;

CREATE TABLE models (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  model BLOB NOT NULL UNIQUE,
  owner BLOB NOT NULL,
  genesis_digest BLOB NOT NULL,
  tensor_root BLOB NOT NULL,
  rest_root BLOB NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;

-- Everyone who ever owned a model, the registrant first.
CREATE TABLE owners (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  model BLOB NOT NULL REFERENCES models (model),
  owner BLOB NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX owners_by_model ON owners (model);
CREATE INDEX owners_by_owner ON owners (owner);

-- Offers of a model to another account; zero withdraws.
CREATE TABLE offers (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  model BLOB NOT NULL REFERENCES models (model),
  owner BLOB NOT NULL,
  pending_owner BLOB NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX offers_by_model ON offers (model);

CREATE TABLE suspensions (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  model BLOB NOT NULL REFERENCES models (model),
  suspended INTEGER NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX suspensions_by_model ON suspensions (model);

-- All roles of an account after each change.
CREATE TABLE members (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  model BLOB NOT NULL REFERENCES models (model),
  account BLOB NOT NULL,
  roles INTEGER NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_model ON members (model, account);

CREATE TABLE plans (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  model BLOB NOT NULL REFERENCES models (model),
  plan_index INTEGER NOT NULL,
  digest BLOB NOT NULL,
  rules_hash BLOB NOT NULL,
  terms TEXT NOT NULL, -- JSON: what else the contract has of it, by name; hooks as addresses
  rules BLOB NOT NULL,
  PRIMARY KEY (block, log_index),
  UNIQUE (model, plan_index)
) STRICT, WITHOUT ROWID;

CREATE TABLE rounds (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  model BLOB NOT NULL,
  number INTEGER NOT NULL,
  round BLOB NOT NULL UNIQUE,
  parent BLOB NOT NULL,
  plan_index INTEGER NOT NULL,
  commit_deadline INTEGER NOT NULL,
  publish_deadline INTEGER NOT NULL,
  aggregate_deadline INTEGER NOT NULL,
  running_hash BLOB NOT NULL,
  PRIMARY KEY (block, log_index),
  UNIQUE (model, number),
  FOREIGN KEY (model, plan_index) REFERENCES plans (model, plan_index)
) STRICT, WITHOUT ROWID;

-- `parent` is NULL for a genesis, `round` for what no round made.
CREATE TABLE versions (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  model BLOB NOT NULL REFERENCES models (model),
  digest BLOB NOT NULL,
  parent BLOB,
  tensor_root BLOB NOT NULL,
  rest_root BLOB NOT NULL,
  state_root BLOB NOT NULL,
  state_layout BLOB NOT NULL,
  step BLOB NOT NULL,
  round BLOB UNIQUE REFERENCES rounds (round),
  PRIMARY KEY (block, log_index),
  UNIQUE (model, digest),
  FOREIGN KEY (model, parent) REFERENCES versions (model, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX versions_by_digest ON versions (digest);
CREATE INDEX versions_by_parent ON versions (model, parent);

-- Every version that was ever the head, when it became so.
CREATE TABLE heads (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  model BLOB NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (block, log_index),
  FOREIGN KEY (model, digest) REFERENCES versions (model, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX heads_by_model ON heads (model);

CREATE TABLE deprecations (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  model BLOB NOT NULL,
  digest BLOB NOT NULL,
  reason_digest BLOB NOT NULL,
  replacement BLOB NOT NULL,
  PRIMARY KEY (block, log_index),
  UNIQUE (model, digest),
  FOREIGN KEY (model, digest) REFERENCES versions (model, digest)
) STRICT, WITHOUT ROWID;

-- In commit order.
CREATE TABLE commitments (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  round BLOB NOT NULL REFERENCES rounds (round),
  participant BLOB NOT NULL,
  digest BLOB NOT NULL,
  tensor_root BLOB NOT NULL,
  weight INTEGER NOT NULL,
  steps INTEGER NOT NULL,
  PRIMARY KEY (block, log_index),
  UNIQUE (round, participant)
) STRICT, WITHOUT ROWID;
CREATE INDEX commitments_by_participant ON commitments (participant);
CREATE INDEX commitments_by_digest ON commitments (digest);

-- Phase Commit ended early, and the deadlines since.
CREATE TABLE commit_ends (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  round BLOB NOT NULL UNIQUE REFERENCES rounds (round),
  commitments INTEGER NOT NULL,
  commit_deadline INTEGER NOT NULL,
  publish_deadline INTEGER NOT NULL,
  aggregate_deadline INTEGER NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;

-- Results by their hash, once, at the first attestation.
CREATE TABLE results (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  round BLOB NOT NULL REFERENCES rounds (round),
  result_hash BLOB NOT NULL,
  version_digest BLOB NOT NULL,
  tensor_root BLOB NOT NULL,
  rest_root BLOB NOT NULL,
  state_root BLOB NOT NULL,
  state_layout BLOB NOT NULL,
  step BLOB NOT NULL,
  report_digest BLOB NOT NULL,
  aggregate_root BLOB NOT NULL,
  contributions_root BLOB NOT NULL,
  contributions INTEGER NOT NULL,
  total_weight INTEGER NOT NULL,
  total_steps INTEGER NOT NULL,
  divisor INTEGER NOT NULL,
  PRIMARY KEY (block, log_index),
  UNIQUE (round, result_hash) ON CONFLICT IGNORE
) STRICT, WITHOUT ROWID;

CREATE TABLE attestations (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  round BLOB NOT NULL,
  aggregator BLOB NOT NULL,
  result_hash BLOB NOT NULL,
  votes INTEGER NOT NULL,
  PRIMARY KEY (block, log_index),
  FOREIGN KEY (round, result_hash) REFERENCES results (round, result_hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX attestations_by_round ON attestations (round);

CREATE TABLE quorums (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  round BLOB NOT NULL,
  result_hash BLOB NOT NULL,
  challenge_deadline INTEGER NOT NULL,
  PRIMARY KEY (block, log_index),
  FOREIGN KEY (round, result_hash) REFERENCES results (round, result_hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX quorums_by_round ON quorums (round);

CREATE TABLE finalizations (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  round BLOB NOT NULL UNIQUE REFERENCES rounds (round),
  version_digest BLOB NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;

CREATE TABLE cancellations (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  round BLOB NOT NULL UNIQUE REFERENCES rounds (round),
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;

-- The first challenge or demand moved the end of a window.
CREATE TABLE extensions (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  round BLOB NOT NULL REFERENCES rounds (round),
  challenge_deadline INTEGER NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX extensions_by_round ON extensions (round);

-- Results that had their quorum and stand no longer. A result attested anew counts under another tally.
CREATE TABLE voids (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  round BLOB NOT NULL,
  result_hash BLOB NOT NULL,
  tally BLOB NOT NULL,
  standing INTEGER NOT NULL,
  aggregate_deadline INTEGER NOT NULL,
  PRIMARY KEY (block, log_index),
  FOREIGN KEY (round, result_hash) REFERENCES results (round, result_hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX voids_by_round ON voids (round);

-- Attesters of void results who lost the role for it.
CREATE TABLE expulsions (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  round BLOB NOT NULL REFERENCES rounds (round),
  aggregator BLOB NOT NULL,
  tally BLOB NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX expulsions_by_round ON expulsions (round);

-- What the Challenges contract says -----------------------------------------------------------------------------------

-- Claims recorded before anybody says which they are, in the order of all.
CREATE TABLE seals (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  seal BLOB NOT NULL,
  place INTEGER NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX seals_by_seal ON seals (seal);

-- Challenges of several transactions: how far each has come.
CREATE TABLE advances (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  round BLOB NOT NULL REFERENCES rounds (round),
  tally BLOB NOT NULL,
  challenger BLOB NOT NULL,
  next INTEGER NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX advances_by_round ON advances (round);

-- Results that were made void, and by which claim.
CREATE TABLE convictions (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  round BLOB NOT NULL REFERENCES rounds (round),
  tally BLOB NOT NULL,
  challenger BLOB NOT NULL,
  fault INTEGER NOT NULL,
  claim BLOB NOT NULL,
  reveal_deadline INTEGER NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX convictions_by_round ON convictions (round);

-- Leaves that attesters are to show.
CREATE TABLE demands (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  round BLOB NOT NULL REFERENCES rounds (round),
  tally BLOB NOT NULL,
  demander BLOB NOT NULL,
  root BLOB NOT NULL,
  contributions INTEGER NOT NULL,
  leaf BLOB NOT NULL,
  deposit BLOB NOT NULL,
  deadline INTEGER NOT NULL,
  late_deadline INTEGER NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX demands_by_round ON demands (round);

-- Demands answered. The leaf's bytes and proof stay on the chain, at this place; `shown` is 0 where there is none.
CREATE TABLE answers (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  round BLOB NOT NULL REFERENCES rounds (round),
  tally BLOB NOT NULL,
  answerer BLOB NOT NULL,
  root BLOB NOT NULL,
  leaf BLOB NOT NULL,
  count BLOB NOT NULL,
  inner_root BLOB NOT NULL,
  shown INTEGER NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX answers_by_round ON answers (round);

-- Demands that nobody answered in time.
CREATE TABLE closures (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  round BLOB NOT NULL REFERENCES rounds (round),
  tally BLOB NOT NULL,
  root BLOB NOT NULL,
  leaf BLOB NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX closures_by_round ON closures (round);

-- Seals shown to be of the claim that convicted.
CREATE TABLE reveals (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  round BLOB NOT NULL REFERENCES rounds (round),
  tally BLOB NOT NULL,
  challenger BLOB NOT NULL,
  place INTEGER NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX reveals_by_round ON reveals (round);

-- Rewards of convictions, wei; the challenger is zero where nobody had sealed the claim and it was burnt.
CREATE TABLE rewards (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  round BLOB NOT NULL REFERENCES rounds (round),
  tally BLOB NOT NULL,
  challenger BLOB NOT NULL,
  amount BLOB NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX rewards_by_round ON rewards (round);

-- What became of bonds, wei; `round` is that of the void result that one was lost for, otherwise NULL. The model may be
-- unknown, or registered later: anybody may deposit for any id.
CREATE TABLE bonds (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  model BLOB NOT NULL,
  aggregator BLOB NOT NULL,
  change TEXT NOT NULL CHECK (change IN ('deposited', 'released', 'slashed')),
  round BLOB REFERENCES rounds (round),
  amount BLOB NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX bonds_by_model ON bonds (model);

-- What accounts were paid out, wei.
CREATE TABLE withdrawals (
  block INTEGER NOT NULL REFERENCES blocks ON DELETE CASCADE,
  log_index INTEGER NOT NULL,
  account BLOB NOT NULL,
  amount BLOB NOT NULL,
  PRIMARY KEY (block, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX withdrawals_by_account ON withdrawals (account);
