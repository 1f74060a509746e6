"""Known answers of Ethereum nodes and RPC providers to requests that they cannot serve, or not now.

JSON-RPC has no common error codes for these, so an answer is known by its code and a phrase of its message, as each
provider writes it. Where one code means several things (Infura's -32005: too many requests, or too many logs), entries
with a phrase come first. An answer that no entry fits means what it says: the node refuses the request.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["ANSWERS", "SILENT_LOG_CAPS", "STATE_GONE", "KnownAnswer", "Meaning", "meaning_of"]


class Meaning(enum.StrEnum):
    """What an error answer means."""

    BUSY = "it limits how often it is asked"
    NOT_YET = "it has not got that far yet"
    NO_PENDING = "it serves no pending block"
    NO_BATCH = "it takes no batch, or no batch of this size"
    LOG_CAP = "it serves fewer blocks or logs at once"
    PRUNED = "it no longer keeps data that old: an archive node does"


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """An error answer.

    Attributes:
        source: Who answers so.
        meaning: What it means.
        phrase: Part of the message, lower case; empty for any message.
        code: JSON-RPC error code, or for HTTP errors the status; None for any.
    """

    source: str
    meaning: Meaning
    phrase: str = ""
    code: int | None = None


_LOGS, _BUSY, _PRUNED = Meaning.LOG_CAP, Meaning.BUSY, Meaning.PRUNED
ANSWERS: tuple[KnownAnswer, ...] = (
    KnownAnswer("Infura", _LOGS, "query returned more than", -32005),
    KnownAnswer("Alchemy", _LOGS, "log response size exceeded"),
    KnownAnswer("Alchemy", _LOGS, "block range should work"),
    KnownAnswer("QuickNode", _LOGS, "eth_getlogs is limited to a"),
    KnownAnswer("Cloudflare", _LOGS, "range too large"),
    KnownAnswer("Ankr", _LOGS, "block range is too wide"),
    KnownAnswer("PublicNode", _LOGS, "exceed maximum block range"),
    KnownAnswer("dRPC", _LOGS, "ranges over"),
    KnownAnswer("LlamaRPC", _LOGS, "max block range"),
    KnownAnswer("proxies", _LOGS, "block range is limited"),
    KnownAnswer("Besu", _LOGS, "requested range exceeds maximum"),
    KnownAnswer("Erigon", _LOGS, "query block range exceeds"),
    KnownAnswer("Nethermind", _LOGS, "too many logs requested"),
    KnownAnswer("proxies", _LOGS, "range", -32005),
    KnownAnswer("BNB Smart Chain", _LOGS, "limit exceeded", -32005),
    KnownAnswer("geth", Meaning.NOT_YET, "header not found"),
    KnownAnswer("geth", Meaning.NOT_YET, "transaction indexing is in progress"),
    KnownAnswer("geth", Meaning.NO_PENDING, "pending block is not available"),
    KnownAnswer("geth", Meaning.NO_PENDING, "pending state is not available"),
    KnownAnswer("Erigon", Meaning.NO_PENDING, "pending block not"),
    KnownAnswer("zkSync", Meaning.NO_PENDING, "pending tag"),
    KnownAnswer("Avalanche", Meaning.NO_PENDING, "pending block tag"),
    KnownAnswer("proxies", Meaning.NO_PENDING, "'pending' is not supported"),
    KnownAnswer("geth", Meaning.NO_BATCH, "batch too large"),
    KnownAnswer("geth", Meaning.NO_BATCH, "response too large"),
    KnownAnswer("Besu", Meaning.NO_BATCH, "batch size"),
    KnownAnswer("proxies", Meaning.NO_BATCH, "batch"),
    KnownAnswer("geth", _PRUNED, "missing trie node"),
    KnownAnswer("geth", _PRUNED, "historical state"),
    KnownAnswer("geth", _PRUNED, "pruned history unavailable"),
    KnownAnswer("geth", _PRUNED, "is not available, state"),
    KnownAnswer("Nethermind", _PRUNED, "no state available for block"),
    KnownAnswer("Erigon", _PRUNED, "old data not available due to pruning"),
    KnownAnswer("Reth", _PRUNED, "is pruned"),
    KnownAnswer("Besu", _PRUNED, "world state unavailable"),
    KnownAnswer("Alchemy", _PRUNED, "archive"),
    KnownAnswer("Infura", _BUSY, "", -32005),
    KnownAnswer("QuickNode", _BUSY, "", -32007),
    KnownAnswer("Base", _BUSY, "", -32016),
    KnownAnswer("dRPC", _BUSY, "", -32029),
    KnownAnswer("Alchemy", _BUSY, "", 429),
    KnownAnswer("Alchemy", _BUSY, "compute units per second"),
    KnownAnswer("QuickNode", _BUSY, "request limit reached"),
    KnownAnswer("proxies", _BUSY, "rate limit"),
    KnownAnswer("proxies", _BUSY, "too many requests"),
    KnownAnswer("Cloudflare", _BUSY, "request rate exceeded"),
)
"""The first entry that fits says what an answer means."""

STATE_GONE = frozenset({_PRUNED, Meaning.NOT_YET})
"""What an answer about an old block means where the node has no data of it."""

SILENT_LOG_CAPS = frozenset({1000, 2000, 5000, 10_000, 20_000})
"""Numbers of logs at which some proxies cut an answer without saying so. A range of several blocks with exactly that
many is read again in two halves."""


_REVERTED = 3
"""JSON-RPC error code of a call that the contract reverted."""


def meaning_of(code: int, said: str) -> Meaning | None:
    """Return what an error answer means; None if it is not a known one."""
    words = said.lower()
    if code == _REVERTED or "execution reverted" in words:
        return None  # the words are a contract's
    for answer in ANSWERS:
        if answer.code in (None, code) and answer.phrase in words:
            return answer.meaning
    return None
