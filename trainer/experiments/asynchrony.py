"""Buffered asynchronous rounds, simulated by events: FedBuff (Nguyen et al., AISTATS 2022), with a chain's delays.

Each participant trains on the newest final version, sends its update and goes on with what is then the newest. A
version is made of each K updates; an update that was trained tau versions ago weighs floor(256 / sqrt(1 + tau)), out of
256 K. Sums are exact, on the plan's grid. A version is final some minutes after its last update, and the next is made
of a final one: finality, publishing and the challenge window.

Nothing here is on a chain, whose rounds do not overlap. K as the number of participants, each once, gives its rounds.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from registry.errors import InputError
from registry.rules.grid import F32, grid_integers, to_grid
from registry.rules.interpreter import I64
from registry.rules.step import server_step, step_exponent
from trainer.experiments.attacks import Seen, UpdateAttack

__all__ = ["Asynchrony", "BufferedVersion", "Sender", "asynchrony_of", "buffered_versions", "staleness_weight"]

_FULL = 256
"""Weight of an update trained on the parent of the version that it enters."""


@dataclass(frozen=True, slots=True)
class Asynchrony:
    """The clock of a simulated federation, and when a version is made.

    Attributes:
        buffer: K, updates a version; 0 for as many as there are participants.
        repeats: Whether one participant may send several of a version's updates.
        stale: Whether old updates weigh less.
        training: Median of the participants' training times, minutes.
        spread: Standard deviation of their logarithms.
        haste: How many times as fast as they would be attackers are.
        delay: Minutes from a version's last update until it is final.
    """

    buffer: int = 0
    repeats: bool = False
    stale: bool = True
    training: float = 30.0
    spread: float = 1.0
    haste: float = 1.0
    delay: float = 30.0

    def __post_init__(self) -> None:
        if type(self.buffer) is not int or self.buffer < 0:
            raise InputError(f"buffer: expected a number of updates, or 0 for one a participant, got {self.buffer!r}")
        if not (self.training > 0 and self.spread >= 0 and self.haste > 0 and self.delay >= 0):
            raise InputError(
                "expected training and haste above 0, spread and delay of 0 or more, "
                f"got {self.training}, {self.haste}, {self.spread} and {self.delay}"
            )


@dataclass(frozen=True, slots=True)
class Sender:
    """A participant.

    Attributes:
        train: Trains the module for one epoch; the number is that of its update, from 1.
        attack: Applied to its update, (n,); None sends what it trained.
        hasty: Whether it trains at an attacker's pace.
    """

    train: Callable[[nn.Module, int], object]
    attack: UpdateAttack | None = None
    hasty: bool = False


@dataclass(frozen=True, slots=True)
class BufferedVersion:
    """A version.

    Attributes:
        values: Its values, (n,).
        minutes: The clock when it is final.
        saturated: Number of values that the grid clipped, of all its updates.
        staleness: How many versions ago each of its updates was begun.
        senders: Whose they are.
    """

    values: F32
    minutes: float
    saturated: int
    staleness: tuple[int, ...]
    senders: tuple[int, ...]


def asynchrony_of(given: Mapping[str, Any]) -> Asynchrony | None:
    """Return what a table of settings says; None for an empty one.

    Raises:
        InputError: A setting is unknown or outside its range.
    """
    if not given:
        return None
    try:
        return Asynchrony(**given)
    except TypeError as error:
        known = ", ".join(Asynchrony.__dataclass_fields__)
        raise InputError(f"asynchrony: expected some of {known}, got {dict(given)}") from error
    except InputError as error:
        raise InputError(f"asynchrony: {error}") from error


def staleness_weight(versions: int) -> int:
    """Return floor(256 / sqrt(1 + tau)) for an update begun tau versions ago."""
    return math.isqrt(_FULL * _FULL // (1 + versions))


@dataclass(order=True, slots=True)
class _Training:
    """An update under way, ordered by when it is done."""

    done: float
    sender: int
    number: int = field(compare=False)
    version: int = field(compare=False)
    values: F32 = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Update:
    sender: int
    version: int
    integers: I64
    saturated: int


def buffered_versions(
    module: nn.Module,
    senders: Sequence[Sender],
    settings: Asynchrony,
    grid_bits: int,
    versions: int,
    seed: int,
) -> Iterator[BufferedVersion]:
    """Make versions of a module; yield each, when the module has its values.

    Args:
        module: A module of floating-point values, which begins with the genesis'.
        senders: The participants.
        settings: Clock and buffer.
        grid_bits: s; values beyond the grid are clipped.
        versions: How many.
        seed: Of the training times, and of what attackers draw.

    Raises:
        InputError: Without repeats there are fewer participants than a version has updates.
    """
    rng = np.random.default_rng([seed, 0xB0FF])
    times = settings.training * np.exp(settings.spread * rng.standard_normal(len(senders)))
    times[[place for place, one in enumerate(senders) if one.hasty]] /= settings.haste
    size, exponent = settings.buffer or len(senders), step_exponent(0, grid_bits, 0)
    if size > len(senders) and not settings.repeats:
        raise InputError(f"buffer: expected at most {len(senders)} updates, one a participant, got {size}")
    values, final = _values(module), 0.0
    older = values
    queue = [_Training(float(times[k]), k, 1, 0, values) for k in range(len(senders))]
    heapq.heapify(queue)
    buffer: list[_Update] = []
    idle: list[tuple[int, int]] = []
    for version in range(1, versions + 1):
        while len(buffer) < size:
            done = heapq.heappop(queue)
            buffer.append(_trained(module, senders[done.sender], done, grid_bits, seed))
            at = max(done.done, final)
            if settings.repeats:
                newest = (version - 1, values) if done.done >= final else (version - 2, older)
                again = _Training(done.done + times[done.sender], done.sender, done.number + 1, *newest)
                heapq.heappush(queue, again)
            else:
                idle.append((done.sender, done.number + 1))
        stale = tuple(version - 1 - one.version for one in buffer)
        weights = [staleness_weight(tau) if settings.stale else _FULL for tau in stale]
        older, values = values, server_step(values, _mean(buffer, weights), exponent)
        final = at + settings.delay
        _load(module, values)
        saturated = sum(one.saturated for one in buffer)
        yield BufferedVersion(values, final, saturated, stale, tuple(one.sender for one in buffer))
        buffer.clear()
        for sender, number in idle:
            heapq.heappush(queue, _Training(final + times[sender], sender, number, version, values))
        idle.clear()


def _trained(module: nn.Module, sender: Sender, what: _Training, grid_bits: int, seed: int) -> _Update:
    """Train what is under way, and put the update on the grid."""
    _load(module, what.values)
    sender.train(module, what.number)
    delta = _values(module).astype(np.float64) - what.values
    if sender.attack is not None:
        drawn = np.random.SeedSequence([seed, what.sender, what.number]).generate_state(1)[0]
        own = torch.from_numpy(delta)
        seen = Seen(own, torch.empty(0), 1, torch.Generator().manual_seed(int(drawn)))
        delta = sender.attack(seen).numpy()
    on_grid, saturated = to_grid(delta, grid_bits, saturate=True)
    integers = grid_integers(on_grid, grid_bits).astype(np.int64)
    return _Update(what.sender, what.version, integers, saturated)


def _mean(updates: Sequence[_Update], weights: Sequence[int]) -> I64:
    """Return the sum of weight * q over 256 K, rounded half to even."""
    sums = sum((weight * one.integers for one, weight in zip(updates, weights, strict=True)), np.int64(0))
    divisor = _FULL * len(updates)
    low, rest = np.divmod(sums, divisor)
    up = (2 * rest > divisor) | ((2 * rest == divisor) & (low % 2 == 1))
    found: I64 = low + up
    return found


def _values(module: nn.Module) -> F32:
    """Return a copy of the module's values, (n,)."""
    with torch.no_grad():
        found: NDArray[np.float32] = torch.cat([one.reshape(-1) for one in module.state_dict().values()]).numpy().copy()
    return found


def _load(module: nn.Module, values: F32) -> None:
    """Overwrite the module's values with a copy of these."""
    at = 0
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.copy_(torch.from_numpy(values[at : at + tensor.numel()]).reshape(tensor.shape))
            at += tensor.numel()
