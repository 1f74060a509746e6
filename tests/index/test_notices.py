"""What watchers are told: notices of an indexed chain, delivered at least once, in order, to commands and webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from registry.errors import FinalityBroken, IndexUnusable, InputError, NotDelivered
from registry.facts.plain import plain
from registry.index.database import read_index
from registry.notices.courier import Courier
from registry.notices.cursor import read_cursor, write_cursor
from registry.notices.notice import Notice, NoticeKind, notices
from registry.notices.receivers import (
    Webhook,
    body_of,
    call_webhook,
    environment_of,
    parse_command,
    parse_webhook,
    run_command,
)
from registry.types import Digest, ModelId, Root

ROOT = Path(__file__).resolve().parents[2]
START = (-1, 0)
SECRET = bytes(range(32))
SECRET_LINE = "whsec_" + base64.b64encode(SECRET).decode()


def only_model(indexing: Any) -> ModelId:
    with read_index(indexing.folder / "index.sqlite") as db:
        ((model,),) = db.execute("SELECT model FROM models").fetchall()
    return ModelId(model)


def all_notices(indexing: Any) -> tuple[Notice, ...]:
    with read_index(indexing.folder / "index.sqlite") as db:
        return notices(db, indexing.following, only_model(indexing), START)


def courier_of(indexing: Any, deliver: Callable[[Notice], None], **options: Any) -> Courier:
    index, cursor = indexing.folder / "index.sqlite", indexing.folder / "cursor.json"
    return Courier(index, indexing.following, only_model(indexing), cursor, deliver, **options)


@pytest.fixture
def synced(disputed: Any) -> Any:
    """A chain on which every event has happened, indexed."""
    disputed.sync()
    return disputed


@pytest.fixture
def one(synced: Any) -> Notice:
    return all_notices(synced)[0]


# Notices --------------------------------------------------------------------------------------------------------------


def test_notices_tell_of_versions_deprecations_convictions_and_scores_in_chain_order(synced: Any) -> None:
    found = all_notices(synced)
    kinds = [notice.kind.value for notice in found]
    assert kinds == [*["version"] * 3, *["deprecation"] * 2, "version", "conviction", "version", "score"]
    assert [notice.place for notice in found] == sorted(notice.place for notice in found)
    assert len({notice.id for notice in found}) == len(found)
    assert all(notice.final for notice in found)
    made = [plain(notice.facts) for notice in found]
    genesis, published, *_ = made
    assert (set(genesis["parent"][2:]), genesis["round"]) == ({"0"}, 0)
    assert (published["parent"], published["round"]) == (genesis["version"], 0)
    assert [each["round"] for each in made if "version" in each and "parent" in each] == [0, 0, 0, 2, 4]
    assert made[3]["version"] == published["version"]
    assert (made[4]["version"], made[4]["replacement"]) == (made[2]["version"], genesis["version"])
    assert (made[6]["round"], made[6]["challenger"]) == (4, "0x" + synced.clients[2].account.hex())
    assert (made[8]["round"], made[8]["score"], made[8]["median"], made[8]["revealed"]) == (4, 700_000, 700_000, 1)


def test_notices_after_a_place_are_the_rest_and_kinds_select(synced: Any) -> None:
    every, model = all_notices(synced), only_model(synced)
    with read_index(synced.folder / "index.sqlite") as db:
        for number, notice in enumerate(every, 1):
            assert notices(db, synced.following, model, notice.place) == every[number:]
        scores = notices(db, synced.following, model, START, [NoticeKind.SCORE])
        assert scores == every[-1:]
        assert notices(db, synced.following, ModelId(bytes(32)), START) == ()


def test_more_notices_than_are_read_at_once_keep_their_order(synced: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    every, model, at, read = all_notices(synced), only_model(synced), START, []
    monkeypatch.setattr("registry.notices.notice._MOST", 1)
    with read_index(synced.folder / "index.sqlite") as db:
        while found := notices(db, synced.following, model, at):
            read += found
            at = read[-1].place
    assert tuple(read) == every


# Delivery -------------------------------------------------------------------------------------------------------------


def test_a_courier_delivers_each_notice_once_in_order_and_goes_on_after_a_restart(synced: Any) -> None:
    every, taken = all_notices(synced), []
    for _ in every:
        assert taken == list(every[: len(taken)])
        said = courier_of(synced, taken.append, from_start=True).step()  # another courier each time: a restart
        assert said == f"delivered {taken[-1].kind.value} of block {taken[-1].block}: {taken[-1].id}"
    assert taken == list(every)
    assert courier_of(synced, taken.append).step() == ""


def test_a_notice_that_is_not_taken_is_tried_again_and_nothing_overtakes_it(synced: Any) -> None:
    every, asked = all_notices(synced), []

    def deliver(notice: Notice) -> None:
        asked.append(notice)
        if len(asked) < 4:
            raise NotDelivered("not now")

    courier = courier_of(synced, deliver, from_start=True)
    for _ in range(3):
        with pytest.raises(NotDelivered):
            courier.step()
    while courier.step():
        pass
    assert asked == [*every[:1] * 3, *every]


def test_a_watch_begins_with_what_comes_after_it_unless_told_otherwise(played: Any) -> None:
    played.sync()
    taken: list[Notice] = []
    courier = courier_of(played, taken.append)
    assert courier.step() == ""
    last = all_notices(played)[-1]
    with pytest.raises(InputError, match="expected the cursor of"):
        read_cursor(played.folder / "cursor.json", played.following, ModelId(bytes(32)))
    heir = played.clients[4]
    heir.cancel_round(last.model, 3)
    root, version = Root(b"root" * 8), last.facts.version  # type: ignore[union-attr]
    heir.publish_version(last.model, version, Digest(b"new " * 8), root, root)
    played.sync()
    assert courier.step().startswith("delivered version of block ")
    assert [plain(notice.facts)["version"] for notice in taken] == ["0x" + (b"new " * 8).hex()]


CRASHING = """
import sys
from pathlib import Path
from registry.index.entries import Following
from registry.index.queries import following
from registry.index.database import read_index
from registry.notices.courier import Courier
from registry.notices.receivers import run_command
from registry.types import ModelId

folder, model, *words = sys.argv[1:]
with read_index(Path(folder, "index.sqlite")) as db:
    of = following(db)
place = Path(folder, "index.sqlite"), of, ModelId(bytes.fromhex(model)), Path(folder, "cursor.json")
courier = Courier(*place, lambda notice: run_command(words, notice, 60), from_start=True)
while courier.step():
    pass
print("done")
"""
RECEIVER = """
import json, os, signal, sys
name = json.load(sys.stdin)["id"]
assert name == os.environ["CAIRN_EVENT_ID"]
with open(sys.argv[1], "a+") as file:
    file.write(name + chr(10))
    file.flush()
    file.seek(0)
    if len(file.read().split()) == 3:
        os.kill(os.getppid(), signal.SIGKILL)
"""


def test_a_crash_between_delivery_and_cursor_repeats_that_notice_alone(synced: Any) -> None:
    every, took = all_notices(synced), synced.folder / "took"
    receiver = (sys.executable, "-c", RECEIVER, str(took))
    script = (sys.executable, "-c", CRASHING, str(synced.folder), only_model(synced).hex(), *receiver)
    options: dict[str, Any] = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 120, "check": False}
    assert subprocess.run(script, **options).returncode == -9
    again = subprocess.run(script, **options)
    assert (again.returncode, again.stdout) == (0, "done\n"), again.stderr
    ids = [notice.id for notice in every]
    assert took.read_text().split() == [*ids[:3], *ids[2:]]


def test_provisional_notices_are_marked_and_come_again_once_they_are_final(synced: Any) -> None:
    synced.sync("ahead", finality="100000")
    every, taken = all_notices(synced), []
    ahead = synced.folder / "ahead.sqlite"
    place = ahead, synced.following, only_model(synced), synced.folder / "ahead.json"
    for most in (4, 100):  # a restart between
        courier = Courier(*place, taken.append, provisional=True, from_start=True)
        while len(taken) < most and courier.step():
            pass
    assert courier.step() == ""
    assert [(notice.id, notice.final) for notice in taken] == [(f"{each.id}-provisional", False) for each in every]
    assert Courier(*place, taken.append).step() == "", "without the option only final blocks count"
    synced.sync("ahead")
    while courier.step():
        pass
    assert taken[len(every) :] == list(every)
    cursor = read_cursor(place[3], synced.following, place[2])
    assert cursor is not None
    assert cursor.provisional == ()


def test_a_delivered_block_that_is_gone_stops_the_watch(synced: Any) -> None:
    taken: list[Notice] = []
    courier = courier_of(synced, taken.append, from_start=True)
    courier.step()
    cursor = read_cursor(synced.folder / "cursor.json", synced.following, only_model(synced))
    assert cursor is not None
    forged = replace(cursor, block_hash=bytes(32))
    write_cursor(synced.folder / "cursor.json", synced.following, only_model(synced), forged)
    with pytest.raises(FinalityBroken, match=r"was final as 0x0000.*remove .*cursor.json"):
        courier_of(synced, taken.append).step()
    assert len(taken) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"of": {}, "block": 1.5, "log_index": 0, "block_hash": null, "provisional": []}',
        '{"of": {}, "block": 1, "log_index": true, "block_hash": null, "provisional": []}',
        '{"of": {}, "block": 1, "log_index": 0, "block_hash": "0xzz", "provisional": []}',
        '{"of": {}, "block": 1, "log_index": 0, "block_hash": null, "provisional": 3}',
        "[" * 100_000,
        "\ud800",
    ],
    ids=range(10),
)
def test_a_cursor_s_file_that_is_something_else_is_refused_and_kept(synced: Any, text: str) -> None:
    path = synced.folder / "cursor.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match="expected the cursor of a watch"):
        courier_of(synced, lambda notice: None)
    assert path.read_bytes() == text.encode("utf-8", "surrogatepass")


def test_without_an_index_there_is_no_cursor(deployed_stage: Any, tmp_path: Path) -> None:
    following = deployed_stage.indexing.following
    with pytest.raises(IndexUnusable):
        Courier(tmp_path / "none.sqlite", following, ModelId(bytes(32)), tmp_path / "c.json", lambda notice: None)
    assert list(tmp_path.iterdir()) == []


# Commands -------------------------------------------------------------------------------------------------------------


def test_a_command_gets_the_notice_as_json_and_in_variables_and_no_shell(
    one: Notice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAIRN_EVENT_FORGED", "by the parent")
    script = "import json, os, sys; json.dump([sys.argv, dict(os.environ), json.load(sys.stdin)], open('got', 'w'))"
    (tmp_path / "place").mkdir()
    monkeypatch.chdir(tmp_path / "place")
    run_command((sys.executable, "-c", script, "$(touch x)", "; touch x", "`touch x`"), one, 30)
    (_, *words), environment, body = json.loads(Path("got").read_text())
    assert words == ["$(touch x)", "; touch x", "`touch x`"]
    assert [path.name for path in Path().iterdir()] == ["got"]
    assert body == plain(one)
    own = {name: value for name, value in environment.items() if name.startswith("CAIRN_EVENT_")}
    assert own["CAIRN_EVENT_MODEL"] == "0x" + one.model.hex()
    assert (own["CAIRN_EVENT_FINAL"], own["CAIRN_EVENT_ROUND"]) == ("true", "0")
    assert "CAIRN_EVENT_FORGED" not in own
    assert environment["PATH"]


def test_all_that_a_command_gets_of_a_notice_is_letters_digits_and_hyphens(synced: Any) -> None:
    for notice in all_notices(synced):
        for name, value in environment_of(notice, {}).items():
            assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ_")
            assert set(value) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert body_of(notice) == body_of(notice)
        assert b"said" not in body_of(notice), "a note's text"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import sys; sys.exit(3)", "expected exit code 0, got 3"),
        ("import os; os.kill(os.getpid(), 9)", "expected exit code 0, got -9"),
        ("import sys; sys.stdin.close(); sys.exit(1)", "expected exit code 0, got 1"),
    ],
)
def test_a_command_that_fails_has_not_taken_the_notice(one: Notice, script: str, said: str) -> None:
    with pytest.raises(NotDelivered, match=said):
        run_command((sys.executable, "-c", script), one, 30)


def test_a_command_that_does_not_end_is_killed_with_what_it_started(one: Notice, tmp_path: Path) -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1], sys.argv[2]])"
    child = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    begun = time.monotonic()
    with pytest.raises(NotDelivered, match=r"expected an end within 3 s"):
        run_command((sys.executable, "-c", script, child, str(tmp_path / "pid")), one, 3)
    assert time.monotonic() - begun < 30
    pid = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{pid}/stat")
    deadline = time.monotonic() + 10
    while state.exists() and state.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_a_command_that_is_gone_has_not_taken_the_notice(one: Notice) -> None:
    with pytest.raises(NotDelivered, match="no-such-program: cannot be started"):
        run_command(("no-such-program",), one, 30)


@pytest.mark.parametrize("text", ["", "  ", "'", 'sh -c "', "no-such-program --x", "'' x", "a\0b"])
def test_what_is_no_command_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--exec: expected a (command|program)"):
        parse_command(text)


def test_a_command_is_split_into_words_and_nothing_else(tmp_path: Path) -> None:
    assert parse_command("sh -c 'echo $X; ls *' ~ $HOME") == ("sh", "-c", "echo $X; ls *", "~", "$HOME")


# Webhooks -------------------------------------------------------------------------------------------------------------


class Hook(BaseHTTPRequestHandler):
    """A receiver that answers as its server's next script says."""

    server: Any

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))
        how = self.server.script.pop(0) if self.server.script else 204
        if how == "hang up":
            self.connection.close()
            return
        if how == "garbage":
            self.wfile.write(b"\x00\xff not HTTP\r\n\r\n")
            return
        if how == "silent":
            self.server.stop.wait(30)
            return
        if how == "drip":
            for byte in b"HTTP/1.1 204 No Content\r\nX: " + b"y" * 600:
                try:
                    self.wfile.write(bytes([byte]))
                except OSError:
                    return
                if self.server.stop.wait(0.05):
                    return
            return
        self.send_response(how)
        self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def hook(*script: int | str) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.script, server.got, server.stop = list(script), [], threading.Event()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        server.stop.set()
        server.shutdown()
        server.server_close()


def webhook_to(server: Any, *secrets: bytes) -> Webhook:
    return Webhook(f"http://127.0.0.1:{server.server_port}", "/hook?token=t", secrets or (SECRET,))


def test_a_webhook_gets_the_notice_signed_as_standard_webhooks_says(one: Notice) -> None:
    with hook(200) as server:
        call_webhook(webhook_to(server, SECRET, b"k" * 24), one, 10)
        ((path, headers, body),) = server.got
    assert (path, json.loads(body)) == ("/hook?token=t", plain(one))
    assert headers["webhook-id"] == one.id
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 60
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()) for key in (SECRET, b"k" * 24)]
    assert headers["webhook-signature"] == " ".join(f"v1,{each.decode()}" for each in expected)


def test_the_signature_of_the_specification_s_example_comes_out(one: Notice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.notices.receivers.time.time", lambda: 1614265330.5)
    monkeypatch.setattr("registry.notices.receivers.body_of", lambda notice: b'{"test": 2432232314}')
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    with hook(200) as server:
        call_webhook(webhook_to(server, key), replace(one, id="msg_p5jXN8AQM9LWM0D4loKWxJek"), 10)
        ((_, headers, _),) = server.got
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (500, "expected a status of 2xx, got 500"),
        (404, "expected a status of 2xx, got 404"),
        (302, "expected a status of 2xx, got 302"),
        (307, "expected a status of 2xx, got 307"),
        ("hang up", "hung up"),
        ("garbage", "webhook|not HTTP|http"),
        ("silent", "no answer: not within 0.6 s"),
        ("drip", "no answer: not within 0.6 s"),
    ],
)
def test_what_a_webhook_does_not_take_is_not_delivered_and_said_in_time(one: Notice, how: int | str, said: str) -> None:
    with hook(how) as server:
        begun = time.monotonic()
        with pytest.raises(NotDelivered, match=said) as refused:
            call_webhook(webhook_to(server), one, 0.6)
        assert time.monotonic() - begun < 5
        assert [path for path, *_ in server.got] == ["/hook?token=t"], "no redirect is followed, nothing sent twice"
    assert "token" not in str(refused.value)


def test_a_webhook_that_is_down_is_not_delivered(one: Notice) -> None:
    with hook() as server:
        there = webhook_to(server)
    with pytest.raises(NotDelivered, match=r"webhook http://127.0.0.1:\d+ cannot be reached: Connection refused"):
        call_webhook(there, one, 5)


def test_a_courier_brings_all_to_a_webhook_that_fails_in_between(synced: Any) -> None:
    every = all_notices(synced)
    with hook(500, 204, "hang up", 302, 204) as server:
        there = webhook_to(server)
        courier = courier_of(synced, lambda notice: call_webhook(there, notice, 5), from_start=True)
        failed = 0
        for _ in range(len(every) + 3):
            try:
                courier.step()
            except NotDelivered:
                failed += 1
        ids = [headers["webhook-id"] for _, headers, _ in server.got]
    assert failed == 3
    assert list(dict.fromkeys(ids)) == [notice.id for notice in every]
    assert len(ids) == len(every) + 3


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org/hook",
        "ftp://example.org",
        "file:///etc/passwd",
        "http://",
        "http://a b/",
        "http://example.org/\r\nX: y",
        "http://example.org:99999/",
        "http://example.org:x/",
        "http://me:hush@example.org/",
        "http://[::1",
        "http://example.org/\u202e",
    ],
)
def test_what_is_no_url_of_a_webhook_is_refused(url: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET_LINE)
    with pytest.raises(InputError, match="--webhook: expected") as refused:
        parse_webhook(url, tmp_path / "secret")
    assert "hush" not in str(refused.value)


def test_a_url_keeps_its_parts(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET_LINE}\nwhsec_{base64.b64encode(b'k' * 24).decode()}\n")
    found = parse_webhook("https://[::1]:8443/a/b?c=d&e", tmp_path / "secret")
    assert found == Webhook("https://[::1]:8443", "/a/b?c=d&e", (SECRET, b"k" * 24))
    assert "c=d" not in repr(found)
    assert "kkkk" not in repr(found)
    assert parse_webhook("http://example.org", tmp_path / "secret").target == "/"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"secret",
        b"whsec_",
        b"whsec_!!!!",
        b"whsec_" + base64.b64encode(b"k" * 23),
        b"whsec_" + base64.b64encode(b"k" * 65),
        base64.b64encode(b"k" * 32),
        b"\xff\xfe" * 20,
        b"\n".join([b"whsec_" + base64.b64encode(b"k" * 32)] * 5),
        b"whsec_" + base64.b64encode(b"k" * 32) + b"\nnot a secret",
        b"a" * 100_000,
    ],
    ids=range(12),
)
def test_a_file_that_holds_no_secret_is_refused_without_showing_it(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(InputError, match="expected 1 to 4 lines, each whsec_ and base64 of 24 to 64 bytes") as refused:
        parse_webhook("https://example.org", tmp_path / "secret")
    assert len(str(refused.value)) < len(str(tmp_path)) + 140
