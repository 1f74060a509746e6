"""A version's provenance in the formats of other tools: pure functions from one record to files."""
