"""An auditor: the aggregator's functions again, on what was anchored, ending in a verdict instead of a transaction.

It needs neither account nor torch; `cairn verify` is the same functions over a whole lineage.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from registry.provenance.rounds import attested_results, read_round
from registry.provenance.verify import Check, until_failure, verify_round
from registry.store.base import ContentStore
from registry.types import ModelId

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["audit"]


def audit(
    client: Client, store: ContentStore, folder: Path, model_id: ModelId, number: int
) -> Iterator[tuple[bytes, Check]]:
    """Recompute every result attested in a round, whether or not it has a quorum.

    Args:
        client: The chain; no signer is needed.
        store: Holds, or finds, the round's blobs.
        folder: For recomputed files.
        model_id: The model.
        number: The round.

    Yields:
        The hash of a result and one check of it; a result ends at its first failed check.

    Raises:
        NodeUnavailable: The chain cannot be asked, which says nothing of any result.
    """
    record = read_round(client, model_id, number)
    folder.mkdir(parents=True, exist_ok=True)
    for attested in {event.result_hash: event for event in attested_results(client, record)}.values():
        for check in until_failure(verify_round(client, store, record, attested.result, folder)):
            yield attested.result_hash, check
