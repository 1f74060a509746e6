"""A round's public draw: a random order of its contributions, which any reader can redo from records.

The seed is sha2-256 of the text `cairn draw`, the round's id and its running hash, which covers every commitment in
order. It is fixed once commits have closed, before anybody publishes an update. What is put in order are the admitted
updates, by ascending participant, as in the list of contributions.

Whoever commits last can compute the draw of several commitments of theirs, such as with other steps or noise, and send
the one they like best; likewise, attesters who refuse an update move the draw of the others. So a draw is public and
redone by everyone, but not free of influence: nothing that must hold against attackers may depend on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from registry.rounds.onchain import RoundRecord
from registry.rules.draw import shuffled
from registry.types import Address

__all__ = ["draw_seed", "drawn_order"]


def draw_seed(round_id: bytes, running_hash: bytes) -> bytes:
    """Return the seed of a round's draw, 32 bytes."""
    return hashlib.sha256(b"cairn draw" + round_id + running_hash).digest()


def drawn_order(record: RoundRecord, participants: Sequence[Address]) -> tuple[int, ...]:
    """Return a random order of participants, as places in the sequence given; the same whatever their order there."""
    ascending = sorted(range(len(participants)), key=lambda k: participants[k])
    seed = draw_seed(record.round_id, record.running_hash)
    return tuple(ascending[place] for place in shuffled(seed, len(participants)))
