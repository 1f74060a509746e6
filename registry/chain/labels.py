"""The Labels contract as a typed object: aliases, tags and notes of versions.

It belongs to one Cairn, whose address tells its own. Methods have the names of the functions in
`contracts/interfaces/ILabels.sol`, which specifies them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from registry.chain.contract_events import AliasRemoved, AliasSet, NoteAdded, VersionTagged, VersionUntagged
from registry.chain.partner import Partner
from registry.chain.sending import SentReceipt, Until
from registry.chain.views import Block
from registry.types import Address, Digest, ModelId

__all__ = ["LabelChange", "Label", "LabelEvent", "Labels", "label_of"]

LabelEvent = AliasSet | AliasRemoved | VersionTagged | VersionUntagged | NoteAdded


class LabelChange(enum.Enum):
    """What an owner did to a version's labels."""

    ALIAS_SET = "alias set"
    ALIAS_REMOVED = "alias removed"
    TAGGED = "tagged"
    UNTAGGED = "untagged"
    NOTED = "noted"


@dataclass(frozen=True, slots=True)
class Label:
    """A change of a version's labels.

    Attributes:
        owner: The model's owner then, who made it.
        text: The alias, tag or note, as its owner wrote it: a note may be any bytes.
    """

    model_id: ModelId
    digest: Digest
    owner: Address
    change: LabelChange
    text: bytes


def label_of(event: LabelEvent) -> Label:
    """Return the change that an event tells."""
    match event:
        case AliasSet():
            change, text = LabelChange.ALIAS_SET, event.name.encode()
        case AliasRemoved():
            change, text = LabelChange.ALIAS_REMOVED, event.name.encode()
        case VersionTagged():
            change, text = LabelChange.TAGGED, event.tag.encode()
        case VersionUntagged():
            change, text = LabelChange.UNTAGGED, event.tag.encode()
        case NoteAdded():
            change, text = LabelChange.NOTED, event.note
    return Label(event.model_id, event.digest, event.owner, change, text)


class Labels(Partner):
    """The Labels of a Cairn, to read and, with the client's signer, to write."""

    contract = "Labels"

    def alias_of(self, model: ModelId, name: str, *, block: Block = "latest") -> Digest:
        """Return the version that an alias names; zero if there is no such alias."""
        return Digest(bytes(self._view("aliasOf", model, name, block=block)[0]))

    def set_alias(self, model: ModelId, name: str, digest: Digest, *, until: Until = "final") -> SentReceipt:
        """Have an alias name a version."""
        return self._send(until, "setAlias", model, name, digest)

    def remove_alias(self, model: ModelId, name: str, *, until: Until = "final") -> SentReceipt:
        """Remove an alias."""
        return self._send(until, "removeAlias", model, name)

    def add_tag(self, model: ModelId, digest: Digest, tag: str, *, until: Until = "final") -> SentReceipt:
        """Tag a version."""
        return self._send(until, "addTag", model, digest, tag)

    def remove_tag(self, model: ModelId, digest: Digest, tag: str, *, until: Until = "final") -> SentReceipt:
        """Take a tag from a version."""
        return self._send(until, "removeTag", model, digest, tag)

    def add_note(self, model: ModelId, digest: Digest, note: str, *, until: Until = "final") -> SentReceipt:
        """Add a note to a version, in UTF-8."""
        return self._send(until, "addNote", model, digest, note.encode())
