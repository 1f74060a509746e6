"""Storage layout of versions and rounds: slots to prove, and decoder from storage words to records.

Slots follow from the compiler's storage layout. With a storage proof of these words against a block's state root
(`registry.ethereum.proofs`) anyone can compute what the contract's views return, without trusting a node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from registry.chain.contract_hashes import running_hash_count
from registry.chain.contract_structs import Round, Version
from registry.chain.contracts import artifact
from registry.ethereum.hashing import keccak
from registry.types import Digest, ModelId, RoundId

__all__ = ["round_in", "round_slots", "version_in", "version_slots"]

_CANCELLED, _FINALIZED, _ATTESTED, _ENDED_EARLY, _EXTENDED = 1, 2, 4, 16, 32
"""Flag bits of the terms, as in `State.sol`; a test compares the decoded values with the views."""


@dataclass(frozen=True, slots=True)
class _Field:
    """Location of a value: its slot, and its byte offset and length in the word."""

    slot: int
    offset: int
    length: int

    def of(self, words: Mapping[int, int]) -> int:
        return words[self.slot] >> 8 * self.offset & (1 << 8 * self.length) - 1


def version_slots(model: ModelId, digest: Digest) -> tuple[int, ...]:
    """Return the storage slots from which `version` is computed."""
    return _slots(_version(model, digest))


def version_in(words: Mapping[int, int], model: ModelId, digest: Digest) -> Version:
    """Return what the view `version` returns, from storage words by slot."""
    value = {name: field.of(words) for name, field in _version(model, digest).items()}
    parent = value["parent"].to_bytes(32, "big")
    return Version(
        known=any(parent),
        parent=Digest(bytes(32) if parent == digest else parent),
        roots=value["roots"].to_bytes(32, "big"),
        outside_round=bool(value["outsideRound"]),
        deprecated=bool(value["deprecated"]),
    )


def round_slots(round_id: RoundId) -> tuple[int, ...]:
    """Return the storage slots from which `round` is computed, except for the quorum, which is the plan's."""
    return _slots(_round(round_id))


def round_in(words: Mapping[int, int], round_id: RoundId, quorum: int) -> Round:
    """Return what the view `round` returns, from storage words by slot and the plan's quorum."""
    value = {name: field.of(words) for name, field in _round(round_id).items()}
    flags = value["flags"]
    return Round(
        commit_deadline=value["commitDeadline"],
        publish_deadline=value["publishDeadline"],
        aggregate_deadline=value["aggregateDeadline"],
        challenge_deadline=value["challengeDeadline"],
        weight_cap=value["weightCap"],
        quorum=quorum if value["commitDeadline"] else 0,
        plan_index=value["planIndex"],
        cancelled=bool(flags & _CANCELLED),
        attested=bool(flags & _ATTESTED),
        finalized=bool(flags & _FINALIZED),
        running_hash=value["runningHash"].to_bytes(32, "big"),
        result_hash=value["resultHash"].to_bytes(32, "big"),
        commitments=running_hash_count(value["runningHash"].to_bytes(32, "big")),
        ended_early=bool(flags & _ENDED_EARLY),
        extended=bool(flags & _EXTENDED),
        unexpelled=value["unexpelled"],
    )


def _version(model: ModelId, digest: Digest) -> dict[str, _Field]:
    return _fields_of("_versions", model, digest)


def _round(round_id: RoundId) -> dict[str, _Field]:
    return _fields_of("_rounds", round_id)


def _fields_of(variable: str, *keys: bytes) -> dict[str, _Field]:
    """Value-type fields of a struct in nested mappings (Solidity docs, "Layout of state variables in storage")."""
    layout = artifact("Cairn").storage
    types: Mapping[str, Any] = layout["types"]
    place = next(each for each in layout["variables"] if each["label"] == variable)
    slot, kind = int(place["slot"]), types[place["type"]]
    for key in keys:
        slot = int.from_bytes(keccak(key.rjust(32, b"\0") + slot.to_bytes(32, "big")), "big")
        kind = types[kind["value"]]
    return dict(_flattened(types, kind["members"], slot))


def _flattened(types: Mapping[str, Any], members: Sequence[Any], base: int) -> Iterator[tuple[str, _Field]]:
    for member in members:
        kind, slot = types[member["type"]], base + int(member["slot"])
        if "members" in kind:
            yield from _flattened(types, kind["members"], slot)
        elif "key" not in kind:
            yield member["label"], _Field(slot % (1 << 256), int(member["offset"]), int(kind["bytes"]))


def _slots(fields: Mapping[str, _Field]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(field.slot for field in fields.values()))
