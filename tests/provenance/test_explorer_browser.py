"""The explorer in Chromium: its flows, the keyboard, narrow windows, axe's rules, and pictures beside approved ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("playwright")

from browsing import APPROVED, AXE, axe_violations, chromium, differs, overflow, require_picture, watched
from explorer_world import World, served
from playwright.sync_api import Browser
from test_explorer_verifying import copied, offering, until

from registry.content.manifest import VersionManifest
from registry.explorer.proving import Prover
from registry.explorer.snapshot import open_snapshot
from registry.store.blobs import open_blob
from registry.store.manifests import get_manifest

pytestmark = [pytest.mark.slow, pytest.mark.node, pytest.mark.xdist_group("explorer")]
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
PICTURED = ("models", "model", "version", "round", "live", "plan", "participant", "data-set", "manifest", "block",
            "search", "error")  # fmt: skip
ALIKE = ("versions", "rounds", "members", "nothing", "verification", "hostile", "hostile-version")
"""Pages whose parts are pictured on others."""
VERDICTS = ("passed", "failed")
"""Pictures of verifications."""


@pytest.fixture(scope="module")
def browser(find_tool: Callable[[str], Path]) -> Iterator[Browser]:
    with chromium(find_tool("chromium")) as found:
        yield found


@pytest.fixture(scope="module")
def base(world: World) -> Iterator[str]:
    with served(open_snapshot(world.folder)) as ask:
        yield ask.base


def paths(world: World) -> dict[str, str]:
    """Return a path of each page by the name of its picture."""
    someone = next(iter(world.simulation.participants.values()))[0].account
    hostile = f"/models/0x{world.hostile.hex()}"
    genesis = world.simulation.owner.model(world.hostile).head
    return {
        "models": "/models",
        "model": world.model,
        "versions": f"{world.model}/versions",
        "rounds": f"{world.model}/rounds",
        "members": f"{world.model}/members",
        "version": f"{world.model}/versions/0x{world.head.hex()}",
        "verification": f"{world.model}/versions/0x{world.head.hex()}/verification",
        "round": f"{world.model}/rounds/2",
        "live": f"{world.model}/rounds/3",
        "plan": f"{world.model}/plans/0",
        "participant": f"/participants/0x{someone.hex()}",
        "data-set": f"/data-sets/0x{world.data_set.hex()}",
        "manifest": f"/manifests/0x{world.head.hex()}",
        "block": "/blocks/9",
        "search": "/search",
        "nothing": f"/search?q={'e' * 64}",
        "error": "/models/%3Cscript%3E",
        "hostile": hostile,
        "hostile-version": f"{hostile}/versions/0x{genesis.hex()}",
    }


@pytest.mark.parametrize(
    ("name", "scheme"), [(n, "light") for n in (*PICTURED, *ALIKE)] + [(n, "dark") for n in PICTURED]
)
def test_a_page_fits_breaks_no_rule_of_axe_and_looks_as_approved(
    world: World, base: str, browser: Browser, name: str, scheme: str
) -> None:
    with watched(browser, base, viewport=WIDE, color_scheme=scheme) as seen:
        status = seen.open(paths(world)[name])
        if name in ("live", "model"):
            seen.page.wait_for_selector("[data-live] >> text=by itself")
        if name == "error":
            assert status == 400
            seen.complaints[:] = [one for one in seen.complaints if "400 (Bad Request)" not in one]
        for width, window in (("wide", WIDE), ("narrow", NARROW)):
            seen.page.set_viewport_size(window)
            assert overflow(seen.page) == 0
            if name in PICTURED:
                require_picture(seen.page, f"{name}-{width}-{scheme}")
        if scheme == "light":
            seen.page.set_viewport_size(WIDE)
        assert axe_violations(seen.page) == []
        assert seen.page.evaluate("document.querySelectorAll('main script, main img, main iframe').length") == 0


@pytest.fixture(scope="module")
def proving(world: World) -> Iterator[dict[str, str]]:
    """Yields the address of each verdict, and of a version whose explorer proves; one store has damaged weights."""
    sim, store = world.simulation, copied(world)
    weights = get_manifest(store, world.head, VersionManifest).weights
    store._blocks[weights.cid.digest] = bytes(weights.size)
    whole = replace(offering(world, sim.store), prover=Prover(sim.owner, sim.store))
    damaged = offering(world, store)
    for shelf in (whole, damaged):
        assert shelf.verifier is not None
        shelf.verifier.start(sim.model_id, world.head)
    page = f"{world.model}/versions/0x{world.head.hex()}"
    with served(whole) as good, served(damaged) as bad:
        for ask in (good, bad):
            until(ask, f"{page}/verification", "done")
        yield {
            "offered": good.base + page,
            "passed": f"{good.base}{page}/verification",
            "failed": f"{bad.base}{page}/verification",
        }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["offered", *VERDICTS])
def test_a_verdict_fits_breaks_no_rule_of_axe_and_looks_as_approved(
    proving: dict[str, str], browser: Browser, name: str, scheme: str
) -> None:
    parts = urlsplit(proving[name])
    with watched(browser, f"{parts.scheme}://{parts.netloc}", viewport=WIDE, color_scheme=scheme) as seen:
        assert seen.open(parts.path) == 200
        for width, window in (("wide", WIDE), ("narrow", NARROW)):
            seen.page.set_viewport_size(window)
            assert overflow(seen.page) == 0
            if name in VERDICTS:
                require_picture(seen.page, f"{name}-{width}-{scheme}")
        if name in VERDICTS:
            mark = seen.page.locator("h1 .mark")
            assert mark.inner_text() == name
            red, green, _ = (
                int(part) for part in re.findall(r"\d+", mark.evaluate("e => getComputedStyle(e).color"))[:3]
            )
            assert (red > green) == (name == "failed")
        assert axe_violations(seen.page) == []


def test_a_reader_gets_from_models_to_a_data_set_and_back_by_a_file(
    world: World, base: str, browser: Browser, tmp_path: Path
) -> None:
    manifest = get_manifest(world.simulation.store, world.head, VersionManifest)
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"".join(open_blob(world.simulation.store, manifest.weights.blob)))
    with watched(browser, base, viewport=WIDE) as seen:
        page = seen.page
        seen.open("/")
        page.click(f"main a[href='{world.model}']")
        page.click(f"main a[href='{world.model}/rounds/2']")
        page.click(f"main a[href='{world.model}/versions/0x{world.head.hex()}']")
        page.click(f"main a[href='{world.model}/rounds/2']")
        page.click(f"main a[href='{world.model}/plans/0']")
        page.go_back()
        page.click("main td[data-label=participant] a >> nth=0")
        page.go_back()
        page.click("main td[data-label='data set'] a >> nth=0")
        assert "/data-sets/" in page.url
        page.click("nav[aria-label=Site] a[href='/search']")
        page.wait_for_selector("#drop", state="visible")
        with page.expect_navigation(url="**/versions/0x*"):
            page.set_input_files("#file", file)
        assert page.url == f"{base}{world.model}/versions/0x{world.head.hex()}"
        page.go_back()
        page.wait_for_selector("#drop", state="visible")
        with page.expect_navigation(url="**/versions/0x*"):
            page.evaluate(
                "(bytes) => { const data = new DataTransfer(); data.items.add(new File([new Uint8Array(bytes)], 'm'));"
                "document.getElementById('drop').dispatchEvent("
                "new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})); }",
                list(file.read_bytes()),
            )
        assert {method for method, _ in seen.requests} == {"GET"}  # the file stays in the browser


def test_the_keyboard_reaches_everything_and_shows_where_it_is(world: World, base: str, browser: Browser) -> None:
    with watched(browser, base, viewport=WIDE) as seen:
        page = seen.page
        seen.open(world.model)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        wanted = page.evaluate("document.querySelectorAll('main a, main summary').length")
        reached = 0
        for _ in range(wanted):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.closest('main') === null"):
                break
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            reached += 1
        hidden = page.evaluate("document.querySelectorAll('details:not([open]) a').length")
        assert reached == wanted - hidden
        page.focus("#find")
        page.keyboard.type(world.head.hex())
        page.keyboard.press("Enter")
        page.wait_for_url("**/versions/*")


def test_without_scripts_every_page_is_complete(world: World, base: str, browser: Browser) -> None:
    with watched(browser, base, viewport=NARROW, java_script_enabled=False) as seen:
        seen.open("/search")
        seen.page.fill("#q", world.head.hex())
        seen.page.click(".large button")
        seen.page.wait_for_url("**/versions/*")
        assert not any(url.endswith(".js") for _, url in seen.requests if "search" not in url)


@pytest.mark.parametrize("name", ["model", "version", "round"])
def test_a_page_prints_whole_and_without_what_only_a_screen_can_do(
    world: World, base: str, browser: Browser, name: str
) -> None:
    with watched(browser, base, viewport={"width": 718, "height": 1000}) as seen:
        seen.page.emulate_media(media="print")
        seen.open(paths(world)[name])
        assert overflow(seen.page) == 0
        assert not any(one.is_visible() for one in seen.page.query_selector_all("form, button, summary"))
        assert all(one.is_visible() for one in seen.page.query_selector_all("details table"))


def test_axe_finds_what_is_wrong(browser: Browser) -> None:
    with watched(browser, "about:blank") as seen:
        seen.page.set_content("<html lang='en'><main><p style='color: #ccc; background: #fff'>pale</p><input></main>")
        assert {said.partition(":")[0] for said in axe_violations(seen.page)} >= {"color-contrast", "label"}


def test_a_picture_of_another_page_is_noticed() -> None:
    wide = {name: Image.open(APPROVED / f"{name}-wide-light.webp").convert("RGB") for name in ("round", "search")}
    assert differs(wide["round"], wide["round"]) == ""
    assert "differs" in differs(wide["round"].transpose(Image.Transpose.FLIP_LEFT_RIGHT), wide["round"])
    assert "expected" in differs(wide["search"], wide["round"])


def test_the_approved_pictures_are_those_compared_and_small() -> None:
    found = {path.stem: path.stat().st_size for path in APPROVED.iterdir()}
    names = (*PICTURED, *VERDICTS)
    assert set(found) == {f"{n}-{w}-{s}" for n in names for w in ("wide", "narrow") for s in ("light", "dark")}
    assert sum(found.values()) < 1_700_000
    assert AXE.is_file()
