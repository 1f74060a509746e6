"""What the contract's views and structs hold, as frozen Python values, and the hashes it names things by.

The fields are the Solidity structs' in snake_case and in the same order; a test compares them with the ABI.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from registry.ethereum.hashing import create2_address, keccak
from registry.types import Address, Digest, ModelId, Phase, Role, Root, RoundId

__all__ = [
    "Dispute",
    "Grant",
    "Member",
    "Model",
    "Plan",
    "Result",
    "Roots",
    "Round",
    "SignedUpdate",
    "Version",
    "Votes",
    "addresses_of",
    "model_id_of",
    "parse",
    "phase_at",
    "plain",
    "plan_hash",
    "result_hash",
    "roots_hash",
    "round_id_of",
    "running_hash_begin",
    "running_hash_count",
    "running_hash_next",
    "unparse",
]

T = TypeVar("T")

_ZERO = Root(bytes(32))


@dataclass(frozen=True, slots=True)
class Plan:
    """The rules of a model's rounds, as `setPlan` takes and `plan` shows them. Durations are in seconds.

    Attributes:
        rules_hash: keccak256 of the rule bytes.
        answer_duration: In which a demanded leaf is shown; at most a 32nd of the challenge duration.
        bond_gwei: What an aggregator must have deposited to attest; 0 for nothing.
        demand_price_gwei: Least deposit of a demanded leaf.
        late_duration: After the answer time, in which a leaf may still be shown at the cost of the attesters' bonds; 0
            for none, and without a bond. With the answer time at most a 32nd of the challenge duration.
        hooks: Asked at each commit, in this order; at most four.
    """

    digest: Digest
    rules_hash: bytes
    quorum: int
    weight_cap: int
    min_contributions: int
    commit_duration: int
    publish_duration: int
    aggregate_duration: int
    challenge_duration: int
    answer_duration: int
    bond_gwei: int
    demand_price_gwei: int = 0
    late_duration: int = 0
    hooks: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class SignedUpdate:
    """An update as its participant signed it, for whoever sends it.

    Attributes:
        steps: Declared training steps, 1 to 2^20.
        valid_until: Last second, Unix time, at which the signature counts.
        hook_data: What each hook of the plan is given, in their order.
        signature: Over `commitment_typed_data`; empty before it is signed.
    """

    participant: Address
    digest: Digest
    tensor_root: Root
    weight: int
    steps: int
    valid_until: int
    hook_data: tuple[bytes, ...] = ()
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class Roots:
    """Everything in a version that later rounds are computed from.

    Attributes:
        tensor: Counted Merkle root of the F32 values of its file.
        rest: sha2-256 of everything else in its file.
        state: Counted Merkle root of the server's state; zero for the initial state.
        state_layout: What that state is laid out by.
        step: Server steps that it has seen.
    """

    tensor: Root
    rest: Root
    state: Root = _ZERO
    state_layout: bytes = bytes(32)
    step: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What aggregators attest.

    Attributes:
        total_steps: Sum of the contributions' steps.
        divisor: What the sum of factor times update is divided by: the sum of the factors.
    """

    version_digest: Digest
    roots: Roots
    report_digest: Digest
    aggregate_root: Root
    contributions_root: Root
    contributions: int
    total_weight: int
    total_steps: int
    divisor: int


@dataclass(frozen=True, slots=True)
class Grant:
    """Roles for one account."""

    account: Address
    roles: Role


@dataclass(frozen=True, slots=True)
class Model:
    """A model. Unknown ones read as zeros: `owner` tells."""

    owner: Address
    pending_owner: Address
    head: Digest
    participants: int
    rounds: int
    plans: int
    suspended: bool


@dataclass(frozen=True, slots=True)
class Member:
    """An account's roles in a model, and the number of the last round it committed in (0 for none)."""

    roles: Role
    last_round: int


@dataclass(frozen=True, slots=True)
class Version:
    """A version. `roots` is the hash of its `Roots`."""

    known: bool
    parent: Digest
    roots: bytes
    outside_round: bool
    deprecated: bool


@dataclass(frozen=True, slots=True)
class Round:
    """A round. Deadlines are Unix seconds: the first second that no longer belongs to the phase.

    Attributes:
        commitments: So far; the low 32 bits of the running hash.
        ended_early: Commits ended before their time, since everybody had committed.
    """

    commit_deadline: int
    publish_deadline: int
    aggregate_deadline: int
    challenge_deadline: int
    weight_cap: int
    quorum: int
    plan_index: int
    cancelled: bool
    attested: bool
    finalized: bool
    running_hash: bytes
    result_hash: bytes
    commitments: int
    ended_early: bool
    extended: bool
    unexpelled: int


@dataclass(frozen=True, slots=True)
class Dispute:
    """The result whose challenge window is open, and what it is held against; `tally` is zero where there is none.

    Attributes:
        tally: What its attestations count under: its hash, unless it was void for want of an answer before.
        first_hash: The running hash of the round before any commitment.
        running_hash: And after all.
        parent: Digest of the parent version.
        parent_roots: Hash of its roots.
        plan_digest: Of the plan's manifest.
    """

    round_id: RoundId
    tally: bytes
    result_hash: bytes
    first_hash: bytes
    running_hash: bytes
    parent: bytes
    parent_roots: bytes
    plan_digest: bytes
    rules_hash: bytes
    challenge_duration: int
    challenge_deadline: int


@dataclass(frozen=True, slots=True)
class Votes:
    """Equal attestations of a result, and its contributions."""

    count: int
    contributions: int


def phase_at(state: Round, time: int) -> Phase:
    """Return the phase of a round in a block of that time: the contract's rule, the only one Python repeats.

    Args:
        state: The round as the contract shows it; all zeros for a round that does not exist.
        time: The block's timestamp, Unix seconds.
    """
    if state.commit_deadline == 0:
        return Phase.NONE
    if state.cancelled:
        return Phase.CANCELLED
    if state.finalized:
        return Phase.FINAL
    if state.challenge_deadline != 0:
        return Phase.CHALLENGE if time < state.challenge_deadline else Phase.FINAL
    if time < state.commit_deadline:
        return Phase.COMMIT
    if time < state.publish_deadline:
        return Phase.PUBLISH
    if time < state.aggregate_deadline:
        return Phase.AGGREGATE
    return Phase.CANCELLED


def model_id_of(chain_id: int, contract: Address, owner: Address, genesis_digest: Digest) -> ModelId:
    """Return keccak256(abi.encode(chainId, contract, owner, genesisDigest))."""
    return ModelId(keccak(_words(chain_id, contract, owner, genesis_digest)))


def addresses_of(factory: Address, code_hashes: Sequence[bytes]) -> tuple[Address, ...]:
    """Return where a factory puts the contracts of its list, by place: the salt is the hash of the whole list."""
    salt = keccak(b"".join(code_hashes))
    return tuple(create2_address(factory, salt, code_hash) for code_hash in code_hashes)


def round_id_of(model_id: ModelId, number: int) -> RoundId:
    """Return keccak256(abi.encode(modelId, number))."""
    return RoundId(keccak(_words(model_id, number)))


def plan_hash(plan: Plan) -> bytes:
    """Return keccak256(abi.encode(plan)): one word a field, but for the hooks, which come last behind an offset."""
    *static, hooks = unparse(plan)
    return keccak(_words(32, *static, 32 * (len(static) + 1), len(hooks), *hooks))


def running_hash_begin(round_id: RoundId, parent: Digest, plan: Plan) -> bytes:
    """Return the running hash of a round without commitments: 28 bytes of hash, and 0 in the 4 after them."""
    return _counted(keccak(_words(round_id, parent, plan_hash(plan))), 0)


def running_hash_next(
    running: bytes, participant: Address, digest: Digest, root: Root, weight: int, steps: int
) -> bytes:
    """Return the running hash after one more commitment: 28 bytes of hash, and their number in the 4 after them."""
    hashed = keccak(_words(running, participant, digest, root, weight, steps))
    return _counted(hashed, running_hash_count(running) + 1)


def running_hash_count(running: bytes) -> int:
    """Return how many commitments a running hash is of."""
    return int.from_bytes(running[28:], "big")


def result_hash(result: Result) -> bytes:
    """Return keccak256(abi.encode(result)): what attestations are compared by."""
    return keccak(_words(*_flat(unparse(result))))


def roots_hash(roots: Roots) -> bytes:
    """Return keccak256(abi.encode(roots)): what the contract keeps of a version's roots."""
    return keccak(_words(*unparse(roots)))


def parse(cls: type[T], values: Sequence[Any], **extra: Any) -> T:
    """Build a record from decoded ABI values, in field order.

    Args:
        cls: A dataclass of this package.
        values: What eth_abi decoded; nested tuples become nested records.
        **extra: Fields that do not come from the ABI.
    """
    named = {
        name: _coerce(hint, value)
        for (name, hint), value in zip(_fields(typing.cast(Any, cls), frozenset(extra)), values, strict=True)
    }
    return cls(**named, **extra)


def unparse(record: Any) -> tuple[Any, ...]:
    """Return a record as the tuple that eth_abi encodes, nested records likewise."""
    return tuple(plain(getattr(record, field.name)) for field in dataclasses.fields(record))


def plain(value: Any) -> Any:
    """Return a value as eth_abi encodes it: records as tuples, whatever they stand in."""
    if dataclasses.is_dataclass(value):
        return unparse(value)
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


@functools.cache
def _fields(cls: type[Any], skip: frozenset[str]) -> tuple[tuple[str, Any], ...]:
    hints = typing.get_type_hints(cls)
    return tuple((field.name, hints[field.name]) for field in dataclasses.fields(cls) if field.name not in skip)


def _coerce(hint: Any, value: Any) -> Any:
    if hint is Address:
        return bytes.fromhex(value.removeprefix("0x")) if isinstance(value, str) else bytes(value)
    if dataclasses.is_dataclass(hint):
        return parse(typing.cast(type[Any], hint), value)
    if isinstance(hint, type) and issubclass(hint, int) and hint is not bool:
        return hint(value)
    if typing.get_origin(hint) is tuple:
        return tuple(_coerce(typing.get_args(hint)[0], item) for item in value)
    return bytes(value) if isinstance(value, (bytes, bytearray)) else value


def _counted(hashed: bytes, commitments: int) -> bytes:
    return hashed[:28] + commitments.to_bytes(4, "big")


def _flat(values: tuple[Any, ...]) -> Iterator[int | bytes]:
    """Static structs stand in line."""
    for value in values:
        if isinstance(value, tuple):
            yield from _flat(value)
        else:
            yield value


def _words(*values: int | bytes) -> bytes:
    """abi.encode of static values: integers and addresses right-aligned, bytes32 as they are."""
    return b"".join(value.to_bytes(32, "big") if isinstance(value, int) else value.rjust(32, b"\0") for value in values)
