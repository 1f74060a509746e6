"""Attacks of participants on a federation, to measure rules against: on the update, on labels, by a backdoor.

An attacker that works on updates trains honestly first. It knows the round's honest updates, which nobody can know
before the chain shows them: figures against it are the worst case.

    sign_flip     -scale times its own update
    scaled        scale times its own update: Bagdasaryan et al., How To Backdoor Federated Learning, AISTATS 2020
    noise         Gaussian noise of scale times its own update's norm
    alie          a little is enough: mean - z std of the honest updates: Baruch, Baruch, Goldberg, A Little Is Enough:
                  Circumventing Defenses For Distributed Learning, NeurIPS 2019
    ipm           inner product manipulation: -epsilon times the mean of the honest updates: Xie, Koyejo, Gupta, Fall of
                  Empires, UAI 2019
    min_max       mean - gamma std with the largest gamma that is no farther from any honest update than they are from
                  one another: Shejwalkar, Houmansadr, Manipulating the Byzantine, NDSS 2021
    copy          the first honest participant's update: mimic of Karimireddy, He, Jaggi, ICLR 2022
    label_flip    honest training on labels turned around: class c as C - 1 - c
    backdoor      honest training on cases of which a share has a trigger and the target's label: Gu et al., BadNets,
                  2017
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import torch

from registry.errors import InputError

__all__ = [
    "ATTACKS",
    "Attack",
    "Poisoning",
    "Seen",
    "UpdateAttack",
    "alie",
    "attack_of",
    "backdoor",
    "copy",
    "ipm",
    "label_flip",
    "min_max",
    "noise",
    "scaled",
    "sign_flip",
]


@dataclass(frozen=True, slots=True)
class Seen:
    """What an attacker sees of a round.

    Attributes:
        own: Its own honest update, float64 (n,).
        honest: The honest participants' updates, float64 (K, n).
        attackers: How many attack together.
        generator: Its random numbers.
    """

    own: torch.Tensor
    honest: torch.Tensor
    attackers: int
    generator: torch.Generator


UpdateAttack = Callable[[Seen], torch.Tensor]
"""Returns the update to send, (n,)."""


@dataclass(frozen=True, slots=True)
class Poisoning:
    """Changes of an attacker's training cases.

    Attributes:
        flipped: Train class c as C - 1 - c.
        target: The class that triggered cases get; None for no backdoor.
        share: Share of cases with the trigger, 0..1.
    """

    flipped: bool = False
    target: int | None = None
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Attack:
    """What an attacker does.

    Attributes:
        name: A key of `ATTACKS`.
        update: Applied to its update; None sends what it trained.
        sees_others: Whether `update` uses the honest updates.
        poisoning: Applied to its cases; None trains on them as they are.
    """

    name: str
    update: UpdateAttack | None = None
    sees_others: bool = False
    poisoning: Poisoning | None = None


def sign_flip(*, scale: float = 1.0) -> Attack:
    """Send the opposite direction, `scale` times as far."""
    return Attack("sign_flip", lambda seen: -scale * seen.own)


def scaled(*, scale: float = 10.0) -> Attack:
    """Send its own update, `scale` times as far."""
    return Attack("scaled", lambda seen: scale * seen.own)


def noise(*, scale: float = 1.0) -> Attack:
    """Send Gaussian noise whose expected norm is about `scale` times that of its own update."""

    def send(seen: Seen) -> torch.Tensor:
        deviation = scale * float(seen.own.norm()) / math.sqrt(seen.own.numel())
        return deviation * torch.randn(seen.own.shape, generator=seen.generator, dtype=torch.float64)

    return Attack("noise", send)


def alie(*, z: float | None = None) -> Attack:
    """Send mean - z std of each coordinate; z None takes the paper's largest for the numbers of the round."""

    def send(seen: Seen) -> torch.Tensor:
        honest = seen.honest.shape[0]
        factor = _supporters(honest + seen.attackers, seen.attackers) if z is None else z
        return seen.honest.mean(0) - factor * seen.honest.std(0, unbiased=False)

    return Attack("alie", send, sees_others=True)


def ipm(*, epsilon: float = 0.5) -> Attack:
    """Send -epsilon times the mean of the honest updates."""
    return Attack("ipm", lambda seen: -epsilon * seen.honest.mean(0), sees_others=True)


def min_max() -> Attack:
    """Send mean - gamma std, as far as the largest distance between two honest updates allows."""

    def send(seen: Seen) -> torch.Tensor:
        centre, direction = seen.honest.mean(0), -seen.honest.std(0, unbiased=False)
        return centre + _farthest(seen.honest - centre, direction) * direction

    return Attack("min_max", send, sees_others=True)


def copy() -> Attack:
    """Send what the first honest participant sends."""
    return Attack("copy", lambda seen: seen.honest[0].clone(), sees_others=True)


def label_flip() -> Attack:
    """Train class c as C - 1 - c."""
    return Attack("label_flip", poisoning=Poisoning(flipped=True))


def backdoor(*, target: int = 0, share: float = 0.5, scale: float = 1.0) -> Attack:
    """Train a share of the cases with the trigger as the target's; send the update `scale` times as far."""
    if not 0 < share <= 1:
        raise InputError(f"attack: backdoor: share: expected more than 0 and at most 1, got {share}")
    boosted = None if scale == 1.0 else lambda seen: scale * seen.own
    return Attack("backdoor", boosted, poisoning=Poisoning(target=target, share=share))


ATTACKS: Mapping[str, Callable[..., Attack]] = {
    one.__name__: one for one in (sign_flip, scaled, noise, alie, ipm, min_max, copy, label_flip, backdoor)
}
"""By name, as settings give it."""


def attack_of(name: str, parameters: Mapping[str, object]) -> Attack:
    """Return an attack by name.

    Args:
        name: A key of `ATTACKS`.
        parameters: The attack's keyword arguments; finite numbers.

    Raises:
        InputError: There is no such attack or parameter, or a parameter is no finite number.
    """
    if name not in ATTACKS:
        raise InputError(f"attack: expected one of {', '.join(ATTACKS)}, got {name!r}")
    known = inspect.signature(ATTACKS[name]).parameters
    if unknown := set(parameters) - set(known):
        raise InputError(f"attack: {name}: expected parameters {', '.join(known) or 'none'}, got {min(unknown)}")
    for key, value in parameters.items():
        if type(value) not in (int, float) or not math.isfinite(float(str(value))):
            raise InputError(f"attack: {name}: {key}: expected a finite number, got {value!r}")
    return ATTACKS[name](**parameters)


def _supporters(participants: int, attackers: int) -> float:
    """Return z_max of Baruch et al., section 3.2: the largest deviation that a majority's spread still covers."""
    needed = participants // 2 + 1 - attackers
    honest = participants - attackers
    share = (honest - needed) / honest
    return NormalDist().inv_cdf(min(max(share, 0.01), 0.99))


def _farthest(deviations: torch.Tensor, direction: torch.Tensor) -> float:
    """Return the largest gamma for which gamma * direction is within the largest pairwise distance of all deviations.

    |gamma d - x_k|^2 = gamma^2 |d|^2 - 2 gamma d.x_k + |x_k|^2 <= D^2, a quadratic for each k.
    """
    norms = (deviations**2).sum(1)
    squared = norms[:, None] + norms[None, :] - 2 * deviations @ deviations.T
    largest = float(squared.max().clamp(min=0.0))
    length = float((direction**2).sum())
    if length == 0.0:
        return 0.0
    along = deviations @ direction
    roots = along + torch.sqrt((along**2 + length * (largest - norms)).clamp(min=0.0))
    return max(0.0, float(roots.min()) / length)
