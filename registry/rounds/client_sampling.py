"""Client sampling: a public draw of who is asked to take part in a round.

A plan whose algorithm says `sampled`, a share above 0 and up to 1, asks each participant with that probability, on its
own (Poisson sampling). The draw is sha2-256 over a tag, the hash of the block that opened the round, the round's id and
the participant's account: its first 8 bytes, big-endian, below share * 2^64 mean that the account is asked. So anyone
who knows the block can tell who was asked, without a list of participants, and nobody can tell before the round is
opened. Whoever builds the block, or chooses when to open the round, has some choice among draws.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from fractions import Fraction

from registry.errors import InputError
from registry.rounds.onchain import RoundRecord
from registry.types import Address

__all__ = ["asked_among", "is_asked", "require_asked"]

_TAG = b"cairn/sampled/1"


def is_asked(record: RoundRecord, share: Fraction, participant: Address) -> bool:
    """Return whether a round asks a participant, of which it asks this share."""
    drawn = hashlib.sha256(_TAG + record.opened_in + record.round_id + participant).digest()
    return int.from_bytes(drawn[:8], "big") < share * 2**64


def asked_among(record: RoundRecord, share: Fraction, accounts: Iterable[Address]) -> list[Address]:
    """Return which of these accounts a round asks, in their order."""
    return [account for account in accounts if is_asked(record, share, account)]


def require_asked(record: RoundRecord, share: Fraction, participant: Address) -> None:
    """Check that a round asks a participant.

    Raises:
        InputError: It does not; what the participant trained would be refused.
    """
    if not is_asked(record, share, participant):
        raise InputError(
            f"round {record.number}: expected an account that the round asks to take part, a share of {float(share):g} "
            f"drawn from block 0x{record.opened_in.hex()[:10]}, got 0x{participant.hex()}, which is not asked"
        )
