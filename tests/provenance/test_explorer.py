"""The explorer, asked over HTTP: every page and its twin on a simulated model, hostile words, wrong addresses."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
jsonschema = pytest.importorskip("jsonschema")

from explorer_world import Answer, Ask, World, served  # noqa: E402

from registry.cli.commands.explorer import _samples  # noqa: E402
from registry.content.manifest import (  # noqa: E402
    DataSetManifest,
    UpdateManifest,
    VersionManifest,
    encode,
    manifest_cid,
)
from registry.dev.embedded import warp  # noqa: E402
from registry.errors import CairnError, IndexUnusable, NodeUnavailable  # noqa: E402
from registry.ethereum.keys import to_checksum  # noqa: E402
from registry.explorer import model_pages, people_pages, round_page  # noqa: E402
from registry.explorer.reading import Present, Shelf, Told  # noqa: E402
from registry.explorer.serving import Keeper  # noqa: E402
from registry.explorer.snapshot import open_snapshot  # noqa: E402
from registry.index.database import Index  # noqa: E402
from registry.index.for_now import following_of  # noqa: E402
from registry.index.sync import Follower  # noqa: E402
from registry.store.manifests import get_manifest, put_manifest  # noqa: E402
from registry.store.memory import MemoryStore  # noqa: E402

pytestmark = pytest.mark.xdist_group("explorer")  # one process makes the world for all


ELSEWHERE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)


@pytest.fixture(scope="module")
def ask(world: World) -> Iterator[Ask]:
    with served(open_snapshot(world.folder)) as found:
        yield found


@pytest.fixture
def changed(world: World, tmp_path: Path) -> Iterator[Callable[[str], Ask]]:
    """Serves the snapshot after a change of its index, which anybody's node may have said."""
    with contextlib.ExitStack() as held:

        def change(statement: str) -> Ask:
            folder = tmp_path / "changed"
            shutil.copytree(world.folder, folder)
            with contextlib.closing(sqlite3.connect(folder / "index.sqlite")) as db:
                db.executescript(statement)
            return held.enter_context(served(open_snapshot(folder)))

        yield change


# Every page -----------------------------------------------------------------------------------------------------------


class Inert(HTMLParser):
    """Collects a page's links; fails on anything that could run, be styled in place, or lead elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"style", "iframe", "object", "embed", "img", "base", "foreignobject", "use"}, tag
        for name, value in attrs:
            assert not name.startswith("on") and name not in {"style", "srcdoc", "formaction"}, (tag, name)
            if name in {"href", "src", "action", "xlink:href"}:
                assert not ELSEWHERE.match(value or ""), (tag, value)
                self.links.append(unescape(value or ""))
            if name == "id":
                self.ids.append(value or "")
        if tag == "script":
            assert [name for name, _ in attrs] == ["src", "defer"]


def inert(answer: Answer) -> Inert:
    """Check a page, and return its links."""
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]", answer.text)
    found = Inert()
    found.feed(answer.text)
    assert len(found.ids) == len(set(found.ids))
    return found


def twin_of(path: str) -> str:
    address, mark, query = path.partition("?")
    return f"{address}.json{mark}{query}"


def test_every_page_and_its_twin_answer_and_no_page_leads_elsewhere(world: World, ask: Ask) -> None:
    document = ask("/openapi.json").data
    operations = {path: found["get"]["responses"]["200"] for path, found in document["paths"].items()}
    visited, waiting, reached = set(), ["/models", f"/data-sets/0x{world.data_set.hex()}"], set()
    while waiting:
        path = waiting.pop().partition("#")[0]
        if not path or path in visited:
            continue
        visited.add(path)
        answer = ask(path)
        if path.endswith(".safetensors"):
            continue
        if answer.status == 404 and path.startswith("/manifests/"):  # committed, and not published yet
            assert "is unavailable" in answer.text
            continue
        assert answer.status == 200, (path, answer.text)
        if not answer.headers["Content-Type"].startswith("text/html"):
            continue
        waiting += inert(answer).links
        template = next(
            p for p in operations if re.fullmatch(re.sub(r"{\w+}", "[^/.]+", p), twin_of(path).split("?")[0])
        )
        reached.add(template)
        twin = ask(twin_of(path))
        assert (twin.status, twin.headers["Content-Type"]) == (200, "application/json")
        schema = {**operations[template]["content"]["application/json"]["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(twin.data)
    assert reached == set(operations)
    assert len(visited) > 40


def test_the_first_page_is_the_list_of_models(world: World, ask: Ask) -> None:
    answer = ask("/")
    assert (answer.status, answer.headers["Location"]) == (307, "/models")
    assert [one["model"]["rounds"] for one in ask("/models.json").data["models"]] == [3, 0]


def test_a_round_under_way_has_its_phase_and_time_left(world: World, ask: Ask) -> None:
    found = ask(f"{world.model}/rounds/3.json").data
    assert (found["phase"], len(found["commitments"])) == ("commit", found["round"]["commitments"])
    assert 0 < found["deadline"] - found["as_of"]["time"] <= 600
    text = ask(f"{world.model}/rounds/3").text
    assert 'class="now" aria-current="step"><span>commit</span>' in text
    assert "left by the chain’s clock" in text


def test_a_model_shows_scores_as_a_plot_with_its_table(world: World, ask: Ask) -> None:
    scores = ask(f"{world.model}.json").data["scores"]
    assert [(one["round"], one["score"]["value"]) for one in scores] == [(0, 0.65), (1, 0.65)]
    text = ask(world.model).text
    assert text.count('<circle class="dot one"') >= 2
    assert "<summary>As a table</summary>" in text
    assert text.count("0.6500") == 2


def test_a_version_shows_shares_relatives_and_the_verdict_without_files(world: World, ask: Ask) -> None:
    found = ask(f"{world.model}/versions/0x{world.head.hex()}.json").data
    assert [round(one["share"], 3) for one in found["facts"]["commitments"]] == [0.476, 0.524]
    assert [one["distance"] for one in found["relatives"]] == [-2, -1, 0]
    assert found["facts"]["labels"]["aliases"] == ["production"]
    assert {check["finding"] for check in found["checks"]} == {"passed", "asserted"}
    assert found["finding"] == "asserted"


def test_a_plan_says_its_rules_in_words_and_who_convicts(world: World, ask: Ask) -> None:
    found = ask(f"{world.model}/plans/0.json").data
    assert {rule["part"]: rule["name"] for rule in found["rules"]} == {
        "combine rule": "mean", "server program": "fedavg", "update form": "dense", "algorithm": "fedavg",
    }  # fmt: skip
    assert "convictVersion" in found["rules"][1]["convicted_by"]
    assert "A result needs 2 equal attestations" in ask(f"{world.model}/plans/0").text
    assert found["program"] and found["program"][-1] in unescape(ask(f"{world.model}/plans/0").text)


# Hostile words --------------------------------------------------------------------------------------------------------


def test_hostile_words_are_shown_as_they_are_and_do_nothing(world: World, ask: Ask) -> None:
    genesis = world.simulation.owner.model(world.hostile).head
    here = f"/models/0x{world.hostile.hex()}"
    pages = ("/models", here, f"{here}/versions/0x{genesis.hex()}", f"/data-sets/0x{world.data_set.hex()}",
             f"/manifests/0x{world.data_set.hex()}", f"{world.model}/versions/0x{world.head.hex()}")  # fmt: skip
    for path in pages:
        text = ask(path).text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text, path
        assert r"\u202efdp.exe" in text and r"\x1b[31m" in text.replace(r"\u001b", r"\x1b"), path
        assert "{{7*7}}" in text, path
        inert(ask(path))
    assert "\u202e" not in ask(f"{here}.json").text


def test_numbers_of_any_size_are_shown(world: World, changed: Callable[[str], Ask]) -> None:
    round_id = world.simulation.owner.round_id(world.simulation.model_id, 2).hex()
    most, latest = "ff" * 32, 2**63 - 1
    found = changed(
        f"INSERT INTO demands VALUES ((SELECT max(number) FROM blocks), 900, x'{round_id}', x'{most}', x'{most[:40]}', "
        f"x'{most}', {latest}, x'{most}', x'{most}', {latest}, {latest})"
    )
    assert found(f"{world.model}/rounds/2").status == 200
    (demand,) = found(f"{world.model}/rounds/2.json").data["demands"]
    assert demand["deposit"] == demand["leaf"] == 2**256 - 1


def test_a_challenger_without_a_role_has_a_page(world: World, changed: Callable[[str], Ask]) -> None:
    round_id, who = world.simulation.owner.round_id(world.simulation.model_id, 2).hex(), "d4" * 20
    found = changed(
        f"INSERT INTO convictions VALUES ((SELECT max(number) FROM blocks), 900, x'{round_id}', x'{'01' * 32}', "
        f"x'{who}', 1, x'{'02' * 32}', 9)"
    )
    assert f'href="/participants/0x{who}"' in found(f"{world.model}/rounds/2").text
    page = found(f"/participants/0x{who}.json").data
    assert [one["number"] for one in page["convicted_in"]] == [2]
    assert f'href="{world.model}/rounds/2"' in found(f"/participants/0x{who}").text


# Wrong addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/models/0x12", 400, "expected a model id, 0x and 64 hex digits in lower case, got '0x12'"),
        (f"/models/0x{'A' * 64}", 400, "in lower case"),
        (f"/models/0x{'a' * 64}", 404, "no model 0xaaaa"),
        (f"/models/0x{'a' * 64}/rounds/1", 404, "no model"),
        ("{model}/rounds/9", 404, "has no round 9"),
        ("{model}/rounds/01", 400, "expected a round number, a whole number"),
        ("{model}/rounds/-1", 400, "expected a round number"),
        ("{model}/rounds/1e5", 400, "expected a round number"),
        ("{model}/rounds/9999999999999999999999", 400, "at most 18 digits"),
        ("{model}/rounds/1?after=x", 400, "expected a number of commitments"),
        ("{model}/plans/5", 404, "has no plan 5"),
        (f"{{model}}/versions/0x{'b' * 64}", 404, "has no version"),
        ("/models?after=1", 400, "expected a cursor's log index"),
        ("/models?after=1.2&after=1.3", 400, "expected after at most once"),
        (f"/participants/0x{'c' * 40}", 404, "takes part in no model"),
        (f"/data-sets/0x{'c' * 64}", 404, "names the data set"),
        (f"/manifests/0x{'c' * 64}", 404, "names a manifest"),
        ("/blocks/77777777", 404, "block 77777777"),
        ("/search?q=%3Cscript%3E", 400, "expected hex digits"),
        ("/search?q=0xab", 400, "expected 4 to 64 hex digits, got 2"),
        (f"/search?q={'a' * 501}", 400, "of at most 500 characters"),
        ("/nowhere", 404, "there is no such page"),
        ("/static/..%2f..%2fsite.py", 404, "there is no such page"),
        ("/models/%00%ff%3Cscript%3E", 400, "expected a model id"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_address_gets_one_clear_message(world: World, ask: Ask, path: str, status: int, said: str) -> None:
    path = path.format(model=world.model)
    answer, twin = ask(path), ask(twin_of(path))
    assert (answer.status, twin.status) == (status, status)
    assert said in unescape(answer.text)
    assert said in twin.data["message"] and set(twin.data) == {"error", "message"}
    assert "Traceback" not in answer.text
    inert(answer)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(world: World, ask: Ask, method: str) -> None:
    assert ask("/models", method).status == 405


def test_an_index_that_is_gone_is_said_to_be_so(world: World, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "none.sqlite", tmp_path / "catalogue.sqlite", MemoryStore(), Present())
    with served(shelf) as ask:
        answer = ask("/models.json")
    assert answer.status == 503
    assert answer.data["message"] == "index or store cannot be read now: the explorer's log says why"
    assert str(tmp_path) not in answer.text


# Heads, parts, search -------------------------------------------------------------------------------------------------


def test_an_answer_is_unchanged_until_the_head_moves(world: World) -> None:
    shelf = open_snapshot(world.folder)
    with served(shelf) as ask:
        for path in ("/models", "/models.json"):
            tag = ask(path).headers["ETag"]
            again = ask(path, If_None_Match=f'"other", {tag}')
            assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
            named = "Content-Security-Policy"  # a browser takes the last answer's
            assert again.headers[named] == ask(path).headers[named]
            assert ask(path, If_None_Match='W/"other"').status == 200
        assert ask("/models").headers["ETag"] != ask("/search").headers["ETag"]
        shelf.present.tell(Told(2**40, "the node is down"))
        moved = ask("/models", If_None_Match=ask("/models.json").headers["ETag"])
        assert moved.status == 200
        assert "The index is behind the chain: the node is down" in moved.text


def test_the_index_follows_the_chain_and_pages_say_when_it_does_not(world: World, tmp_path: Path) -> None:
    owner, failure = world.simulation.owner, list[CairnError]()
    shelf = Shelf(tmp_path / "index.sqlite", tmp_path / "catalogue.sqlite", world.simulation.store, Present())

    def sync() -> None:
        if failure:
            raise failure[0]
        with Index(shelf.index, following_of(owner)) as index:
            Follower(index, owner.w3, owner.finality).sync()

    keeper = Keeper(shelf, owner.w3, sync)
    keeper.refresh()
    with served(shelf) as ask:
        before = ask("/models.json")
        now = warp(owner.w3, seconds=60)
        keeper.refresh()
        after = ask("/models.json", If_None_Match=before.headers["ETag"])
        assert after.status == 200
        assert after.data["as_of"]["block"] > before.data["as_of"]["block"]
        assert after.data["as_of"]["time"] >= now
        assert all(one["time"] for one in after.data["models"])
        failure.append(NodeUnavailable("https://node.example/secret does not answer"))
        keeper.refresh()
        text = ask("/models").text
    assert "The index is behind the chain: NodeUnavailable" in text
    assert "secret" not in text
    session: Any = SimpleNamespace(reader=owner)
    with pytest.raises(IndexUnusable, match="behind the chain: NodeUnavailable"):  # so /health says so too
        _samples(session, shelf, live=True)
    failure.clear()
    keeper.refresh()
    assert _samples(session, shelf, live=True)


def test_lists_come_in_parts_that_make_the_whole(world: World, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def parts(path: str, name: str, cursor: str) -> list[Any]:
        found, query = [], ""
        while True:
            page = ask(f"{path}.json{query}").data
            found += page[name]
            assert inert(ask(f"{path}{query}"))
            if page["next"] is None:
                return found
            query = f"?{cursor}={page['next']}"

    someone = next(iter(world.simulation.participants.values()))[0].account
    lists = (
        ("/models", "models", "after"),
        (f"{world.model}/versions", "versions", "before"),
        (f"{world.model}/rounds", "rounds", "before"),
        (f"{world.model}/members", "members", "after"),
        (f"{world.model}/rounds/2", "commitments", "after"),
        (f"/participants/0x{someone.hex()}", "uses", "before"),
    )
    whole = [parts(*one) for one in lists]
    monkeypatch.setattr(model_pages, "_MODELS", 1)
    for room in (model_pages, round_page, people_pages):
        monkeypatch.setattr(room, "_PART", 1)
    with served(open_snapshot(world.folder)) as ask:  # anew: answers are kept a while
        assert [parts(*one) for one in lists] == whole
    assert [len(found) for found in whole] == [2, 3, 3, 4, 2, 3]


def test_search_leads_to_what_goes_by_a_name(world: World, ask: Ask) -> None:
    sim, version = world.simulation, f"{world.model}/versions/0x{world.head.hex()}"
    manifest = get_manifest(sim.store, world.head, VersionManifest)
    who = next(iter(sim.participants.values()))[0].account
    wanted = {
        f"0x{sim.model_id.hex()}": world.model,
        sim.model_id.hex()[:9].upper(): world.model,
        str(manifest_cid(world.head)): version,
        f"ipfs://{manifest_cid(world.head)}": version,
        world.head.hex(): version,
        manifest.weights.sha256.hex(): version,
        str(manifest.weights.cid): version,
        to_checksum(who): f"/participants/0x{who.hex()}",
        sim.owner.round_id(sim.model_id, 2).hex(): f"{world.model}/rounds/2",
    }
    for query, page in wanted.items():
        answer = ask(f"/search?q={query.replace(':', '%3A')}")
        assert (answer.status, answer.headers["Location"]) == (303, page), query
        assert [hit["page"] for hit in ask(f"/search.json?q={query.replace(':', '%3A')}").data["hits"]] == [page]
    assert "Nothing goes by this name" in ask(f"/search?q={'e' * 64}").text


def test_the_script_hashes_a_file_as_sha256_does(find_tool: Callable[[str], Path]) -> None:
    script = Path(model_pages.__file__).parent / "static" / "search.js"
    texts = [b"", b"abc", b"x" * 55, b"y" * 56, b"z" * 64, bytes(range(256)) * 33]
    tell = (
        "const vm = require('vm'), fs = require('fs');"
        f"vm.runInThisContext(fs.readFileSync({str(script)!r}, 'utf8'));"
        "const told = JSON.parse(fs.readFileSync(0, 'utf8')).map((hex) => {"
        "const hash = vm.runInThisContext('new Sha256()'), data = Buffer.from(hex, 'hex');"
        "for (let at = 0; at < data.length; at += 37) hash.update(data.subarray(at, at + 37));"
        "return hash.hex(); }); console.log(JSON.stringify(told));"
    )
    given = json.dumps([text.hex() for text in texts])
    command = [str(find_tool("node")), "-e", tell]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == [hashlib.sha256(text).hexdigest() for text in texts]


# What is checked, and what comes from where ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ("DELETE FROM attestations WHERE votes = 2", "quorum"),
        ("UPDATE results SET divisor = divisor + 1", "quorum"),
        ("UPDATE rounds SET running_hash = x'" + "00" * 32 + "'", "commitments"),
        ("UPDATE commitments SET weight = weight + 1", "report manifest"),
    ],
    ids=["attestation", "result", "beginning", "commitment"],
)
def test_records_that_disagree_fail_the_verdict(
    world: World, changed: Callable[[str], Ask], change: str, check: str
) -> None:
    ask = changed(change)
    found = ask(f"{world.model}/versions/0x{world.head.hex()}.json").data
    assert found["finding"] == "failed"
    assert [one["name"] for one in found["checks"] if one["finding"] == "failed"] == [check]
    assert 'class="mark bad">failed' in ask(f"{world.model}/versions/0x{world.head.hex()}").text


def test_what_is_not_final_is_marked_provisional(world: World, ask: Ask, changed: Callable[[str], Ask]) -> None:
    assert "provisional" not in ask(world.model).text
    found = changed("UPDATE following SET final = NULL")
    assert '<span class="mark warn">provisional</span>' in found(world.model).text
    assert found(f"{world.model}.json").data["model"]["final"] is False
    assert found("/models.json").data["as_of"]["final"] is None


def test_facts_lead_to_their_block_and_manifest(world: World, ask: Ask) -> None:
    commitment = ask(f"{world.model}/rounds/2.json").data["commitments"][0]["commitment"]
    text = ask(f"{world.model}/rounds/2").text
    at = commitment["at"]
    assert f'href="/blocks/{at["block"]}#log-{at["log_index"]}"' in text
    assert f'href="/manifests/{commitment["digest"]}"' in text
    assert {"log_index": at["log_index"], "table": "commitments"} in ask(f"/blocks/{at['block']}.json").data["facts"]
    update = get_manifest(world.simulation.store, bytes.fromhex(commitment["digest"][2:]), UpdateManifest)
    assert ask(f"/manifests/{commitment['digest']}/block.cbor").body == encode(update)


def test_files_of_a_version_are_served_from_the_store_alone(world: World, ask: Ask) -> None:
    path = f"{world.model}/versions/0x{world.head.hex()}"
    assert ask(f"{path}/weights.safetensors").status == 404  # a snapshot has none
    assert "not in the store" in ask(path).text
    shelf = replace(open_snapshot(world.folder), store=world.simulation.store)
    sha256 = get_manifest(world.simulation.store, world.head, VersionManifest).weights.sha256
    with served(shelf) as whole:
        answer = whole(f"{path}/weights.safetensors")
        assert hashlib.sha256(answer.body).digest() == sha256
        assert answer.headers["Content-Disposition"] == 'attachment; filename="weights.safetensors"'
        head = whole(f"{path}/weights.safetensors", "HEAD")
        assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(answer.body)))
        assert whole(f"{path}/other.safetensors").status == 404
    assert ask(f"{path}/card.md").text.startswith("---\n")


def test_a_manifest_that_nothing_names_is_not_fetched(world: World) -> None:
    shelf = replace(open_snapshot(world.folder), store=world.simulation.store)
    lonely = put_manifest(world.simulation.store, DataSetManifest("lonely", "", "", "", 1, None))
    with served(shelf) as ask:
        assert ask(f"/manifests/0x{lonely.digest.hex()}.json").status == 404
        assert ask(f"/manifests/0x{lonely.digest.hex()}/block.cbor").status == 404


def test_on_loopback_a_request_for_another_name_is_refused(world: World, ask: Ask) -> None:
    for name in ("evil.example", "evil.example:80", "127.0.0.1.evil.example"):
        answer = ask("/models.json", Host=name)
        assert (answer.status, "got one for evil" in answer.text or "got one for 127" in answer.text) == (421, True)
        assert "models" not in answer.text
    assert ask("/models.json", Host="LOCALHOST:1").status == 200
    with served(open_snapshot(world.folder), names=["explorer.example"]) as found:
        assert found("/models.json", Host="explorer.example").status == 200


def test_scripts_of_other_origins_read_nothing_unless_told(world: World, ask: Ask) -> None:
    assert "Access-Control-Allow-Origin" not in ask("/models.json", Origin="https://a.example").headers
    assert ask("/models.json").headers["Cross-Origin-Resource-Policy"] == "same-origin"
    with served(open_snapshot(world.folder), cors="https://a.example") as found:
        assert found("/models.json").headers["Access-Control-Allow-Origin"] == "https://a.example"
        assert "Access-Control-Allow-Origin" not in found("/models").headers


def test_style_and_script_stand_under_the_name_of_their_content(ask: Ask) -> None:
    names = re.findall(r'"(/static/[^"]+)"', ask("/search").text)
    assert len(names) == 3
    for name in names:
        answer = ask(name)
        assert hashlib.sha256(answer.body).hexdigest()[:16] == name.split(".")[1]
        assert "immutable" in answer.headers["Cache-Control"]
        assert b"http://" not in answer.body.replace(b"http://www.w3.org/2000/svg", b"") and b"url(" not in answer.body
