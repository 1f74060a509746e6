"""Links of a block, and the DAG reachable from a root, which a recursive pin keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from registry.content.cid import decode_cid
from registry.content.unixfs import parse_node
from registry.errors import FormError
from registry.types import MAX_MANIFEST_BYTES, Cid, Codec

__all__ = ["links_of", "reachable"]


def links_of(cid: Cid, data: bytes) -> tuple[Cid, ...]:
    """Return a block's links in document order, with duplicates.

    Raises:
        FormError: data is not of the codec of cid, or links to a CID of a kind that Cairn does not read.
    """
    if cid.codec is Codec.RAW:
        return ()
    if cid.codec is Codec.DAG_PB:
        return tuple(link.cid for link in parse_node(data))
    import dag_cbor  # lazy: the import takes longer than most commands

    if len(data) > MAX_MANIFEST_BYTES:
        raise FormError(f"{cid}: expected at most {MAX_MANIFEST_BYTES} bytes of DAG-CBOR, got {len(data)}")
    try:
        return tuple(_links_in(dag_cbor.decode(data)))
    except FormError:
        raise
    except RecursionError:
        raise FormError(f"{cid}: expected DAG-CBOR, got a block nested too deep") from None
    except Exception as error:  # dag_cbor's errors have no common base class
        raise FormError(f"{cid}: expected DAG-CBOR, got {type(error).__name__}: {error}") from error


def reachable(get: Callable[[Cid], bytes], root: Cid) -> Iterator[Cid]:
    """Yield the CIDs of the DAG under root, each once, parents before children; raw blocks are not fetched.

    Args:
        get: Returns a block's verified bytes.
        root: Root of the DAG.

    Raises:
        FormError: A block is not of the codec of its CID.
    """
    seen = {root}
    waiting = [root]
    while waiting:
        cid = waiting.pop()
        yield cid
        if cid.codec is Codec.RAW:
            continue
        fresh = dict.fromkeys(link for link in links_of(cid, get(cid)) if link not in seen)
        seen.update(fresh)
        waiting.extend(reversed(fresh))


def _links_in(value: Any) -> Iterator[Cid]:
    from multiformats import CID

    if isinstance(value, CID):
        yield decode_cid(bytes(value))
    elif isinstance(value, dict):
        for member in value.values():
            yield from _links_in(member)
    elif isinstance(value, list):
        for member in value:
            yield from _links_in(member)
