"""Exports, bundles and inclusion proofs over HTTP: verified by the commands, bounded, refused where they must be."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import shutil
import sqlite3
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from explorer_world import HOSTILE, Ask, World, served
from test_explorer_verifying import Gate, copied
from typer.testing import CliRunner

from registry.content.manifest import manifest_cid
from registry.explorer import downloads, export_files
from registry.explorer.export_files import ELSEWHERE, KINDS
from registry.explorer.proving import Prover
from registry.explorer.reading import Shelf
from registry.explorer.snapshot import open_snapshot
from registry.exports.formats import read_export
from registry.store.base import ContentStore
from registry.store.memory import MemoryStore
from trainer.cli.root import app

pytestmark = pytest.mark.xdist_group("explorer")  # one process makes the world for all


def proving(world: World, store: ContentStore | None = None, **options: Any) -> Shelf:
    behind = store or world.simulation.store
    return replace(open_snapshot(world.folder), store=behind, prover=Prover(world.simulation.owner, behind, **options))


def path_of(world: World, digest: bytes | None = None) -> str:
    return f"{world.model}/versions/0x{(digest or world.head).hex()}"


def genesis_of(world: World) -> bytes:
    sim = world.simulation
    return sim.owner.version(sim.model_id, sim.owner.version(sim.model_id, world.head).parent).parent


def run(*arguments: str) -> Any:
    found = CliRunner().invoke(app, [*arguments, "--json"])
    return json.loads(found.stdout) if found.exit_code == 0 else pytest.fail(found.output)


@pytest.fixture(scope="module")
def ask(world: World) -> Iterator[Ask]:
    with served(proving(world)) as found:
        yield found


# Exports --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", KINDS)
def test_an_export_leads_back_to_its_version_and_is_never_shown(
    world: World, ask: Ask, form: str, tmp_path: Path
) -> None:
    answer = ask(f"{path_of(world)}/exports/{form}")
    assert answer.status == 200, answer.text
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="')
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert not answer.headers["Content-Type"].startswith("text/html")
    if form == "ro-crate":
        with zipfile.ZipFile(io.BytesIO(answer.body)) as zipped:
            zipped.extractall(tmp_path)
        found = tmp_path / "crate"
    else:
        found = tmp_path / "file"
        found.write_bytes(answer.body)
    named = read_export(form, found)
    assert (named.model, named.version) == (world.simulation.model_id, world.head)
    known = ask(f"{path_of(world)}/exports/{form}", If_None_Match=answer.headers["ETag"])
    assert (known.status, known.body) == (304, b"")
    head = ask(f"{path_of(world)}/exports/{form}", "HEAD")
    assert (head.status, head.body) == (200, b"")


def test_the_page_links_every_export_and_shows_the_command_of_the_others(world: World, ask: Ask) -> None:
    text = ask(path_of(world)).text
    assert all(f'href="{path_of(world)}/exports/{form}" download' in text for form in KINDS)
    assert all(f"--as {form}" in text for form in ELSEWHERE)


@pytest.mark.parametrize(
    ("form", "status", "said"),
    [
        ("in-toto", 404, "--as in-toto"),
        ("pdf", 404, "--as pdf"),
        ("HTML", 404, "expected a format of"),
        ("html.json", 404, "expected a format of"),
        ("..%2Fcard.md", 404, "there is no such page"),
        ("..", 404, "expected a format of"),
        ("%00", 404, "expected a format of"),
        ("%3Cscript%3E", 404, "&lt;script&gt;"),
        ("a" * 3000, 404, "expected a format of"),
    ],
)
def test_a_format_that_is_not_served_gets_one_clear_line(
    world: World, ask: Ask, form: str, status: int, said: str
) -> None:
    answer = ask(f"{path_of(world)}/exports/{form}")
    assert (answer.status, said in answer.text) == (status, True), answer.text
    assert len(answer.body) < 6000


def test_a_hostile_version_s_exports_hold_its_words_as_data(world: World, ask: Ask) -> None:
    genesis = world.simulation.owner.model(world.hostile).head
    report = ask(f"/models/0x{world.hostile.hex()}/versions/0x{genesis.hex()}/exports/html").text
    assert "alert(1)" in HOSTILE and "alert(1)" in report and "<script" not in report


def test_without_its_manifest_a_version_has_no_export(world: World) -> None:
    store = copied(world)
    del store._blocks[manifest_cid(world.head).digest]
    with served(replace(open_snapshot(world.folder), store=store)) as ask:
        answer = ask(f"{path_of(world)}/exports/html")
        assert (answer.status, "there is no export of this version" in answer.text) == (404, True)


def test_a_version_whose_records_disagree_is_not_exported(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(world.folder, folder)
    with contextlib.closing(sqlite3.connect(folder / "index.sqlite")) as db:
        db.executescript("DELETE FROM attestations")
    with served(open_snapshot(folder)) as ask:
        answer = ask(f"{path_of(world)}/exports/prov-json")
        assert (answer.status, "round 1: quorum" in answer.text) == (404, True), answer.text


def test_exports_beyond_the_bound_are_refused_and_said_to_be_worth_a_later_try(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, on = threading.Semaphore(0), threading.Event()

    def slow(*given: Any) -> Any:
        going.release()
        on.wait(20)
        return export_files.export_of(*given)

    monkeypatch.setattr(downloads, "export_of", slow)
    found: list[int] = []
    with served(proving(world)) as ask:
        asking = [
            threading.Thread(target=lambda: found.append(ask(f"{path_of(world)}/exports/html").status))
            for _ in range(2)
        ]
        for one in asking:
            one.start()
            going.acquire()
        refused = ask(f"{path_of(world)}/exports/prov-n")
        on.set()
        for one in asking:
            one.join()
        assert (refused.status, refused.headers["Retry-After"], found) == (503, "10", [200, 200])
        assert ask(f"{path_of(world)}/exports/prov-n").status == 200


# Bundles and proofs ---------------------------------------------------------------------------------------------------


def test_a_bundle_verifies_offline(world: World, ask: Ask, tmp_path: Path) -> None:
    answer = ask(f"{path_of(world)}/bundle.car")
    assert answer.status == 200, answer.text
    number, _, trusted = answer.headers["Cairn-Anchors"].partition(":")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="bundle-block-{number}.car"'
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    (tmp_path / "bundle.car").write_bytes(answer.body)
    assert (
        run("bundle", "verify", str(tmp_path / "bundle.car"), "--trust", trusted)["version"] == f"0x{world.head.hex()}"
    )
    assert ask(f"{path_of(world)}/bundle.car", If_None_Match=answer.headers["ETag"]).status == 304
    assert ask(f"{path_of(world)}/bundle.car").body == answer.body


def test_a_member_s_proof_is_of_inclusion_and_a_stranger_s_of_exclusion(world: World, ask: Ask, tmp_path: Path) -> None:
    someone = next(iter(world.simulation.participants.values()))[0].account
    for who, included in ((someone, True), (b"\1" * 20, False), (b"\xff" * 20, False)):
        answer = ask(f"{path_of(world)}/proofs/0x{who.hex()}.inclusion")
        assert answer.status == 200, answer.text
        file = tmp_path / f"{who.hex()}.inclusion"
        file.write_bytes(answer.body)
        trusted = answer.headers["Cairn-Anchors"].partition(":")[2]
        found = run("inclusion", "verify", str(file), "--trust", trusted)
        assert (found["participant"], found["included"], found["passed"]) == (f"0x{who.hex()}", included, True)
    assert f'href="{path_of(world)}/proofs/0x{someone.hex()}.inclusion" download' in ask(path_of(world)).text


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("{version}/proofs/0x52.inclusion", 400, "expected a participant&#39;s address"),
        ("{version}/proofs/0x" + "AB" * 20 + ".inclusion", 400, "hex digits in lower case"),
        ("{version}/proofs/0x" + "٣" * 40 + ".inclusion", 400, "expected a participant"),
        ("{version}/proofs/..%2F..%2Fbundle.car", 404, "there is no such page"),
        ("{version}/proofs/.inclusion", 404, "there is no such page"),
        ("{genesis}/proofs/0x" + "11" * 20 + ".inclusion", 400, "expected one that a round made"),
        ("{model}/versions/0x" + "07" * 32 + "/bundle.car", 404, "has no version"),
        ("{model}/versions/head/bundle.car", 400, "expected a version"),
        ("/models/0x" + "07" * 32 + "/versions/0x" + "07" * 32 + "/bundle.car", 404, "no model"),
    ],
    ids=["short", "upper", "digits", "dots", "empty", "genesis", "version", "word", "model"],
)
def test_what_cannot_be_proved_gets_one_clear_line(world: World, ask: Ask, path: str, status: int, said: str) -> None:
    from urllib.parse import quote

    named = path.format(version=path_of(world), genesis=path_of(world, genesis_of(world)), model=world.model)
    answer = ask(quote(named, safe="/%"))
    assert (answer.status, said in answer.text) == (status, True), answer.text


def test_where_nothing_is_proved_the_page_shows_the_command(world: World) -> None:
    with served(open_snapshot(world.folder)) as ask:
        text = ask(path_of(world)).text
        assert "cairn bundle create" in text and "cairn inclusion create" in text and "bundle.car" not in text
        for file in ("bundle.car", f"proofs/0x{'11' * 20}.inclusion"):
            answer = ask(f"{path_of(world)}/{file}")
            assert (answer.status, "makes no bundles and proofs" in answer.text) == (404, True)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_another_site_has_nothing_proved(world: World, ask: Ask, site: str) -> None:
    refused = ask(f"{path_of(world)}/bundle.car", Sec_Fetch_Site=site)
    assert refused.status == 403
    assert ask(f"{path_of(world)}/bundle.car", Sec_Fetch_Site="same-origin").status == 200


def test_one_bundle_is_made_at_a_time_and_a_head_makes_none(world: World) -> None:
    gate = Gate(world.simulation.store)
    found: list[int] = []
    shelf = replace(proving(world, gate), store=world.simulation.store)
    with served(shelf) as ask:
        head = ask(f"{path_of(world)}/bundle.car", "HEAD")
        assert (head.status, head.headers["Content-Type"], head.headers["Content-Length"]) == (
            200, "application/vnd.ipld.car", None,
        )  # fmt: skip
        assert ask(f"{path_of(world, b'7' * 32)}/bundle.car", "HEAD").status == 404
        first = threading.Thread(target=lambda: found.append(ask(f"{path_of(world)}/bundle.car").status))
        first.start()
        end = time.monotonic() + 20
        assert shelf.prover is not None
        while not shelf.prover._bundling.locked() and time.monotonic() < end:
            time.sleep(0.01)
        refused = [ask(f"{path_of(world, digest)}/bundle.car") for digest in (world.head, genesis_of(world))]
        assert [(one.status, one.headers["Retry-After"]) for one in refused] == [(503, "10")] * 2
        assert ask("/models").status == 200
        gate.open.set()
        first.join()
        assert found == [200]
        assert ask(f"{path_of(world, genesis_of(world))}/bundle.car").status == 200


def test_a_long_lineage_is_left_to_the_command(world: World, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "MOST_BLOCKS", 3)
    answer = ask(f"{path_of(world)}/bundle.car")
    assert (answer.status, "cairn bundle create" in answer.text) == (400, True)
    monkeypatch.setattr(export_files, "MOST_VERSIONS", 1)
    answer = ask(f"{path_of(world)}/exports/html")
    assert (answer.status, "has more than 1 versions" in answer.text) == (404, True)


@pytest.mark.parametrize("options", [{"seconds": -1.0}, {"most": 100}], ids=["time", "size"])
def test_a_bundle_beyond_its_bounds_is_refused_and_leaves_nothing(world: World, options: dict[str, Any]) -> None:
    before = _unnamed()
    with served(proving(world, **options)) as ask:
        answer = ask(f"{path_of(world)}/bundle.car")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
    assert _unnamed() == before


def test_a_node_or_store_that_fails_is_not_named(world: World) -> None:
    class Gone:
        def final_block(self) -> int:
            raise OSError("https://node.example/secret")

    shelf = replace(proving(world), prover=Prover(Gone(), MemoryStore()))  # type: ignore[arg-type]
    with served(shelf) as ask:
        for file in ("bundle.car", f"proofs/0x{'11' * 20}.inclusion"):
            answer = ask(f"{path_of(world)}/{file}")
            assert (answer.status, "OSError" in answer.text, "secret" in answer.text) == (503, True, False)
    with served(proving(world, MemoryStore())) as ask:
        for file in ("bundle.car", f"proofs/0x{'11' * 20}.inclusion"):
            assert ask(f"{path_of(world)}/{file}").status == 503


def test_a_visitor_who_leaves_and_the_end_of_the_prover_leave_no_file(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.explorer.proving._PIECE", 64)
    before, shelf = _unnamed(), proving(world)
    assert shelf.prover is not None
    with served(shelf) as ask:
        for _ in range(5):
            left = http.client.HTTPConnection(urlsplit(ask.base).netloc, timeout=20)
            left.request("GET", f"{path_of(world)}/bundle.car")
            answer = left.getresponse()
            assert answer.read(10)
            answer.close()
            left.close()
        end = time.monotonic() + 20
        while _unnamed() > before + 1 and time.monotonic() < end:
            time.sleep(0.05)
        assert _unnamed() == before + 1  # the kept one
        assert ask(f"{path_of(world)}/bundle.car").status == 200
    shelf.prover.close()
    assert _unnamed() == before


def test_the_newest_bundles_alone_are_kept(world: World) -> None:
    before = _unnamed()
    prover = Prover(world.simulation.owner, world.simulation.store, kept=1)
    held = [prover.bundle(world.simulation.model_id, world.head, 1)]
    held.append(prover.bundle(world.simulation.model_id, genesis_of(world), 1))  # type: ignore[arg-type]
    whole = [b"".join(one.pieces()) for one in held]
    assert [len(one) for one in whole] == [one.size for one in held]
    for one in held:
        one.close()
    assert b"".join(held[0].pieces()) == b""
    assert _unnamed() == before + 1
    prover.close()
    assert _unnamed() == before


def _unnamed() -> int:
    """Return the number of open files of this process that have no name any more."""
    found = 0
    for one in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(one)
        except OSError:
            continue
        found += "(deleted)" in target or "/tmp/#" in target
    return found
