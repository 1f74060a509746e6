"""Search by id, CID, digest, sha256 and address, in full or by a prefix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from registry.content.cid import parse_cid
from registry.content.copied_cids import copied_cid
from registry.errors import FormError, InputError
from registry.explorer.reading import AsOf, Reading
from registry.index.name_queries import NamedFact, named_facts
from registry.lineage.identify import FileName, identify
from registry.types import Cid, Codec

__all__ = ["Hit", "SearchPage", "search_page"]

_LEAST, _MOST = 4, 20
"""Hex digits of a prefix, and hits of one kind that are shown."""


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that goes by the searched name.

    Attributes:
        kind: What it is.
        name: Its whole name.
        page: Path of its page.
    """

    kind: str
    name: str
    page: str


@dataclass(frozen=True, slots=True)
class SearchPage:
    """What was found.

    Attributes:
        query: What was searched, without blanks around it; empty if nothing was.
        hits: At most 20 of each kind.
        unread: Number of unavailable manifests of updates and versions, if a whole digest was searched: there may be
            more.
    """

    as_of: AsOf
    query: str
    hits: tuple[Hit, ...]
    unread: int


def search_page(reading: Reading, path: Mapping[str, str], query: Mapping[str, str]) -> SearchPage:
    """Search.

    Raises:
        InputError: The text is neither hex nor a CID.
    """
    text = query.get("q", "").strip()
    if not text:
        return SearchPage(reading.as_of, "", (), 0)
    cid, digits = _parsed(text)
    hits = [_hit(fact) for fact in named_facts(reading.db, digits, most=_MOST)]
    unread = 0
    if len(digits) == 64:
        file = FileName(cid, None) if cid is not None and cid.codec is not Codec.DAG_CBOR else None
        name = file or FileName(None, bytes.fromhex(digits))
        found = identify(reading.db, reading.catalogue, name, unread=reading.unread)
        hits += [
            _version(f"file of a version, {_made(one.number)}", one.model_id, one.digest) for one in found.versions
        ]
        unread = found.unread
        if reading.catalogue.naming(bytes.fromhex(digits)):
            hits.append(Hit("data set", f"0x{digits}", f"/data-sets/0x{digits}"))
    return SearchPage(reading.as_of, text, tuple(dict.fromkeys(hits)), unread)


def _parsed(text: str) -> tuple[Cid | None, str]:
    """Return the CID, if the text is one, and the hex digits of its digest or of the text."""
    digits = text.removeprefix("sha256:").removeprefix("0x").removeprefix("0X").lower()
    if not digits.strip("0123456789abcdef"):
        if not _LEAST <= len(digits) <= 64:
            raise InputError(f"expected {_LEAST} to 64 hex digits, got {len(digits)}")
        return None, digits
    try:
        cid = parse_cid(copied_cid(text))
    except FormError as error:
        raise InputError(f"expected hex digits of an id, digest or address, or a CID: {error}") from error
    return cid, cid.digest.hex()


def _hit(fact: NamedFact) -> Hit:
    name = f"0x{fact.name.hex()}"
    if fact.kind == "version" and fact.model is not None:
        return _version(fact.kind, fact.model, fact.name)
    if fact.model is not None:
        model, kept = f"/models/0x{fact.model.hex()}", fact.kind in ("plan", "round")
        kind = fact.kind if kept else f"{fact.kind} of round {fact.number}"
        return Hit(kind, name, f"{model}/{'plans' if fact.kind == 'plan' else 'rounds'}/{fact.number}")
    if fact.kind == "account":
        return Hit(fact.kind, name, f"/participants/{name}")
    return Hit(fact.kind, name, f"/blocks/{fact.number}" if fact.kind == "block" else f"/models/{name}")


def _version(kind: str, model: bytes, digest: bytes) -> Hit:
    return Hit(kind, f"0x{digest.hex()}", f"/models/0x{model.hex()}/versions/0x{digest.hex()}")


def _made(number: int) -> str:
    return f"round {number}" if number else "published by its owner"
