"""The contract's transactions as values: what each is called, what it says, and the key it is journaled under.

A key names the effect, not the attempt: `commit:<round>:<participant>` can come to be once, whatever happens in
between. Where an account may rightly repeat a call (granting, setting a plan, suspending) the key is made of its
content and counts only while the transaction is on its way; pass a key of your own to make it once for good.
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
from registry.ethereum.keys import to_checksum
from registry.types import ZERO32, Address, Digest, ModelId, Role, Root

__all__ = [
    "accept_ownership",
    "attest_result",
    "cancel_round",
    "commit_key",
    "commit_update",
    "commit_update_for",
    "commit_updates_for",
    "commitment_typed_data",
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
    """Offer the model to another account, or withdraw the offer (zero address)."""
    return _repeatable(contract, key, "transferOwnership", model, pending_owner)


def accept_ownership(contract: Address, model: ModelId, *, key: str | None = None) -> Call:
    """Take a model that was offered."""
    return _repeatable(contract, key, "acceptOwnership", model)


def suspend_rounds(contract: Address, model: ModelId, *, key: str | None = None) -> Call:
    """Let no new round open."""
    return _repeatable(contract, key, "suspendRounds", model)


def resume_rounds(contract: Address, model: ModelId, *, key: str | None = None) -> Call:
    """Let new rounds open again."""
    return _repeatable(contract, key, "resumeRounds", model)


def publish_version(
    contract: Address, model: ModelId, parent: Digest, digest: Digest, tensor_root: Root, rest_root: Root
) -> Call:
    """Anchor a version that no round made, and move the head to it."""
    key = f"publish:{model.hex()}:{digest.hex()}"
    return _once(contract, key, "publishVersion", model, parent, digest, tensor_root, rest_root)


def deprecate_version(
    contract: Address, model: ModelId, digest: Digest, reason_digest: Digest, replacement: Digest | None = None
) -> Call:
    """Mark a version as not to be used; a deprecated head needs a replacement."""
    key = f"deprecate:{model.hex()}:{digest.hex()}"
    return _once(contract, key, "deprecateVersion", model, digest, reason_digest, replacement or ZERO32)


def grant_roles(contract: Address, model: ModelId, account: Address, roles: Role, *, key: str | None = None) -> Call:
    """Add roles of an account."""
    return _repeatable(contract, key, "grantRoles", model, account, int(roles))


def revoke_roles(contract: Address, model: ModelId, account: Address, roles: Role, *, key: str | None = None) -> Call:
    """Clear roles of an account."""
    return _repeatable(contract, key, "revokeRoles", model, account, int(roles))


def grant_roles_batch(contract: Address, model: ModelId, grants: Sequence[Grant], *, key: str | None = None) -> Call:
    """Add roles of several accounts."""
    return _repeatable(contract, key, "grantRolesBatch", model, [(g.account, int(g.roles)) for g in grants])


def revoke_roles_batch(contract: Address, model: ModelId, grants: Sequence[Grant], *, key: str | None = None) -> Call:
    """Clear roles of several accounts."""
    return _repeatable(contract, key, "revokeRolesBatch", model, [(g.account, int(g.roles)) for g in grants])


def set_plan(contract: Address, model: ModelId, plan: Plan, rules: bytes, *, key: str | None = None) -> Call:
    """Set the standing plan, from the next round on; its rules hash is of the rule bytes."""
    return _repeatable(contract, key, "setPlan", model, unparse(plan), rules)


def open_round(contract: Address, model: ModelId, number: int) -> Call:
    """Open the next round.

    Args:
        contract: The Cairn.
        model: The model.
        number: The number that it will have, which the contract counts up by itself.
    """
    return _once(contract, f"open:{round_id_of(model, number).hex()}", "openRound", model)


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
    """Commit the sender's update. `participant` is the sender; the key names it."""
    arguments: list[Any] = [model, number, digest, tensor_root, weight, steps]
    if hook_data:
        arguments.append(list(hook_data))
    return _once(contract, commit_key(model, number, participant), "commitUpdate", *arguments)


def commit_update_for(contract: Address, model: ModelId, number: int, update: SignedUpdate) -> Call:
    """Commit an update that its participant signed; anyone sends it."""
    key = commit_key(model, number, update.participant)
    return _once(contract, key, "commitUpdateFor", model, number, unparse(update))


def commit_updates_for(contract: Address, model: ModelId, number: int, updates: Sequence[SignedUpdate]) -> Call:
    """Commit those of a list of signed updates that can be; the contract skips the others, one by one.

    Sending the same list again is safe: what was committed is skipped.
    """
    return _repeatable(contract, None, "commitUpdatesFor", model, number, [unparse(update) for update in updates])


def end_commits(contract: Address, model: ModelId, number: int, participants: Sequence[Address]) -> Call:
    """End phase Commit now that every participant has committed; they are put in order here."""
    key = f"end-commits:{round_id_of(model, number).hex()}"
    return _once(contract, key, "endCommits", model, number, sorted(participants))


def attest_result(
    contract: Address, model: ModelId, number: int, result: Result, running_hash: bytes, *, tally: bytes | None = None
) -> Call:
    """Attest a result. Moving to another result is another effect, so the key names both round and result.

    Args:
        contract: The contract.
        model: The model.
        number: The round.
        result: What is attested.
        running_hash: The commitments it was computed from.
        tally: What it counts under; attesting anew what was void for want of an answer is another effect too.
    """
    key = f"attest:{round_id_of(model, number).hex()}:{(tally or result_hash(result)).hex()}"
    return _once(contract, key, "attestResult", model, number, unparse(result), running_hash)


def finalize_round(contract: Address, model: ModelId, number: int, result: Result) -> Call:
    """Move the head to the result of a round."""
    key = f"finalize:{round_id_of(model, number).hex()}"
    return _once(contract, key, "finalizeRound", model, number, unparse(result))


def expel(contract: Address, model: ModelId, number: int, attesters: Mapping[Address, bytes]) -> Call:
    """Take role and bond from attesters of results that were made void; those who lost them already are passed over.

    Args:
        contract: The contract.
        model: The model.
        number: The round.
        attesters: By account, the tally that each attested: whoever was granted the role anew and attests another void
            result is expelled anew.
    """
    pairs = sorted(attesters.items())
    key = f"expel:{round_id_of(model, number).hex()}:{':'.join((a + tally).hex() for a, tally in pairs)}"
    return _once(contract, key, "expel", model, number, [account for account, _ in pairs])


def cancel_round(contract: Address, model: ModelId, number: int) -> Call:
    """Cancel a round, or record that it has lapsed."""
    return _once(contract, f"cancel:{round_id_of(model, number).hex()}", "cancelRound", model, number)


def commit_key(model: ModelId, number: int, participant: Address) -> str:
    """Return the key of a participant's commitment in a round."""
    return f"commit:{round_id_of(model, number).hex()}:{participant.hex()}"


def _once(contract: Address, key: str, name: str, *arguments: Any) -> Call:
    # The contract is part of the key: a digest may be registered in two deployments.
    return Call(to=contract, data=encode_call("Cairn", name, arguments), key=f"{key}@{contract.hex()}")


def _repeatable(contract: Address, key: str | None, name: str, *arguments: Any) -> Call:
    data = encode_call("Cairn", name, arguments)
    if key is not None:
        return Call(to=contract, data=data, key=f"{key}@{contract.hex()}")
    content = hashlib.sha256(data).hexdigest()[:32]
    return Call(to=contract, data=data, key=f"{name}:{content}@{contract.hex()}", once=False)


def commitment_typed_data(
    chain_id: int, contract: Address, model: ModelId, number: int, update: SignedUpdate
) -> dict[str, Any]:
    """Return the EIP-712 data of a commitment, as any wallet signs it; the update's signature has no part in it."""
    return {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "Commitment": [
                {"name": "modelId", "type": "bytes32"},
                {"name": "round", "type": "uint64"},
                {"name": "participant", "type": "address"},
                {"name": "digest", "type": "bytes32"},
                {"name": "tensorRoot", "type": "bytes32"},
                {"name": "weight", "type": "uint32"},
                {"name": "steps", "type": "uint32"},
                {"name": "hookData", "type": "bytes[]"},
                {"name": "validUntil", "type": "uint64"},
            ],
        },
        "primaryType": "Commitment",
        "domain": {
            "name": "Cairn",
            "version": "1",
            "chainId": chain_id,
            "verifyingContract": to_checksum(contract),
        },
        "message": {
            "modelId": model,
            "round": number,
            "participant": to_checksum(update.participant),
            "digest": update.digest,
            "tensorRoot": update.tensor_root,
            "weight": update.weight,
            "steps": update.steps,
            "hookData": list(update.hook_data),
            "validUntil": update.valid_until,
        },
    }
