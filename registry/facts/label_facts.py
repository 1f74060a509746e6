"""A version's labels: its aliases, tags and notes, as the model's owner set them."""

from __future__ import annotations

from dataclasses import dataclass

from registry.ethereum.keys import to_checksum
from registry.lineage.version_labels import ModelLabels
from registry.types import Digest

__all__ = ["LabelFacts", "NoteFacts", "label_facts"]


@dataclass(frozen=True, slots=True)
class NoteFacts:
    """A note on a version.

    Attributes:
        text: As written; what is not UTF-8 in it is replaced by U+FFFD.
        owner: EIP-55 address of the model's owner who added it.
        block: Number of the block that it stands in.
    """

    text: str
    owner: str
    block: int


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """A version's labels.

    Attributes:
        aliases: Names that stand for it in MODEL@NAME.
        notes: Oldest first.
    """

    aliases: tuple[str, ...]
    tags: tuple[str, ...]
    notes: tuple[NoteFacts, ...]


def label_facts(labels: ModelLabels, version: Digest) -> LabelFacts:
    """Return the labels of a version."""
    notes = labels.notes.get(version, ())
    return LabelFacts(
        aliases=labels.names_of(version),
        tags=labels.tags.get(version, ()),
        notes=tuple(NoteFacts(note.text, to_checksum(note.owner), note.block) for note in notes),
    )
