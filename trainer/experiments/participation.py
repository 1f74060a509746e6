"""Who takes part in a simulated round and who runs short of time, drawn from the run's seed.

A fixed share of the participants takes part in each round, as by Flower's `fraction_train`; of these, a fixed share are
stragglers, who have time for some of the plan's epochs only (Li et al., Federated Optimization in Heterogeneous
Networks, MLSys 2020, section 5.2). What a straggler has done counts where the algorithm knows partial work, and is lost
elsewhere. A plan's own `sampled` draws from the block that opens a round, which no seed decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from registry.errors import InputError

__all__ = ["PartialParticipation", "Present", "participation_of"]

Present = Mapping[int, int | None]
"""Who takes part in a round: places, from 0, with the local epochs that a straggler has time for, None for others."""

_TAG = 11
"""Parts this draw from the others of the same seed."""


@dataclass(frozen=True, slots=True)
class PartialParticipation:
    """How many take part in a round.

    Attributes:
        share: Share of the participants, above 0 and up to 1; at least one takes part.
        stragglers: Share of those who are short of time, 0 up to less than 1; at least one is not.
    """

    share: float = 1.0
    stragglers: float = 0.0

    def counts(self, participants: int) -> tuple[int, int]:
        """Return how many take part in a round, and how many of them are stragglers."""
        asked = max(1, round(self.share * participants))
        return asked, min(round(self.stragglers * asked), asked - 1)

    def present(self, participants: int, epochs: int, partial: bool, seed: int, number: int) -> Present:
        """Draw who takes part in a round.

        Args:
            participants: How many there are.
            epochs: The plan's number of local epochs.
            partial: Whether an update of fewer epochs counts; stragglers are left out if not.
            seed: The run's.
            number: The round's.
        """
        asked, slow = self.counts(participants)
        rng = np.random.default_rng([seed, _TAG, number])
        places = rng.permutation(participants)[:asked]
        done = rng.integers(1, max(epochs, 2), size=slow)  # 1 to one fewer than all
        present: dict[int, int | None] = {int(place): None for place in places[slow:]}
        if partial:
            present |= {int(place): int(some) for place, some in zip(places[:slow], done, strict=True)}
        return dict(sorted(present.items()))


def participation_of(given: Mapping[str, Any]) -> PartialParticipation:
    """Return what a table of settings says.

    Raises:
        InputError: A setting is unknown or out of range.
    """
    share, stragglers = given.get("share", 1.0), given.get("stragglers", 0.0)
    numbers = all(type(one) in (int, float) for one in (share, stragglers))
    if set(given) - {"share", "stragglers"} or not numbers or not (0 < share <= 1 and 0 <= stragglers < 1):
        raise InputError(
            "participation: expected share, above 0 and up to 1, and stragglers, 0 up to less than 1, "
            f"got {dict(given)}"
        )
    return PartialParticipation(float(share), float(stragglers))
