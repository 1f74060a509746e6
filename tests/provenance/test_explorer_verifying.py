"""Deep verification from a page: whole, with bytes that lack or rot, stopped, refused, and under a flood."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from explorer_world import Ask, World, served

from registry.content.manifest import UpdateManifest, VersionManifest, manifest_cid
from registry.explorer.reading import Shelf
from registry.explorer.snapshot import open_snapshot
from registry.explorer.verifying import Verifier
from registry.index.database import read_index
from registry.index.queries import committed_digests
from registry.store.base import ContentStore
from registry.store.manifests import get_manifest
from registry.store.memory import MemoryStore
from registry.types import Cid

pytestmark = pytest.mark.xdist_group("explorer")  # one process makes the world for all


class Gate(MemoryStore):
    """Lets nobody read until it is opened."""

    def __init__(self, store: ContentStore) -> None:
        super().__init__()
        self._behind = store
        self.open = threading.Event()

    def _get(self, cid: Cid) -> bytes:
        self.open.wait()
        return self._behind.get(cid)

    def _has(self, cid: Cid) -> bool:
        return self._behind.has(cid)


def offering(world: World, store: ContentStore, **options: Any) -> Shelf:
    verifier = Verifier(world.simulation.owner, store, **options)
    return replace(open_snapshot(world.folder), store=world.simulation.store, verifier=verifier)


def copied(world: World) -> MemoryStore:
    store = MemoryStore()
    store._blocks.update(world.simulation.store._blocks)
    return store


def page_of(world: World, digest: bytes | None = None) -> str:
    return f"{world.model}/versions/0x{(digest or world.head).hex()}/verification"


def post(ask: Ask, path: str, act: str, **headers: str) -> Any:
    return ask(f"{path}/{act}", "POST", b"", **({"Origin": ask.base} | headers))


def until(ask: Ask, path: str, *states: str) -> Any:
    end = time.monotonic() + 60
    while (found := ask(f"{path}.json").data)["job"]["state"] not in states:
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return found


def verdict(world: World, store: ContentStore) -> tuple[Any, str]:
    with served(offering(world, store)) as ask:
        answer = post(ask, page_of(world), "start")
        assert (answer.status, answer.headers["Location"]) == (303, page_of(world))
        return until(ask, page_of(world), "done"), ask(page_of(world)).text


def test_a_whole_version_passes_with_every_check_of_its_lineage(world: World) -> None:
    found, text = verdict(world, world.simulation.store)
    assert found["finding"] == "passed"
    assert [one["round"] for one in found["job"]["verified"]] == [None, 1, 2]
    names = [check["name"] for check in found["job"]["verified"][2]["checks"]]
    assert {"anchor", "contributions", "aggregate", "server step", "version"} <= set(names)
    assert all(name in text for name in names)
    assert 'class="mark good">passed' in text.partition("</h1>")[0]


def test_a_withheld_update_leaves_the_verdict_open_and_names_no_place(world: World) -> None:
    store = copied(world)
    with read_index(world.folder / "index.sqlite") as db:
        published = [digest for digest in committed_digests(db) if store.has(manifest_cid(digest))]
    update = get_manifest(store, published[0], UpdateManifest)
    del store._blocks[update.files["delta"].cid.digest]
    found, text = verdict(world, store)
    assert found["finding"] == "unchecked"
    assert "not in memory" not in text
    assert 'class="mark warn">unchecked' in text.partition("</h1>")[0]


def test_a_damaged_file_fails_and_is_red(world: World) -> None:
    store = copied(world)
    weights = get_manifest(store, world.head, VersionManifest).weights
    store._blocks[weights.cid.digest] = b"\0" * weights.size
    found, text = verdict(world, store)
    assert found["finding"] == "failed"
    bad = [check for one in found["job"]["verified"] for check in one["checks"] if check["finding"] == "failed"]
    assert bad and "BlockMismatch" in bad[0]["evidence"]
    assert 'class="mark bad">failed' in text.partition("</h1>")[0]


def test_a_verification_is_stopped_and_says_so(world: World) -> None:
    gate = Gate(world.simulation.store)
    with served(offering(world, gate)) as ask:
        post(ask, page_of(world), "start")
        until(ask, page_of(world), "running")
        assert "Stop it" in ask(page_of(world)).text
        assert post(ask, page_of(world), "stop").status == 303
        assert ask(f"{page_of(world)}.json").data["job"]["state"] == "stopping"
        gate.open.set()
        found = until(ask, page_of(world), "stopped")
        assert len(found["job"]["verified"]) < 3
        assert "It was stopped" in ask(page_of(world)).text
        post(ask, page_of(world), "start")
        assert until(ask, page_of(world), "done")["finding"] == "passed"


def test_a_flood_is_bounded_and_the_pages_stay(world: World) -> None:
    gate = Gate(world.simulation.store)
    sim = world.simulation
    parent = sim.owner.version(sim.model_id, world.head).parent
    genesis = sim.owner.version(sim.model_id, parent).parent
    with served(offering(world, gate, waiting=1)) as ask:
        for _ in range(50):
            assert post(ask, page_of(world), "start").status == 303
        until(ask, page_of(world), "running")
        assert post(ask, page_of(world, parent), "start").status == 303
        assert post(ask, page_of(world, parent), "start").status == 303
        refused = post(ask, page_of(world, genesis), "start")
        assert (refused.status, "1 verifications wait" in refused.text) == (503, True)
        assert threading.active_count() < 40 and sum(one.name == "verify" for one in threading.enumerate()) == 1
        assert ask("/models").status == 200
        assert post(ask, page_of(world, parent), "stop").status == 303
        assert until(ask, page_of(world, parent), "stopped")
        gate.open.set()
        until(ask, page_of(world), "done")


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"},
     {"Origin": "http://127.0.0.1:1"}, {"Sec_Fetch_Site": "same-site"}],
    ids=["origin", "none", "cross-site", "port", "same-site"],
)  # fmt: skip
def test_forms_of_other_sites_start_nothing(world: World, headers: dict[str, str]) -> None:
    with served(offering(world, world.simulation.store)) as ask:
        refused = post(ask, page_of(world), "start", **headers)
        assert (refused.status, "expected a form of this site" in refused.text) == (403, True)
        assert ask(f"{page_of(world)}.json").data["job"] is None


def test_what_is_not_offered_is_not_started(world: World) -> None:
    with served(open_snapshot(world.folder)) as ask:
        assert post(ask, page_of(world), "start").status == 404
        assert "this explorer verifies nothing" in ask(page_of(world)).text
    with served(offering(world, world.simulation.store)) as ask:
        assert post(ask, page_of(world), "forget").status == 404
        assert post(ask, page_of(world, b"\7" * 32), "start").status == 404
        assert ask(f"{page_of(world)}/start").status == 405


def test_a_chain_that_cannot_be_read_breaks_the_verification_off(world: World) -> None:
    class Gone:
        def final_block(self) -> int:
            raise OSError("https://node.example/secret")

    verifier = Verifier(Gone(), world.simulation.store)  # type: ignore[arg-type]
    with served(replace(open_snapshot(world.folder), verifier=verifier)) as ask:
        post(ask, page_of(world), "start")
        assert until(ask, page_of(world), "broken")["job"]["said"].startswith("OSError")
        assert "secret" not in ask(page_of(world)).text


@pytest.fixture(scope="module")
def offered(world: World) -> Iterator[Ask]:
    with served(offering(world, world.simulation.store)) as ask:
        yield ask


@pytest.mark.slow
@pytest.mark.node
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_a_visitor_verifies_by_a_button(
    world: World, offered: Ask, scripts: bool, find_tool: Callable[[str], Path]
) -> None:
    pytest.importorskip("playwright")
    from browsing import axe_violations, chromium, overflow, watched

    size = {"width": 390, "height": 844}
    with (
        chromium(find_tool("chromium")) as browser,
        watched(browser, offered.base, java_script_enabled=scripts, viewport=size) as seen,
    ):
        seen.open(f"{world.model}/versions/0x{world.head.hex()}")
        seen.page.click("text=Recompute it here")
        until(offered, page_of(world), "done")
        if not scripts:
            seen.page.reload()
        seen.page.wait_for_selector("h1 .good")
        assert "passed" in seen.page.inner_text("h1")
        if scripts:
            assert overflow(seen.page) == 0
            assert axe_violations(seen.page) == []
