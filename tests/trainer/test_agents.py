"""`examples/agents`: rooms by hand, and a small federation of agents whose heads fit nobody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.conftest import example_module


@pytest.fixture(scope="module")
def example() -> Any:
    return example_module("agents")


def test_a_room_by_hand(example: Any) -> None:
    """An agent in the corner goes east twice, to the parcel, and stays; walls stop it."""
    agent = example.Agent("by hand", ((0, 1), (-1, 0)))
    rooms = example.Rooms(agent, torch.tensor([[0, 2, 63, 9]]))
    seen = rooms.seen()
    assert seen.shape == (1, 4, 8, 8)
    assert [tuple(cell) for cell in seen.nonzero()[:, 1:].tolist()] == [(0, 0, 0), (1, 0, 2), (2, 7, 7), (3, 1, 1)]
    east, north = torch.tensor([0]), torch.tensor([1])
    rewards = [float(rooms.step(action)) for action in (north, east, east, east)]
    assert rewards == [0.0, 1.0, 2.0, 0.0]
    assert rooms.distance().tolist() == [0]


def test_layouts_put_everything_in_other_cells(example: Any) -> None:
    found = example.layouts(50, torch.Generator().manual_seed(0))
    assert found.shape == (50, 4) and all(len(set(row)) == 4 for row in found.tolist())
    assert found.min() >= 0 and found.max() < 64


def test_agents_share_a_body_in_real_rounds_and_keep_their_heads(example: Any, tmp_path: Path) -> None:
    example.main(["--small", "--seeds", "1", "--out", str(tmp_path)])
    found = {one["run"]: one for one in (json.loads(file.read_text()) for file in tmp_path.glob("*.json"))}
    assert set(found) == {"shared", "alone"} and found["shared"]["verified"]
    assert found["shared"]["tensors"] and all(name.startswith("body.") for name in found["shared"]["tensors"])
    names = {agent.name for agent in example.agents()}
    assert len({len(agent.moves) for agent in example.agents()}) == 3
    for one in found.values():
        assert set(one["scores"]) == names
        assert all(set(own) == {"1", "2"} and max(own.values()) <= 1 for own in one["scores"].values())
    assert "worst agent" in (tmp_path / "figures.svg").read_text()
    stamp = (tmp_path / "shared-0.json").stat().st_mtime_ns
    example.main(["--small", "--seeds", "1", "--out", str(tmp_path)])
    assert (tmp_path / "shared-0.json").stat().st_mtime_ns == stamp  # a run that is there is not done again
