"""An auditor at work against a quorum that hides and shows what it likes: what several files of attacks play with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from registry.chain.contract_events import ResultConvicted
from registry.chain.contract_structs import Opening, Result
from registry.chain.court import Court
from registry.chain.demand_terms import is_of_head
from registry.chain.sentinels import NOTHING
from registry.content.manifest import manifest_cid
from registry.dev.embedded import sleep_until
from registry.dev.forgeries import Edit, falsified
from registry.disputes.demands import demands_of
from registry.roles import auditor
from registry.roles.purse import Purse
from registry.store.base import ContentStore
from registry.store.blobs import walk_blob
from registry.store.memory import MemoryStore
from registry.types import Blob, Fault, Phase, Root

__all__ = ["convicted", "every_value", "lie", "show", "update_of", "without"]

ETHER = 10**18


def convicted(
    house: Any,
    store: ContentStore | None = None,
    answer: Callable[[], None] = lambda: None,
    folder: str = "auditor",
    *,
    number: int = 1,
    memory: auditor.AuditorMemory | None = None,
) -> Fault:
    """Let an auditor with this store work until the result is void; NONE if it stands at the end."""
    client, memory = house.stranger, memory or auditor.AuditorMemory()
    purse = Purse(client, house.folder / "purse.json", 10 * ETHER)
    for _ in range(60):
        said = auditor.advance(
            client, store or house.store, house.folder / folder, house.model_id, purse=purse, memory=memory
        )
        answer()
        if client.phase(house.model_id, number) != Phase.CHALLENGE:
            break
        demands = demands_of(Court(client), client.dispute(house.model_id, number))
        if not said and demands.open:
            sleep_until(house.chain.w3, max(demands.late_deadlines[leaf] for leaf in demands.open))
    latest = house.chain.w3.eth.block_number
    found = list(Court(client).events(ResultConvicted, subject=house.record(number).round_id, to_block=latest))
    return found[-1].fault if found else Fault.NONE  # type: ignore[attr-defined, no-any-return]


def without(house: Any, *blobs: Blob) -> MemoryStore:
    """What is published, but for some files."""
    public = MemoryStore()
    public._blocks.update(house.store._blocks)
    for blob in blobs:
        for cid, _ in list(walk_blob(house.store, blob)):
            del public._blocks[cid.digest]
    return public


def update_of(house: Any, name: str, *, number: int = 1) -> Blob:
    """The file that a participant committed to."""
    verdict = next(v for v in house.verdicts(number=number) if v.commitment.participant == house.clients[name].account)
    return verdict.manifest.delta.blob  # type: ignore[no-any-return]


def every_value(edit_of: Callable[[int], Edit], values: int) -> Edit:
    def edit(data: bytes) -> bytes:
        for position in range(values):
            data = edit_of(position)(data)
        return data

    return edit


def lie(house: Any, store: ContentStore, **edits: Edit) -> Result:
    return falsified(store, house.outcome(), **edits)


def show(house: Any, openings: Mapping[Root, Callable[[int], Opening]], *, number: int = 1) -> None:
    """Mallory shows what is demanded of these trees, and heads; nothing where there are none."""
    court = Court(house.mallory)
    dispute = house.mallory.dispute(house.model_id, number)
    if any(dispute.tally):
        for leaf in demands_of(court, dispute).open:
            if leaf.root in openings:
                court.show_leaf(leaf, openings[Root(leaf.root)](leaf.index))
            elif is_of_head(leaf) and openings:
                head = house.store.get(manifest_cid(leaf.root))
                court.show_leaf(leaf, Opening(NOTHING.counted, head, ()))
