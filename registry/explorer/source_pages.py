"""The pages of what facts come from: a block's events, and a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from registry.content.heads import read_head
from registry.content.manifest import Manifest, decode_any, manifest_cid
from registry.errors import ContentError, FormError
from registry.explorer.reading import AsOf, NotThere, Reading, hex_of, number_of
from registry.index import queries
from registry.index.entries import Block
from registry.types import Cid, Digest

__all__ = ["BlockFact", "BlockPage", "ManifestPage", "block_page", "manifest_bytes", "manifest_page"]

_MOST = 500


@dataclass(frozen=True, slots=True)
class BlockFact:
    """An event's fact; a block's hash and a log index name one log, and its transaction, on any node."""

    log_index: int
    table: str


@dataclass(frozen=True, slots=True)
class BlockPage:
    """A block with the facts that stand in it.

    Attributes:
        time: Unix seconds; 0 if not known yet.
        final: Whether it is final.
        facts: By log index, at most 500.
        more: Whether there are more.
    """

    as_of: AsOf
    number: int
    hash: bytes
    time: int
    final: bool
    facts: tuple[BlockFact, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class ManifestPage:
    """A manifest that an event or another manifest names.

    Attributes:
        digest: By which it is named.
        cid: CID of the block with that digest: the manifest, or its head.
        kind: What it is.
    """

    as_of: AsOf
    digest: Digest
    cid: Cid
    kind: str
    manifest: Manifest


def block_page(reading: Reading, path: Mapping[str, str], query: Mapping[str, str]) -> BlockPage:
    """Return an indexed block."""
    number = number_of(path["number"], "block number")
    block = queries.block_at(reading.db, number)
    if block is None:
        raise NotThere(f"block {number}: no fact up to block {reading.as_of.block} stands in it")
    found = queries.facts_of_block(reading.db, number)
    return BlockPage(
        as_of=reading.as_of,
        number=number,
        hash=block.hash,
        time=reading.times.times_of([Block(*block)])[number],
        final=reading.as_of.final is not None and number <= reading.as_of.final,
        facts=tuple(BlockFact(*fact) for fact in found[:_MOST]),
        more=len(found) > _MOST,
    )


def manifest_page(reading: Reading, path: Mapping[str, str], query: Mapping[str, str]) -> ManifestPage:
    """Return a manifest."""
    digest = Digest(hex_of(path["digest"], 32, "manifest's digest"))
    data = manifest_bytes(reading, digest)
    try:
        manifest = decode_any(data)
    except FormError as error:
        raise NotThere(f"0x{digest.hex()}: expected a manifest, got other bytes: {error}") from error
    return ManifestPage(reading.as_of, digest, manifest_cid(digest), manifest.KIND, manifest)


def manifest_bytes(reading: Reading, digest: Digest) -> bytes:
    """Return a manifest's bytes: of one that the index or a manifest names, so that nobody has others fetched.

    Raises:
        NotThere: Nothing names it, or it is unavailable.
    """
    if not (queries.is_named(reading.db, digest) or reading.catalogue.naming(digest)):
        raise NotThere(f"nothing up to block {reading.as_of.block} names a manifest 0x{digest.hex()}")
    try:
        data = reading.store.get(manifest_cid(digest))
        body = read_head(data)
        return data if body is None else reading.store.get(body)
    except ContentError as error:
        raise NotThere(f"the manifest 0x{digest.hex()} is unavailable from this store") from error
