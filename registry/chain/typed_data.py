"""EIP-712 typed data of a commitment, which a participant signs and anyone may submit (`commitUpdateFor`)."""

from __future__ import annotations

from typing import Any

from registry.chain.contract_structs import SignedUpdate
from registry.ethereum.keys import to_checksum
from registry.types import Address, ModelId

__all__ = ["commitment_typed_data"]


def commitment_typed_data(
    chain_id: int, contract: Address, model: ModelId, number: int, update: SignedUpdate
) -> dict[str, Any]:
    """Return the EIP-712 typed data of a commitment, for any wallet to sign; ignores the update's signature."""
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
