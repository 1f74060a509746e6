"""Agents that share a body: six fetch parcels, see rooms by one body, and move by private heads that nobody else gets.

Each agent has moves of its own: four, six or eight, in an order of its own. So their heads fit nobody else, not even in
size, while all look at the same kind of room; and each knows a few rooms only. Rounds are real: committed on an
in-process chain, checked, averaged exactly, attested. Beside them each agent learns alone from as many steps.

    python examples/agents/agents.py --out agents           # everything; --small tries it out
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from registry.content.manifest import DataSetManifest
from registry.rounds.versions import load_version_manifest, read_header
from registry.store.local import LocalStore
from registry.verification.verify import verify_version
from trainer.local_training import train_locally
from trainer.modules import propose_plan
from trainer.participant import Task
from trainer.private import load_personal
from trainer.simulation import simulate_round, start

SIDE, THINGS = 8, 3
"""Side of a room in cells, and what lies in it: the parcel, and two things that nobody wants."""
LONGEST = 14
"""Steps of an errand, twice the longest way of a king."""
WIDTH = 64
PRIVATE = ("head.*",)
RATE, DISCOUNT, CURIOSITY = 5e-3, 0.8, 0.01
NORTH, EAST, SOUTH, WEST = (-1, 0), (0, 1), (1, 0), (0, -1)
DIAGONALS = ((-1, 1), (1, 1), (1, -1), (-1, -1))
MOVES = {
    "rook": (NORTH, EAST, SOUTH, WEST),
    "hexagon": (NORTH, SOUTH, *DIAGONALS),
    "king": (NORTH, EAST, SOUTH, WEST, *DIAGONALS),
}


@dataclass(frozen=True)
class Agent:
    """One agent.

    Attributes:
        name: Its name.
        moves: What its actions do, in its own order: steps down and to the right.
    """

    name: str
    moves: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Size:
    """How much is learned and tested.

    Attributes:
        rounds: Rounds, or as many stretches of training alone.
        batches: Batches a round, of `rooms` errands each.
        rooms: Rooms side by side.
        known: Rooms that an agent knows: it learns in no others.
        tested: Errands in rooms that nobody trained in.
    """

    rounds: int
    batches: int
    rooms: int
    known: int
    tested: int


FULL = Size(rounds=30, batches=10, rooms=32, known=100, tested=1000)
SMALL = Size(rounds=2, batches=2, rooms=4, known=3, tested=20)


def agents() -> list[Agent]:
    """Return two agents of each kind of moves, whose actions are shuffled."""
    rng = np.random.default_rng(3)
    return [
        Agent(f"{kind} {number}", tuple(moves[k] for k in rng.permutation(len(moves))))
        for number in (1, 2)
        for kind, moves in MOVES.items()
    ]


# Rooms ----------------------------------------------------------------------------------------------------------------


def layouts(count: int, generator: torch.Generator) -> torch.Tensor:
    """Return where an agent begins and where things lie, int64 (count, 1 + things), all in other cells."""
    return torch.rand(count, SIDE * SIDE, generator=generator).argsort(1)[:, : 1 + THINGS]


class Rooms:
    """Rooms side by side, each with an agent, a parcel and other things."""

    def __init__(self, agent: Agent, cells: torch.Tensor) -> None:
        places = torch.stack([cells // SIDE, cells % SIDE], 2)  # (count, 1 + things, 2)
        self._at, self._things = places[:, 0], places[:, 1:]
        self._moves = torch.tensor(agent.moves)

    def seen(self) -> torch.Tensor:
        """Return pictures, float32 (count, 1 + things, 8, 8): where the agent is, and where each thing."""
        cells = torch.cat([self._at[:, None], self._things], 1) @ torch.tensor([SIDE, 1])
        return nn.functional.one_hot(cells, SIDE * SIDE).float().view(-1, 1 + THINGS, SIDE, SIDE)

    def distance(self) -> torch.Tensor:
        """Return the way to the parcel, in king's moves, int64 (count,)."""
        return (self._at - self._things[:, 0]).abs().amax(1)

    def step(self, actions: torch.Tensor) -> torch.Tensor:
        """Move by actions, int64 (count,), walls permitting; return the rewards: cells nearer, and 1 for the parcel."""
        before = self.distance()
        moving = (before > 0)[:, None]
        self._at = torch.where(moving, (self._at + self._moves[actions]).clamp(0, SIDE - 1), self._at)
        after = self.distance()
        return (before - after).float() + ((before > 0) & (after == 0)).float()


# Policies -------------------------------------------------------------------------------------------------------------


class Policy(nn.Module):
    """A shared body that looks, and a private head that says what to do and what is to be expected."""

    def __init__(self, actions: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear((1 + THINGS) * SIDE * SIDE, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()
        )
        self.head = nn.Linear(WIDTH, actions + 1)

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the actions' logits, (n, actions), and the expected return, (n,)."""
        found: torch.Tensor = self.head(self.body(pictures))
        return found[:, :-1], found[:, -1]


def policy(agent: Agent, seed: int) -> Policy:
    """Return an agent's policy with its first values."""
    torch.manual_seed(seed)
    return Policy(len(agent.moves))


def learn(
    model: nn.Module, agent: Agent, known: torch.Tensor, size: Size, generator: torch.Generator
) -> dict[str, float]:
    """Learn from batches of errands by policy gradient with a learned baseline (Williams 1992); return the reward."""
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    earned = 0.0
    for _ in range(size.batches):
        rooms = Rooms(agent, known[torch.randint(len(known), (size.rooms,), generator=generator)])
        chances, values, rewards, busy = [], [], [], []
        for _ in range(LONGEST):
            busy.append(rooms.distance() > 0)
            logits, value = model(rooms.seen())
            chance = torch.log_softmax(logits, 1)
            actions = torch.multinomial(chance.detach().exp(), 1, generator=generator)[:, 0]
            rewards.append(rooms.step(actions))
            chances.append(torch.stack([chance.gather(1, actions[:, None])[:, 0], -(chance.exp() * chance).sum(1)]))
            values.append(value)
        returns = torch.zeros(LONGEST + 1, size.rooms)
        for place in reversed(range(LONGEST)):
            returns[place] = rewards[place] + DISCOUNT * returns[place + 1]
        value, (taken, spread), on = torch.stack(values), torch.stack(chances, 1), torch.stack(busy).float()
        gain = returns[:-1] - value
        loss = (on * (gain.pow(2) / 2 - gain.detach() * taken - CURIOSITY * spread)).sum() / on.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        earned += float(torch.stack(rewards).sum()) / size.rooms
    return {"reward": earned / size.batches}


def unknown(size: Size) -> torch.Tensor:
    """Return rooms that nobody learns in."""
    return layouts(size.tested, torch.Generator().manual_seed(10**6 + 1))


def fetched(model: nn.Module, agent: Agent, cells: torch.Tensor) -> float:
    """Return the share of errands done in rooms, always by the likeliest action."""
    rooms = Rooms(agent, cells)
    model.eval()
    with torch.no_grad():
        for _ in range(LONGEST):
            rooms.step(model(rooms.seen())[0].argmax(1))
    return float((rooms.distance() == 0).double().mean())


# Runs -----------------------------------------------------------------------------------------------------------------


def errands_of(place: int, seed: int) -> torch.Generator:
    """Return what an agent's rooms are drawn by, and then its errands."""
    return torch.Generator().manual_seed(1000 * seed + place)


def task(agent: Agent, place: int, size: Size, seed: int) -> Task:
    """Return an agent's task: errands of its own; the head stays with it."""
    generator = errands_of(place, seed)
    known = layouts(size.known, generator)

    def train_epoch(model: nn.Module, epoch: int) -> Mapping[str, float]:
        return learn(model, agent, known, size, generator)

    errands = size.batches * size.rooms
    about = DataSetManifest(agent.name, "errands in simulated rooms", "Apache-2.0", "", errands, None)
    return Task(policy(agent, 100 * seed + place), train_epoch, errands, about, private=PRIVATE)


def shared(size: Size, seed: int, folder: Path) -> dict[str, Any]:
    """Run rounds in which the agents share a body; return each agent's share of errands by round."""
    everybody = agents()
    tasks = {agent.name: task(agent, place, size, seed) for place, agent in enumerate(everybody)}
    genesis = policy(everybody[0], seed)
    plan = propose_plan(genesis, quorum=1, min_contributions=len(tasks), grid_bits=22, without=PRIVATE)
    store = LocalStore(folder / "store")
    sim = start(genesis, tasks, plan, store, folder, aggregators=1, without=PRIVATE)
    scores: dict[str, dict[int, float]] = {agent.name: {} for agent in everybody}
    for number in range(1, size.rounds + 1):
        simulate_round(sim)
        head = load_version_manifest(store, sim.owner.model(sim.model_id).head)
        for agent in everybody:
            own = replace(tasks[agent.name], module=policy(agent, 0))
            load_personal(own, store, head, folder / agent.name, sim.model_id)
            scores[agent.name][number] = fetched(own.module, agent, unknown(size))
    digest = sim.owner.model(sim.model_id).head
    verdicts = list(verify_version(sim.owner, store, sim.model_id, digest, folder / "stranger"))
    return {
        "scores": scores,
        "tensors": [spec.name for spec in read_header(store, head.weights.blob).specs],
        "bytes": max(file.stat().st_size for file in folder.glob("*/round-*/update.safetensors")),
        "verified": all(verdict.passed for verdict in verdicts),
    }


def alone(size: Size, seed: int, folder: Path) -> dict[str, Any]:
    """Let each agent learn from its own errands, as many as in rounds; return likewise, and of the rooms it knows."""
    scores: dict[str, dict[int, float]] = {}
    known: dict[str, float] = {}
    for place, agent in enumerate(agents()):
        own, scores[agent.name] = task(agent, place, size, seed), {}
        for number in range(1, size.rounds + 1):
            train_locally(own.module, own.train_epoch, epochs=1)
            scores[agent.name][number] = fetched(own.module, agent, unknown(size))
        known[agent.name] = fetched(own.module, agent, layouts(size.known, errands_of(place, seed)))
    return {"scores": scores, "known": known}


RUNS = {"shared": shared, "alone": alone}


def main(arguments: list[str] | None = None) -> None:
    """Run what a folder does not have yet, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("agents"), help="the results' folder")
    parser.add_argument("--small", action="store_true", help="a few seconds, to try it out")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    given = parser.parse_args(arguments)
    size = SMALL if given.small else FULL
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for seed in range(given.seeds):
        for name, run in RUNS.items():
            file = given.out / f"{name}-{seed}.json"
            if file.exists():
                continue
            with tempfile.TemporaryDirectory() as folder:
                found = {"run": name, "seed": seed, **run(size, seed, Path(folder))}
            file.write_text(json.dumps(found, indent=1) + "\n")
            tell(found, size.rounds)
    draw(given.out)


def tell(run: Mapping[str, Any], number: int) -> None:
    """Print mean and worst agent after a round."""
    last = [scores[number] for scores in run["scores"].values()]
    told = f"mean agent {np.mean(last):.3f}, worst {min(last):.3f} of the errands after round {number}"
    sys.stdout.write(f"{run['run']}, seed {run['seed']}: {told}\n")
    sys.stdout.flush()


def draw(out: Path) -> None:
    """Draw mean and worst agent by round, mean and range of the seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.8), layout="constrained", sharey=True)
    for name, colour in (("shared", "#0072b2"), ("alone", "#e69f00")):
        runs = [json.loads(file.read_text())["scores"] for file in sorted(out.glob(f"{name}-*.json"))]
        if not runs:
            continue
        table = np.array(
            [[list(scores.values()) for scores in run.values()] for run in runs]
        )  # (seeds, agents, rounds)
        for axis, curves in zip(axes, (table.mean(1), table.min(1)), strict=True):
            numbers = range(1, curves.shape[1] + 1)
            label = {"shared": "body shared, heads private", "alone": "each agent alone"}[name]
            axis.plot(numbers, curves.mean(0), color=colour, linewidth=2, label=label)
            axis.fill_between(numbers, curves.min(0), curves.max(0), color=colour, alpha=0.15, linewidth=0)
    for axis, title in zip(axes, ("mean agent", "worst agent"), strict=True):
        axis.set(xlabel="round", ylim=(0, 1))
        axis.set_title(title, loc="left", fontsize=10)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share of errands done")
    axes[0].legend(frameon=False, fontsize=9)
    figure.savefig(out / "figures.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
