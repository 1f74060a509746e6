"""Facts about models, versions, rounds and disputes: what commands print as JSON, as typed frozen dataclasses."""
