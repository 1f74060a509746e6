"""A live round on the explorer's pages: streams of events, their bound, and Chromium that follows without a reload."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from explorer_world import Ask, World, make_world, served

from registry.content.manifest import PlanManifest
from registry.explorer import live
from registry.explorer.reading import Present, Shelf, Told
from registry.explorer.serving import Keeper
from registry.explorer.snapshot import open_snapshot
from registry.index.database import Index
from registry.index.for_now import following_of
from registry.index.sync import Follower
from trainer.simulation import pass_time, step


@pytest.fixture(scope="module")
def world(example: PlanManifest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(example, tmp_path_factory.mktemp("explorer"))


@contextlib.contextmanager
def stream(ask: Ask) -> Iterator[http.client.HTTPResponse]:
    """Open a stream of events."""
    with contextlib.closing(http.client.HTTPConnection(urlsplit(ask.base).netloc, timeout=20)) as connection:
        connection.request("GET", "/live", headers={"Connection": "close"})
        answer = connection.getresponse()
        try:
            yield answer
        finally:
            answer.close()


def event(answer: http.client.HTTPResponse) -> str:
    """Return the data of the next event."""
    lines = [answer.readline() for _ in range(3)]
    assert lines[0] == b"event: moved\n" and lines[2] == b"\n"
    return lines[1].decode()


def test_a_stream_says_when_the_state_moves(world: World) -> None:
    shelf = open_snapshot(world.folder)
    with served(shelf) as ask, stream(ask) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
        assert answer.headers["Cache-Control"] == "no-store"
        first = event(answer)
        shelf.present.tell(Told(2**40))
        assert event(answer) != first
        assert ask("/live", "HEAD").status == 200


def test_streams_are_bounded_and_one_that_ends_makes_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_AT_ONCE", 2)
    with served(open_snapshot(world.folder)) as ask, stream(ask) as one:
        event(one)
        with stream(ask) as two:
            event(two)
            assert ask("/live").status == 503
            assert ask("/models").status == 200
        until = time.monotonic() + 20
        while True:
            with stream(ask) as another:
                if another.status == 200:
                    return
            assert time.monotonic() < until
            time.sleep(0.1)


def test_streams_end_with_the_server(world: World) -> None:
    with served(open_snapshot(world.folder)) as ask, stream(ask) as answer:
        event(answer)
        begun = time.monotonic()
    assert time.monotonic() - begun < 5


@pytest.mark.slow
@pytest.mark.node
def test_pages_of_a_live_round_follow_it_to_its_end_without_a_reload(
    world: World, tmp_path: Path, find_tool: Callable[[str], Path]
) -> None:
    pytest.importorskip("playwright")
    from browsing import axe_violations, chromium, watched

    sim, before = world.simulation, world.head
    shelf = Shelf(tmp_path / "index.sqlite", tmp_path / "catalogue.sqlite", sim.store, Present())

    def sync() -> None:
        with Index(shelf.index, following_of(sim.owner)) as index:
            Follower(index, sim.w3, sim.owner.finality).sync()

    keeper = Keeper(shelf, sim.w3, sync)
    keeper.refresh()
    with contextlib.ExitStack() as held:
        ask = held.enter_context(served(shelf))
        browser = held.enter_context(chromium(find_tool("chromium")))
        one = held.enter_context(watched(browser, ask.base))
        overview = held.enter_context(watched(browser, ask.base))
        overview.open(world.model)
        overview.page.wait_for_selector("text=This page follows by itself.")
        one.open(f"{world.model}/rounds/3")
        one.page.wait_for_selector("text=This page follows by itself.")
        one.page.evaluate("window.kept = true; document.querySelector('main td a').focus()")
        focused = one.page.evaluate("document.activeElement.href")
        while True:
            done = step(sim)
            keeper.refresh()
            shown = ask(f"{world.model}/rounds/3.json").data
            now = f"[aria-current=step] >> text={shown['phase']}"
            one.page.wait_for_selector("h1 >> text=finalized" if shown["phase"] == "final" else now)
            if world.head != before:
                break
            if not done:
                pass_time(sim, 3)
                keeper.refresh()
        one.page.wait_for_selector("[data-live]", state="detached")
        assert one.page.evaluate("window.kept") is True
        assert one.page.evaluate("stream") is None
        assert one.page.evaluate("document.activeElement.href") == focused
        assert axe_violations(one.page) == []
        overview.page.wait_for_selector(f"#rounds ~ table >> text=0x{world.head.hex()[:10]}")


@pytest.mark.slow
@pytest.mark.node
def test_without_a_stream_a_page_says_to_reload(
    world: World, monkeypatch: pytest.MonkeyPatch, find_tool: Callable[[str], Path]
) -> None:
    pytest.importorskip("playwright")
    from browsing import chromium, watched

    monkeypatch.setattr(live, "_AT_ONCE", 0)
    with (
        served(open_snapshot(world.folder)) as ask,
        chromium(find_tool("chromium")) as browser,
        watched(browser, ask.base) as seen,
    ):
        with seen.page.expect_response("**/live") as refused:
            seen.open(f"{world.model}/rounds/3")
        assert refused.value.status == 503
        assert seen.page.inner_text("[data-live]") == "Reload to follow it."
        seen.page.wait_for_function("stream === null")
        seen.complaints[:] = [said for said in seen.complaints if "503" not in said]
