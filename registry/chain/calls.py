"""Builders of the Cairn contract's calls: calldata and idempotency key of each transaction.

A key names the effect, not the attempt: `commit:<round>:<participant>` can happen only once. For calls that an account
may repeat (granting roles, setting a plan, suspending) the key is derived from the content and deduplicates only
pending transactions; pass your own key to make such a call happen at most once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from registry.chain.abi_values import unparse
from registry.chain.contract_hashes import result_hash, round_id_of
from registry.chain.contract_structs import Grant, Plan, Result, SignedUpdate
from registry.chain.contracts import encode_call
from registry.chain.sending import Call
from registry.types import ZERO32, Address, Digest, ModelId, Role, Root

__all__ = [
    "accept_ownership",
    "attest_result",
    "cancel_round",
    "commit_key",
    "commit_update",
    "commit_update_for",
    "commit_updates_for",
    "deprecate_version",
    "end_commits",
    "expel",
    "finalize_round",
    "grant_roles",
    "grant_roles_batch",
    "open_round",
    "publish_version",
    "register_model",
    "resume_rounds",
    "revoke_roles",
    "revoke_roles_batch",
    "set_plan",
    "suspend_rounds",
    "transfer_ownership",
]


def register_model(contract: Address, genesis_digest: Digest, tensor_root: Root, rest_root: Root) -> Call:
    """Register a model; the sender becomes its owner."""
    key = f"register:{genesis_digest.hex()}"
    return _once(contract, key, "registerModel", genesis_digest, tensor_root, rest_root)


def transfer_ownership(contract: Address, model: ModelId, pending_owner: Address, *, key: str | None = None) -> Call:
    """Offer ownership of the model to another account, or withdraw the offer (zero address)."""
    return _repeatable(contract, key, "transferOwnership", model, pending_owner)


def accept_ownership(contract: Address, model: ModelId, *, key: str | None = None) -> Call:
    """Accept an offered ownership."""
    return _repeatable(contract, key, "acceptOwnership", model)


def suspend_rounds(contract: Address, model: ModelId, *, key: str | None = None) -> Call:
    """Suspend opening of rounds."""
    return _repeatable(contract, key, "suspendRounds", model)


def resume_rounds(contract: Address, model: ModelId, *, key: str | None = None) -> Call:
    """Resume opening of rounds."""
    return _repeatable(contract, key, "resumeRounds", model)


def publish_version(
    contract: Address, model: ModelId, parent: Digest, digest: Digest, tensor_root: Root, rest_root: Root
) -> Call:
    """Anchor a version that the owner publishes, and move the head to it."""
    key = f"publish:{model.hex()}:{digest.hex()}"
    return _once(contract, key, "publishVersion", model, parent, digest, tensor_root, rest_root)


def deprecate_version(
    contract: Address, model: ModelId, digest: Digest, reason_digest: Digest, replacement: Digest | None = None
) -> Call:
    """Deprecate a version; a deprecated head needs a replacement."""
    key = f"deprecate:{model.hex()}:{digest.hex()}"
    return _once(contract, key, "deprecateVersion", model, digest, reason_digest, replacement or ZERO32)


def grant_roles(contract: Address, model: ModelId, account: Address, roles: Role, *, key: str | None = None) -> Call:
    """Grant roles to an account."""
    return _repeatable(contract, key, "grantRoles", model, account, int(roles))


def revoke_roles(contract: Address, model: ModelId, account: Address, roles: Role, *, key: str | None = None) -> Call:
    """Revoke roles of an account."""
    return _repeatable(contract, key, "revokeRoles", model, account, int(roles))


def grant_roles_batch(contract: Address, model: ModelId, grants: Sequence[Grant], *, key: str | None = None) -> Call:
    """Grant roles to several accounts."""
    return _repeatable(contract, key, "grantRolesBatch", model, [(g.account, int(g.roles)) for g in grants])


def revoke_roles_batch(contract: Address, model: ModelId, grants: Sequence[Grant], *, key: str | None = None) -> Call:
    """Revoke roles of several accounts."""
    return _repeatable(contract, key, "revokeRolesBatch", model, [(g.account, int(g.roles)) for g in grants])


def set_plan(contract: Address, model: ModelId, plan: Plan, rules: bytes, *, key: str | None = None) -> Call:
    """Set the current plan, effective from the next round; its rules hash must match rules."""
    return _repeatable(contract, key, "setPlan", model, unparse(plan), rules)


def open_round(contract: Address, model: ModelId, number: int) -> Call:
    """Open the next round.

    Args:
        contract: The Cairn.
        model: The model.
        number: Expected number of the round, which the contract assigns consecutively.
    """
    return _once(contract, f"open:{round_id_of(model, number).hex()}", "openRound", model, shared=True)


def commit_update(
    contract: Address,
    model: ModelId,
    number: int,
    digest: Digest,
    tensor_root: Root,
    weight: int,
    steps: int,
    *,
    participant: Address,
    hook_data: Sequence[bytes] = (),
) -> Call:
    """Commit the sender's update. `participant` is the sender, which the key includes."""
    arguments: list[Any] = [model, number, digest, tensor_root, weight, steps]
    if hook_data:
        arguments.append(list(hook_data))
    return _once(contract, commit_key(model, number, participant), "commitUpdate", *arguments)


def commit_update_for(contract: Address, model: ModelId, number: int, update: SignedUpdate) -> Call:
    """Commit an update by its participant's signature; anyone may send it."""
    key = commit_key(model, number, update.participant)
    return _once(contract, key, "commitUpdateFor", model, number, unparse(update))


def commit_updates_for(contract: Address, model: ModelId, number: int, updates: Sequence[SignedUpdate]) -> Call:
    """Commit the valid ones of several signed updates; the contract skips the others one by one.

    Idempotent: committed updates are skipped.
    """
    return _repeatable(contract, None, "commitUpdatesFor", model, number, [unparse(update) for update in updates])


def end_commits(contract: Address, model: ModelId, number: int, participants: Sequence[Address]) -> Call:
    """End phase Commit early, after every participant has committed; sorts participants."""
    key = f"end-commits:{round_id_of(model, number).hex()}"
    return _once(contract, key, "endCommits", model, number, sorted(participants), shared=True)


def attest_result(
    contract: Address, model: ModelId, number: int, result: Result, running_hash: bytes, *, tally: bytes | None = None
) -> Call:
    """Attest a result. The key includes round and result, since moving to another result is another effect.

    Args:
        contract: The contract.
        model: The model.
        number: The round.
        result: The result.
        running_hash: Running hash of the commitments it was computed from.
        tally: Tally of the result, part of the key: attesting a result again after an unanswered demand made it void is
            another effect.
    """
    key = f"attest:{round_id_of(model, number).hex()}:{(tally or result_hash(result)).hex()}"
    return _once(contract, key, "attestResult", model, number, unparse(result), running_hash)


def finalize_round(contract: Address, model: ModelId, number: int, result: Result) -> Call:
    """Finalize a round: move the head to its result's version."""
    key = f"finalize:{round_id_of(model, number).hex()}"
    return _once(contract, key, "finalizeRound", model, number, unparse(result), shared=True)


def expel(contract: Address, model: ModelId, number: int, attesters: Mapping[Address, bytes]) -> Call:
    """Expel attesters of void results, who lose role and bond; already expelled ones are skipped.

    Args:
        contract: The contract.
        model: The model.
        number: The round.
        attesters: Attested tally by account: an account that was granted the role again and attests another void result
            is expelled again.
    """
    pairs = sorted(attesters.items())
    key = f"expel:{round_id_of(model, number).hex()}:{':'.join((a + tally).hex() for a, tally in pairs)}"
    return _once(contract, key, "expel", model, number, [account for account, _ in pairs], shared=True)


def cancel_round(contract: Address, model: ModelId, number: int) -> Call:
    """Cancel a round, or record that it lapsed."""
    return _once(contract, f"cancel:{round_id_of(model, number).hex()}", "cancelRound", model, number, shared=True)


def commit_key(model: ModelId, number: int, participant: Address) -> str:
    """Return the idempotency key of a participant's commitment in a round."""
    return f"commit:{round_id_of(model, number).hex()}:{participant.hex()}"


def _once(contract: Address, key: str, name: str, *arguments: Any, shared: bool = False) -> Call:
    # The key includes the contract: a digest may be registered in two deployments.
    data = encode_call("Cairn", name, arguments)
    return Call(to=contract, data=data, key=f"{key}@{contract.hex()}", shared=shared)


def _repeatable(contract: Address, key: str | None, name: str, *arguments: Any) -> Call:
    data = encode_call("Cairn", name, arguments)
    if key is not None:
        return Call(to=contract, data=data, key=f"{key}@{contract.hex()}")
    content = hashlib.sha256(data).hexdigest()[:32]
    return Call(to=contract, data=data, key=f"{name}:{content}@{contract.hex()}", once=False)
