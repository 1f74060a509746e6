"""A data set that its holder disclosed: its description, and the salted digest by which updates name it."""

from __future__ import annotations

from dataclasses import dataclass

from registry.types import Digest

__all__ = ["DataSetFacts", "data_set_facts"]


@dataclass(frozen=True, slots=True)
class DataSetFacts:
    """An opened data set, as stated by its holder.

    Attributes:
        digest: Salted digest by which updates name it.
        licence: An SPDX expression.
        records: Number of records.
        sha256: Hash of the data in a form that its holder can reproduce, or None.
    """

    digest: Digest
    name: str
    description: str
    licence: str
    source: str
    records: int
    sha256: bytes | None


def data_set_facts(opening: bytes) -> DataSetFacts:
    """Read the opening of a data set's digest.

    Raises:
        FormError: It is not a salt followed by a canonical data set manifest.
    """
    from registry.rounds.data_sets import open_data_set

    digest, told = open_data_set(opening)
    stated = told.name, told.description, told.licence, told.source, told.records, told.sha256
    return DataSetFacts(digest, *stated)
