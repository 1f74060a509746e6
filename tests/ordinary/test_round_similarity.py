"""`cairn round show --similarity`: which updates of a round point the same way, and how near the aggregate each is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from registry.dev.embedded import warp
from registry.rounds.versions import save_arrays
from tests.cli.conftest import World

UPDATES = {"b": ([3.0, 0.0], 4.0), "c": ([-4.0, 0.0], 3.0)}
"""Weight and bias: norms of 5, and an inner product of 0."""


def submit(world: World, name: str, weight: list[float], bias: float) -> None:
    delta = {"weight": np.array([weight], dtype=np.float32), "bias": np.array([bias], dtype=np.float32)}
    save_arrays(world.folder / f"{name}.safetensors", delta)
    world.done("participant", "submit", world.model, "--update", f"{name}.safetensors", "--weight", 10,
               "--steps", 3, "--data-set", name, "--account", name)  # fmt: skip


@pytest.fixture
def published(world: World) -> World:
    """Two published updates that nobody has combined yet."""
    world.done("round", "open", world.model, "--account", "a")
    for name, (weight, bias) in UPDATES.items():
        submit(world, name, weight, bias)
    world.done("aggregator", "once", world.model, "--account", "d")
    for name in UPDATES:
        world.done("participant", "publish", world.model, "--account", name)
    return world


def test_cosines_scores_and_clusters_of_a_round(published: World) -> None:
    def shown() -> dict[str, object]:
        found = published.done("round", "show", published.model, "--similarity")
        assert found["unread"] == [] and found["joined"] == 0.0 and found["clusters"] == 1
        return {one["participant"]: one for one in found["similarity"]}

    before = shown()
    people = [c["participant"] for c in published.done("round", "show", published.model)["commitments"]]
    assert list(before) == people
    one = before[people[0]]
    assert one == {"participant": people[0], "norm": 5 << 20, "score": None, "cluster": 1, "cosines": [1.0, 0.0]}
    for name in "de":
        published.done("aggregator", "once", published.model, "--account", name)
    after = shown()
    assert [after[who]["score"] for who in people] == pytest.approx([math.sqrt(0.5)] * 2, abs=1e-15)  # type: ignore[index]
    warp(published.chain.w3, seconds=3601)
    published.done("round", "finalize", published.model, "--account", "f")
    assert shown() == after

    text = published.run("round", "show", published.model, "--similarity").stdout
    table = text[text.index("participant   cluster") :]
    assert "+0.71" in table and "+0.00 " + people[1][:12] in table
    assert "clusters: 1, joined by cosines of +0.00 or more" in table
    assert max(map(len, table.splitlines())) <= 80
    assert "similarity" not in published.done("round", "show", published.model)


def test_an_update_that_is_not_there_is_named_and_one_of_zeros_has_no_direction(world: World) -> None:
    world.done("round", "open", world.model, "--account", "a")
    submit(world, "b", [0.0, 0.0], 0.0)
    submit(world, "c", [1.0, 0.0], 0.0)
    world.done("aggregator", "once", world.model, "--account", "d")
    world.done("participant", "publish", world.model, "--account", "b")
    shown = world.done("round", "show", world.model, "--similarity", "--tensors")
    (one,) = shown["similarity"]
    assert (one["norm"], one["score"], one["cluster"], one["cosines"]) == (0, None, None, [None])
    assert shown["clusters"] == 0 and len(shown["unread"]) == 1 and shown["tensors"]
    text = world.run("round", "show", world.model, "--similarity").stdout
    assert f"not read: the updates of {shown['unread'][0]}" in text
