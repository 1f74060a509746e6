-- A round's commitments in commit order: their count and last block are read from this index alone.
CREATE INDEX commitments_by_round ON commitments (round);
