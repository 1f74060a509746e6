"""`cairn round show --tensors`: which tensors a round's updates move, and which the grid clips."""

from __future__ import annotations

import numpy as np
import pytest

from registry.cli.finding import find_model
from registry.cli.session import Session
from registry.facts.tensor_facts import round_tensors
from registry.rounds.loaded_round import load_round
from registry.rounds.onchain import read_round
from registry.rounds.versions import save_arrays
from registry.store import blobs
from tests.cli.conftest import World

LIMIT = 16.0
"""Of the plan's grid, 2^24 steps of 2^-20."""


@pytest.fixture
def submitted(world: World) -> World:
    """Two updates of a weight and a bias, the second of which nobody publishes."""
    world.done("round", "open", world.model, "--account", "a")
    for name, values in (("b", [-LIMIT, 0.25]), ("c", [0.5, 0.5])):
        delta = {"weight": np.array([values], dtype=np.float32), "bias": np.zeros(1, dtype=np.float32)}
        save_arrays(world.folder / f"{name}.safetensors", delta)
        world.done("participant", "submit", world.model, "--update", f"{name}.safetensors", "--weight", 10,
                   "--steps", 3, "--data-set", name, "--account", name)  # fmt: skip
    world.done("aggregator", "once", world.model, "--account", "d")
    world.done("participant", "publish", world.model, "--account", "b")
    return world


def test_a_clipped_and_a_still_tensor_are_shown_and_whose_update_is_not_there(submitted: World) -> None:
    shown = submitted.done("round", "show", submitted.model, "--tensors")
    assert shown["updates"] == 1 and len(shown["unread"]) == 1
    assert shown["tensors"] == [
        {"tensor": "bias", "values": 1, "scale": 0, "still": 1, "moved": 0, "saturated": 0},
        {"tensor": "weight", "values": 2, "scale": 0, "still": 0, "moved": 2, "saturated": 1},
    ]
    assert shown["commitments"][1]["participant"] == shown["unread"][0]
    text = submitted.run("round", "show", submitted.model, "--tensors").stdout
    assert "still in 1 of 1" in text and "1 at the limit" in text
    assert f"not read: the updates of {shown['unread'][0]}" in text
    assert "tensors" not in submitted.done("round", "show", submitted.model)


@pytest.mark.parametrize("size", [1, 3, 7, 64, 1 << 20])
def test_tensors_are_told_apart_however_a_file_comes(
    submitted: World, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session({})
    client, store = session.reader, session.store
    model = find_model(client, submitted.model)

    def cut(store: object, blob: object) -> object:
        data = b"".join(whole(store, blob))  # type: ignore[arg-type]
        return (data[at : at + size] for at in range(0, len(data), size))

    whole = blobs.open_blob
    monkeypatch.setattr("registry.facts.tensor_facts.open_blob", cut)
    read: list[int] = []
    round = load_round(store, read_round(client, model, 1))
    found = round_tensors(store, round, progress=read.append)
    told = [(t.tensor, t.moved, t.saturated, t.still) for t in found.tensors]
    assert told == [
        ("bias", 0, 0, 1),
        ("weight", 2, 1, 0),
    ]
    assert sum(read) == round.form.size
