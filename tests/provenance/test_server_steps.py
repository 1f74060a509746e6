"""The server step of a whole file: each tensor by its kind, from the parent's state or from the initial one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.content.manifest import PlanManifest, StateFile, VersionManifest
from registry.content.tensors import encode_header, parse_header
from registry.errors import VerificationFailed
from registry.rounds.admission import UpdateForm, update_form
from registry.rounds.plans import fitted, server_rule
from registry.rounds.server_steps import continues, describe_state, next_version, state_header, step_number
from registry.rounds.versions import add_version, read_header, save_arrays
from registry.rules.program import RoundScalars
from registry.store.blobs import add_blob
from registry.store.memory import MemoryStore

BITS = 20
SCALARS = RoundScalars(step=1, contributions=2, total_weight=9, total_steps=0)
WEIGHTS = {
    "mean": np.array([1.0, -2.0, 0.5], np.float32),
    "steps": np.array(3),
    "variance": np.array([0.25, 0.5, 0.001], np.float32),
    "weight": np.array([[0.5, -0.25], [3.0, 0.0]], np.float32),
}
TAKEN = {
    "mean": np.array([-3, 7, 1]),
    "variance": np.array([4, -(1 << 20), 2]),
    "weight": np.array([6, -6, 1 << 20, 10]),
}
"""Grid integers of the aggregate."""


@dataclass(frozen=True)
class Made:
    """A parent, what a plan makes of it, and the aggregate to be stepped by."""

    store: MemoryStore
    parent: VersionManifest
    form: UpdateForm
    aggregate: Path
    folder: Path

    def step(self, parent: VersionManifest | None = None) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The next version's tensors and the state's numbers."""
        out = self.folder / "next.state"
        state = out if self.form.rules.program.states else None
        found = parent or self.parent
        data = b"".join(next_version(self.store, found, self.form, self.aggregate, SCALARS, state))
        header = parse_header(data, len(data))
        body, specs = data[header.header_bytes :], {spec.name: spec for spec in header.specs}
        types = {name: "<f4" if spec.dtype == "F32" else "<i8" for name, spec in specs.items()}
        tensors = {n: np.frombuffer(body[s.begin : s.end], types[n]) for n, s in specs.items()}
        if state is None:
            return tensors, np.empty(0, np.int64)
        return tensors, np.frombuffer(state.read_bytes()[state_header(self.form.rules).header_bytes :], "<i8")

    def with_state(self, numbers: np.ndarray, **changed: Any) -> VersionManifest:
        """The parent, as if a round had left it this state."""
        path = self.folder / "parent.state"
        path.write_bytes(encode_header(state_header(self.form.rules).specs) + numbers.astype("<i8").tobytes())
        add_blob(self.store, [path.read_bytes()])
        state = describe_state(path, self.form.rules, 4)
        return pretend(self.parent, replace(state, **changed))


def pretend(version: VersionManifest, state: StateFile) -> VersionManifest:
    """A version that no round made, with a state all the same."""
    made = replace(version)
    object.__setattr__(made, "state", state)
    return made


Make = Callable[..., Made]


@pytest.fixture
def make(example: PlanManifest, tmp_path: Path) -> Make:
    """Makes a parent and a round's aggregate under a server rule."""

    def made(name: str, **parameters: float) -> Made:
        store = MemoryStore()
        save_arrays(tmp_path / "parent.safetensors", WEIGHTS)
        parent = add_version(store, tmp_path / "parent.safetensors")
        header = read_header(store, parent.weights.blob)
        rule = server_rule(name, parameters, BITS)
        buffers, scales = {"mean": 1, "variance": 2}, {"weight": -1, "mean": 2}
        plan = replace(example, grid_bits=BITS, server=rule, buffers=buffers, scales=scales)
        form = update_form(header, fitted(plan, header))
        deltas = np.concatenate([TAKEN[name] for name in sorted(TAKEN)]).astype(np.float32) * np.float32(2.0**-BITS)
        (tmp_path / "aggregate.safetensors").write_bytes(form.header + deltas.tobytes())
        return Made(store, parent, form, tmp_path / "aggregate.safetensors", tmp_path)

    return made


def test_each_tensor_is_stepped_by_its_kind_and_scale(make: Make) -> None:
    tensors, _ = make("fedavg", rate=0.5).step()
    grid = 2.0**-BITS
    assert tensors["weight"].tolist() == (WEIGHTS["weight"].ravel() + 0.5 * TAKEN["weight"] * grid / 2).tolist()
    assert tensors["mean"].tolist() == (WEIGHTS["mean"] + TAKEN["mean"] * grid * 4).astype(np.float32).tolist()
    stepped = (WEIGHTS["variance"] + TAKEN["variance"] * grid).astype(np.float32)
    assert stepped[1] < 0.0
    assert tensors["variance"].tolist() == np.maximum(stepped, 0.0).tolist(), "which a running mean may be below"
    assert tensors["steps"].tolist() == [3]


def test_a_state_is_stepped_where_there_is_a_program_and_left_where_there_is_none(make: Make) -> None:
    made = make("fedavgm", rate=1.0, momentum=0.5)
    tensors, state = made.step()
    taken = TAKEN["weight"] * 256  # first moments count 1/256 of a grid step
    assert state.tolist() == [0] * 6 + taken.tolist()
    again = np.concatenate([np.full(6, 77), taken])
    tensors, state = made.step(made.with_state(again))
    assert state.tolist() == [77] * 6 + (taken + taken // 2).tolist()
    moved = 1.5 * TAKEN["weight"] * 2.0**-BITS / 2
    assert tensors["weight"].tolist() == (WEIGHTS["weight"].ravel() + moved).tolist()


def test_a_state_of_other_rules_is_not_gone_on_with(make: Make) -> None:
    made = make("fedavgm", rate=1.0, momentum=0.5)
    own = made.with_state(np.arange(10))
    other = made.with_state(np.arange(10), layout=b"\x01" * 32)
    rules = made.form.rules
    assert (continues(own, rules), step_number(own, rules)) == (True, 5)
    assert (continues(other, rules), step_number(other, rules)) == (False, 1)
    assert made.step(other)[1].tolist() == made.step()[1].tolist() != made.step(own)[1].tolist()


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "size": ({"size": 81}, "state: expected .* bytes, got 81"),
    "root": ({"root": b"\x02" * 32}, "state: the manifest has root 0x0202"),
}


@pytest.mark.parametrize(("changed", "said"), LIES.values(), ids=LIES)
def test_a_state_that_is_not_what_the_manifest_says_is_refused(make: Make, changed: dict[str, Any], said: str) -> None:
    made = make("fedavgm", rate=1.0, momentum=0.5)
    with pytest.raises(VerificationFailed, match=said):
        made.step(made.with_state(np.arange(10), **changed))


def test_a_state_with_another_header_is_refused(make: Make) -> None:
    made = make("fedavgm", rate=1.0, momentum=0.5)
    made.with_state(np.arange(10))
    blob = add_blob(made.store, [(made.folder / "parent.state").read_bytes().replace(b"state", b"stats")])
    with pytest.raises(VerificationFailed, match="state: expected the header that the plan gives"):
        made.step(made.with_state(np.arange(10), cid=blob.cid))
