"""The hashes that the contracts compute: of ids, plans, results, running commitments, claims and seals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from registry.chain.abi_values import unparse
from registry.chain.contract_structs import Commitment, Listed, Plan, Result, Roots
from registry.ethereum.hashing import create2_address, keccak
from registry.types import Address, Digest, ModelId, Part, Root, RoundId

__all__ = [
    "COMMITMENT_BYTES",
    "CONTRIBUTION_BYTES",
    "NO_COMMITMENT",
    "addresses_of",
    "claim_of",
    "commitment_of",
    "commitment_sought",
    "contribution_leaf",
    "model_id_of",
    "plan_hash",
    "result_hash",
    "roots_hash",
    "round_id_of",
    "running_hash_begin",
    "running_hash_count",
    "running_hash_next",
    "seal_of",
]

COMMITMENT_BYTES, CONTRIBUTION_BYTES = 160, 192
"""Bytes of a commitment, and of a leaf of the contributions root, which begins with one."""
NO_COMMITMENT = b"\xff" * 32
"""Stands for the commitment in a leaf of the wrong length, when commitments are replayed."""


def model_id_of(chain_id: int, contract: Address, owner: Address, genesis_digest: Digest) -> ModelId:
    """Return keccak256(abi.encode(chainId, contract, owner, genesisDigest))."""
    return ModelId(keccak(_words(chain_id, contract, owner, genesis_digest)))


def addresses_of(factory: Address, code_hashes: Sequence[bytes]) -> tuple[Address, ...]:
    """Return the CREATE2 addresses of a factory's contracts, in list order; the salt is the hash of the whole list."""
    salt = keccak(b"".join(code_hashes))
    return tuple(create2_address(factory, salt, code_hash) for code_hash in code_hashes)


def round_id_of(model_id: ModelId, number: int) -> RoundId:
    """Return keccak256(abi.encode(modelId, number))."""
    return RoundId(keccak(_words(model_id, number)))


def plan_hash(plan: Plan) -> bytes:
    """Return keccak256(abi.encode(plan)): one word per field, with the dynamic list of hooks last."""
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
    """Return the number of commitments in a running hash."""
    return int.from_bytes(running[28:], "big")


def result_hash(result: Result) -> bytes:
    """Return keccak256(abi.encode(result)), the hash by which attestations are compared."""
    return keccak(_words(*_flat(unparse(result))))


def roots_hash(roots: Roots) -> bytes:
    """Return keccak256(abi.encode(roots)), which the contract stores for a version."""
    return keccak(_words(*unparse(roots)))


def commitment_of(entry: Listed) -> Commitment:
    """Return the commitment of a contribution: all its fields but the factor."""
    return Commitment(entry.participant, entry.digest, entry.tensor_root, entry.weight, entry.steps)


def contribution_leaf(entry: Listed) -> bytes:
    """Return abi.encode of a contribution, 192 bytes: a leaf of the contributions root. Numbers are not checked."""
    numbers = (entry.weight, entry.steps, entry.factor)
    fixed = entry.participant.rjust(32, b"\0") + entry.digest + entry.tensor_root
    return fixed + b"".join(number.to_bytes(32, "big") for number in numbers)


def commitment_sought(leaf: bytes) -> bytes:
    """Return the hash that replayed commitments are compared with, to prove that a leaf was not committed."""
    return keccak(leaf[:COMMITMENT_BYTES]) if len(leaf) == CONTRIBUTION_BYTES else NO_COMMITMENT


def claim_of(round_id: RoundId, tally: bytes, part: Part, index: int) -> bytes:
    """Return keccak256(abi.encode(roundId, tally, part, index)), which is sealed and named by a conviction."""
    return keccak(round_id + tally + int(part).to_bytes(32, "big") + index.to_bytes(32, "big"))


def seal_of(challenger: Address, salt: bytes, claim: bytes) -> bytes:
    """Return keccak256(abi.encode(challenger, salt, claim))."""
    return keccak(challenger.rjust(32, b"\0") + salt + claim)


def _counted(hashed: bytes, commitments: int) -> bytes:
    return hashed[:28] + commitments.to_bytes(4, "big")


def _flat(values: tuple[Any, ...]) -> Iterator[int | bytes]:
    """Flatten nested static structs, which abi.encode writes inline."""
    for value in values:
        if isinstance(value, tuple):
            yield from _flat(value)
        else:
            yield value


def _words(*values: int | bytes) -> bytes:
    """abi.encode of static values: integers and addresses right-aligned, bytes32 as they are."""
    return b"".join(value.to_bytes(32, "big") if isinstance(value, int) else value.rjust(32, b"\0") for value in values)
