"""CIDs as people copy them: `ipfs://` links, `/ipfs/` paths, gateway URLs, upper case, stray blanks.

Every command reads CIDs here. `registry.content.cid` stays strict: it reads what programs write.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from registry.errors import FormError

if TYPE_CHECKING:
    from registry.types import Cid

__all__ = ["cid_named", "copied_cid"]

_LINKS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?:dweb:)?(?:ipfs://|ipfs:/*|/*ipfs/)(?P<cid>[^/?#]+)(?P<path>/[^?#]*)?(?:[?#].*)?",
        r"https?://[^/]+/ipfs/(?P<cid>[^/?#]+)(?P<path>/[^?#]*)?(?:[?#].*)?",
        r"https?://(?P<cid>[^./]+)\.ipfs\.[^/]+(?P<path>/[^?#]*)?(?:[?#].*)?",
    )
)
_V0 = re.compile(r"Qm[1-9A-HJ-NP-Za-km-z]{44}")


def copied_cid(text: str) -> str:
    """Return the CID, or a prefix of one, that is in a link, path or URL; other text comes back stripped of blanks.

    Raises:
        FormError: The link leads to a file in a folder, or names a CIDv0.
    """
    text = text.strip().strip("\"'<>").strip()
    for link in _LINKS:
        found = link.fullmatch(text)
        if found is not None:
            text = found["cid"]
            if (found["path"] or "").strip("/"):
                raise FormError(f"CID {text}: expected the link of a file, got a path in a folder: {found['path']}")
            break
    if _V0.fullmatch(text):
        raise FormError(
            f"CID {text}: expected a CIDv1 (b…), got a CIDv0, which names the root block {_first_version(text)}. Its "
            "file is chunked in another way than Cairn's: fetch it with `ipfs get` and add it with `cairn store add`"
        )
    return text.lower() if re.fullmatch(r"BAF[A-Z2-7]+", text) else text


def cid_named(text: str) -> Cid:
    """Parse a whole CID, as people copy it.

    Raises:
        FormError: There is none in the text, or one of another kind; the message says which.
    """
    from registry.content.cid import parse_cid

    return parse_cid(copied_cid(text))


def _first_version(text: str) -> Cid | str:
    """Return the CIDv1 of the block that a CIDv0 names."""
    from multiformats import CID

    from registry.types import Cid, Codec

    try:
        return Cid(Codec.DAG_PB, CID.decode(text).raw_digest)
    except (KeyError, ValueError):
        return "of a damaged CID"
