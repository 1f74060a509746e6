"""What the explorer's tests show and ask: a simulated model, hostile words beside it, and a server on a free port."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPMessage
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from registry.chain.labels import Labels
from registry.content.manifest import DataSetManifest, PlanManifest, Source, Statement, manifest_cid
from registry.dev.embedded import embedded
from registry.explorer.reading import Shelf
from registry.explorer.serving import listening, serve
from registry.explorer.snapshot import save_snapshot
from registry.store.manifests import put_manifest
from registry.store.memory import MemoryStore
from registry.types import Digest, ModelId
from trainer.modules import register_module
from trainer.participant import Task
from trainer.simulation import Simulation, simulate_round, start, step

HOSTILE = "<script>alert(1)</script>'\"><img src=x onerror=alert(1)>\u202efdp.exe\u2066\x1b[31m\x00{{7*7}}" + "W" * 120
"""Markup, a right-to-left override, an open isolate, ANSI, a NUL, a template's expression, a word without end."""
BEGIN = 1_800_000_000
"""Time of the first block: 15 January 2027."""


def module(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(2, 1)


def task(place: int) -> Task:
    def epoch(model: nn.Module, number: int) -> dict[str, float]:
        with torch.no_grad():
            for value in model.parameters():
                value += 0.25
        return {HOSTILE[:60]: 0.5 + place}

    def evaluate(model: nn.Module) -> dict[str, int]:
        return {"examples": 10, "correct": 6 + place}

    data_set = DataSetManifest(f"ward {place}", "", "", "", 10, None)
    return Task(module(), epoch, 10 + place, data_set, steps_per_epoch=1, evaluate=evaluate)


@dataclass(frozen=True)
class World:
    """A model with two rounds and a third one open, hostile labels and a hostile model beside it; its snapshot."""

    simulation: Simulation
    hostile: ModelId
    data_set: Digest
    folder: Path

    @property
    def model(self) -> str:
        return f"/models/0x{self.simulation.model_id.hex()}"

    @property
    def head(self) -> Digest:
        return self.simulation.owner.model(self.simulation.model_id).head


@dataclass(frozen=True)
class Answer:
    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def data(self) -> Any:
        return json.loads(self.body)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


@dataclass(frozen=True)
class Ask:
    """Asks a served explorer."""

    base: str

    def __call__(self, path: str, method: str = "GET", data: bytes | None = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.base + path, data, method=method, headers=named)
        opener = urllib.request.build_opener(_Stay, urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read())


@contextlib.contextmanager
def served(shelf: Shelf, **options: Any) -> Iterator[Ask]:
    """Serve a shelf on a free port; yield what asks it."""
    listener, stop = listening("127.0.0.1", 0), threading.Event()
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread = threading.Thread(target=serve, args=(shelf, listener), kwargs={**options, "stop": stop})
    thread.start()
    try:
        yield Ask(base)
    finally:
        stop.set()
        thread.join()


def make_world(plan: PlanManifest, folder: Path) -> World:
    """Make the world in a folder; the same plan makes the same snapshot, with the same ids and times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secrets.token_bytes", random.Random(0).randbytes)  # what updates are blinded by
        return _made(plan, folder)


def _made(plan: PlanManifest, folder: Path) -> World:
    tasks = {f"participant {place}": task(place) for place in range(2)}
    chain = embedded(5, time=BEGIN)
    sim = start(module(), tasks, plan, MemoryStore(), folder / "simulation", chain=chain)
    for _ in range(2):
        simulate_round(sim)
    data_set = Digest(
        put_manifest(sim.store, DataSetManifest(HOSTILE, HOSTILE, HOSTILE, HOSTILE, 2**64 - 1, None)).digest
    )
    sources = (Source(HOSTILE, HOSTILE, manifest_cid(data_set)),)
    said = Statement(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, sources, {HOSTILE[:60]: 1e308})
    hostile = register_module(sim.owner, sim.store, module(1), folder / "hostile.safetensors", statement=said)
    labels, head = Labels(sim.owner), sim.owner.model(sim.model_id).head
    labels.set_alias(sim.model_id, "production", head)
    labels.add_note(sim.model_id, head, HOSTILE)
    first = Digest(sim.owner.version(sim.model_id, head).parent)
    sim.owner.deprecate_version(sim.model_id, first, Digest(b"\1" * 32))
    sim.owner.open_round(sim.model_id, number=3)
    step(sim)
    save_snapshot(sim.owner, sim.store, folder / "snapshot")
    return World(sim, hostile, data_set, folder / "snapshot")
