"""Resolve unique prefixes of ids, as in git."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from registry.errors import InputError
from registry.types import Codec, Digest

__all__ = ["choose", "find_digest", "is_hex"]

T = TypeVar("T")
_SHOWN = 8


def choose(given: str, candidates: Mapping[str, T], what: str) -> T:
    """Return the candidate that a unique prefix of its id selects.

    Args:
        given: A prefix; hex ids with or without 0x, in either case.
        candidates: Values by id; hex ids in lower case without 0x.
        what: Noun for messages.

    Raises:
        InputError: No id has the prefix, or several do and none equals it.
    """
    wanted = given.removeprefix("0x").removeprefix("0X").lower() if is_hex(given) else given
    if not wanted:
        raise InputError(f"expected the id of a {what} or a unique prefix, got nothing")
    if wanted in candidates:
        return candidates[wanted]
    found = sorted(name for name in candidates if name.startswith(wanted))
    if len(found) == 1:
        return candidates[found[0]]
    if not found:
        raise InputError(f"no {what} begins with {given!r}{_known(candidates, what)}")
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise InputError(f"{given!r} is ambiguous, a prefix of {len(found)} {what}s: {', '.join(found[:_SHOWN])}{more}")


def is_hex(text: str) -> bool:
    """Return whether text is hex digits, with or without 0x."""
    digits = text[2:] if text[:2] in ("0x", "0X") else text
    return bool(digits) and all(c in "0123456789abcdefABCDEF" for c in digits)


def find_digest(text: str, what: str, known: Callable[[], Iterable[bytes]]) -> Digest:
    """Resolve a digest: in full as hex or as a manifest's CID, or by a unique prefix of a known one.

    Args:
        text: The user's text.
        what: Noun for messages.
        known: Returns the digests that a prefix may select; called only for a prefix.

    Raises:
        InputError: The text is none of these, or no known digest has the prefix, or several do.
    """
    from registry.content.cid import parse_cid
    from registry.content.copied_cids import copied_cid

    text = copied_cid(text)
    digits = text.removeprefix("0x").removeprefix("0X")
    if is_hex(text) and len(digits) == 64:
        return Digest(bytes.fromhex(digits))
    if text.startswith("baf") and not is_hex(text):
        cid = parse_cid(text)
        if cid.codec is Codec.DAG_CBOR:
            return Digest(cid.digest)
    if is_hex(text) and len(digits) < 64:
        return Digest(choose(text, {digest.hex(): digest for digest in known()}, what))
    raise InputError(
        f"expected the digest of the {what}, 32 bytes in hex or a unique prefix of them, or its manifest's CID, "
        f"got {text!r:.100}"
    )


def _known(candidates: Iterable[str], what: str) -> str:
    names = sorted(candidates)
    if not names:
        return f": there is no {what} yet"
    shown = ", ".join(name[:12] for name in names[:_SHOWN])
    return f": there are {shown}{', …' if len(names) > _SHOWN else ''}"
