"""Aliases, tags and notes of a model's versions: what its owner's changes amount to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from registry.chain.contract_events import AliasRemoved, AliasSet, NoteAdded, VersionTagged, VersionUntagged
from registry.chain.labels import Label, LabelChange, Labels, label_of
from registry.types import Address, Digest, ModelId

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["ModelLabels", "Note", "labels_of", "read_labels"]


@dataclass(frozen=True, slots=True)
class Note:
    """A note on a version, by the model's owner of then.

    Attributes:
        text: As written; what is not UTF-8 in it is replaced by U+FFFD.
        block: Number of the block that it stands in.
    """

    text: str
    owner: Address
    block: int


@dataclass(frozen=True, slots=True)
class ModelLabels:
    """The labels of a model's versions.

    Attributes:
        aliases: Versions by name, in order of the names.
        tags: Tags by version, in their order.
        notes: Notes by version, oldest first.
    """

    aliases: Mapping[str, Digest] = field(default_factory=dict)
    tags: Mapping[Digest, tuple[str, ...]] = field(default_factory=dict)
    notes: Mapping[Digest, tuple[Note, ...]] = field(default_factory=dict)

    def names_of(self, version: Digest) -> tuple[str, ...]:
        """Return the aliases of a version."""
        return tuple(name for name, digest in self.aliases.items() if digest == version)


def labels_of(changes: Iterable[tuple[int, Label]]) -> ModelLabels:
    """Return what changes of one model amount to, given with their block numbers in chain order."""
    aliases: dict[str, Digest] = {}
    tags: dict[Digest, set[str]] = {}
    notes: dict[Digest, list[Note]] = {}
    for block, label in changes:
        text = label.text.decode(errors="replace")
        match label.change:
            case LabelChange.ALIAS_SET:
                aliases[text] = label.digest
            case LabelChange.ALIAS_REMOVED:
                aliases.pop(text, None)
            case LabelChange.TAGGED:
                tags.setdefault(label.digest, set()).add(text)
            case LabelChange.UNTAGGED:
                tags.setdefault(label.digest, set()).discard(text)
            case LabelChange.NOTED:
                notes.setdefault(label.digest, []).append(Note(text, label.owner, block))
    return ModelLabels(
        aliases=dict(sorted(aliases.items())),
        tags={digest: tuple(sorted(held)) for digest, held in tags.items() if held},
        notes={digest: tuple(said) for digest, said in notes.items()},
    )


def read_labels(client: Client, model: ModelId) -> ModelLabels:
    """Return the labels of a model's versions, as of the last final block."""
    kinds = (AliasSet, AliasRemoved, VersionTagged, VersionUntagged, NoteAdded)
    events = Labels(client).events(*kinds, subject=model)
    return labels_of((event.at.block_number, label_of(event)) for event in events if isinstance(event, kinds))
