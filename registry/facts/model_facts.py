"""A model on chain: owner, head, counts and versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.facts.label_facts import LabelFacts, label_facts
from registry.types import Digest, ModelId, Phase, Root

if TYPE_CHECKING:
    from registry.chain.client import Client
    from registry.store.base import ContentStore
    from registry.types import Address

__all__ = ["AnchoredVersion", "ModelFacts", "ModelSummary", "model_summaries", "model_facts"]


@dataclass(frozen=True, slots=True)
class AnchoredVersion:
    """A version as anchored in a model.

    Attributes:
        version: Its manifest's digest.
        round: Number of the round that made it; None if its owner published it.
        parent: None for a genesis.
        tensor_root: Merkle root of its F32 values.
        block: Number of the block that anchored it.
        time: Time of that block, Unix seconds.
        deprecated: Whether its owner deprecated it.
        metrics: Its metrics by name: the owner's, or the weighted mean of the contributions' own; nobody checks them.
        labels: Its aliases, tags and notes.
    """

    version: Digest
    round: int | None
    parent: Digest | None
    tensor_root: Root
    block: int
    time: int
    deprecated: bool
    metrics: Mapping[str, float]
    labels: LabelFacts


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model's state at the latest block, with the versions of final blocks.

    Attributes:
        title: Title in the newest statement of the head's lineage; None without one, or if it is unavailable.
        owner: EIP-55 address.
        offered_to: EIP-55 address of the account that may accept the ownership; None unless it is offered.
        participants: Number of members with that role.
        plans: Number of plans so far.
        rounds: Number of rounds so far.
        phase: Phase of the last round; None before the first.
        suspended: Whether no round can be opened.
        aliases: Versions by alias.
        versions: In the order of anchoring.
    """

    model: ModelId
    title: str | None
    owner: str
    offered_to: str | None
    head: Digest
    participants: int
    plans: int
    rounds: int
    phase: Phase | None
    suspended: bool
    aliases: Mapping[str, Digest]
    versions: tuple[AnchoredVersion, ...]


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """A model in a list; fields as in `ModelFacts`."""

    model: ModelId
    title: str | None
    owner: str
    head: Digest
    participants: int
    rounds: int


def model_facts(
    client: Client, store: ContentStore, model: ModelId, metrics: Mapping[Digest, Mapping[str, float]]
) -> ModelFacts:
    """Read a model.

    Args:
        client: The contract.
        store: Where its title is sought.
        model: The model.
        metrics: Metrics of its versions, see `metrics_of_versions`.

    Raises:
        InputError: No final block has the model.
    """
    from registry.ethereum.keys import to_checksum
    from registry.index.log_source import LogSource
    from registry.lineage.graph import versions_of
    from registry.lineage.version_labels import read_labels

    state, labels, steps = client.model(model), read_labels(client, model), versions_of(client, model)
    times = LogSource(client.w3, ()).times(step.block for step in steps.values())
    versions = tuple(
        AnchoredVersion(
            version=step.digest,
            round=step.round or None,
            parent=step.parent if any(step.parent) else None,
            tensor_root=step.tensor_root,
            block=step.block,
            time=times[step.block],
            deprecated=step.deprecated,
            metrics=metrics.get(step.digest, {}),
            labels=label_facts(labels, step.digest),
        )
        for step in steps.values()
    )
    return ModelFacts(
        model=model,
        title=_title(store, state.head),
        owner=to_checksum(state.owner),
        offered_to=to_checksum(state.pending_owner) if any(state.pending_owner) else None,
        head=state.head,
        participants=state.participants,
        plans=state.plans,
        rounds=state.rounds,
        phase=client.phase(model, state.rounds) if state.rounds else None,
        suspended=state.suspended,
        aliases=labels.aliases,
        versions=versions,
    )


def model_summaries(client: Client, store: ContentStore, owner: Address | None = None) -> Iterator[ModelSummary]:
    """Yield the contract's models up to the latest block, in order of registration; with an owner only its own."""
    from registry.chain.contract_events import ModelRegistered
    from registry.ethereum.keys import to_checksum

    for event in client.events(ModelRegistered, to_block=client.latest_block()):
        if not isinstance(event, ModelRegistered):
            continue
        state = client.model(event.model_id)
        if owner is None or state.owner == owner:
            title, who = _title(store, state.head), to_checksum(state.owner)
            yield ModelSummary(event.model_id, title, who, state.head, state.participants, state.rounds)


def _title(store: ContentStore, digest: bytes) -> str | None:
    """Return a version's title if its manifest is available locally."""
    from registry.content.manifest import VersionManifest, manifest_cid
    from registry.errors import ContentError, FormError
    from registry.store.manifests import get_manifest

    at = digest
    try:
        while store.has(manifest_cid(at)):
            manifest = get_manifest(store, at, VersionManifest)
            if manifest.statement is not None:
                return manifest.statement.title or None
            if manifest.parent is None:
                return None
            at = manifest.parent.digest
    except (ContentError, FormError):
        return None  # optional: the model is shown without its title
    return None
