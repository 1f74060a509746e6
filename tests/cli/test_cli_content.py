"""`cairn cid`, `cairn store` and `cairn combine`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.rounds.versions import save_arrays

# What `ipfs add --only-hash` of Kubo 0.42 prints under the profile unixfs-v1-2025.
HELLO = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"


def save(path: Path, values: list[float]) -> Path:
    save_arrays(path, {"w": np.array(values, dtype=np.float32)})
    return path


def test_cid_prints_what_ipfs_would(cairn: Any, tmp_path: Path) -> None:
    (tmp_path / "hello").write_bytes(b"hello world")
    assert cairn("cid", "hello").stdout == f"{HELLO}  hello\n"


def test_cid_reads_standard_input(cairn: Any) -> None:
    assert cairn("cid", "-", input=b"hello world").stdout == f"{HELLO}  -\n"


def test_cid_of_several_files_is_a_json_list(done: Any, tmp_path: Path) -> None:
    (tmp_path / "hello").write_bytes(b"hello world")
    assert done("cid", "hello", "hello") == 2 * [{"file": "hello", "cid": HELLO, "size": 11}]


def test_cid_of_tensors_has_root_and_sha256(done: Any, tmp_path: Path) -> None:
    file = save(tmp_path / "t.safetensors", [1.0, 2.0])
    found = done("cid", "--tensors", file)[0]
    assert found["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert len(found["tensor_root"]) == 66


def test_cid_of_no_tensors_is_a_form_error(cairn: Any, tmp_path: Path) -> None:
    (tmp_path / "hello").write_bytes(b"hello world")
    result = cairn("cid", "--tensors", "hello")
    assert (result.exit_code, result.stdout) == (3, "")


def test_what_is_added_is_pinned_and_comes_back(cairn: Any, done: Any, tmp_path: Path) -> None:
    data = np.random.default_rng(1).bytes(3 << 20)
    (tmp_path / "data").write_bytes(data)
    cid = done("store", "add", "data")[0]["cid"]
    assert done("store", "pins") == [{"cid": cid, "pinned": "recursive"}]
    assert done("store", "get", cid[:12], "-o", "copy")["size"] == len(data)
    assert (tmp_path / "copy").read_bytes() == data
    facts = done("store", "stat", cid)
    assert (facts["size"], facts["blocks"], facts["blocks here"], facts["pinned"]) == (len(data), 4, 4, "recursive")


def test_get_writes_bytes_to_a_pipe(cairn: Any, tmp_path: Path) -> None:
    (tmp_path / "hello").write_bytes(b"hello world")
    cairn("store", "add", "hello")
    assert cairn("store", "get", HELLO).stdout_bytes == b"hello world"


def test_a_block_nobody_has_leaves_no_file(cairn: Any, tmp_path: Path) -> None:
    result = cairn("store", "get", HELLO, "-o", "copy")
    assert result.exit_code == 4
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


@pytest.mark.parametrize("text", ["QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "zb2rhe", "no"])
def test_a_cid_of_another_kind_is_refused(cairn: Any, text: str) -> None:
    assert cairn("store", "get", text).exit_code in (2, 3)


def test_unpinned_content_goes_at_the_next_collection(cairn: Any, done: Any, tmp_path: Path) -> None:
    (tmp_path / "hello").write_bytes(b"hello world")
    done("store", "add", "hello")
    assert done("store", "unpin", HELLO[:8])["pinned"] == "no"
    assert done("store", "gc", "--dry-run", "--grace", "0")["loose_blocks"] == 1
    assert done("store", "stat", HELLO)["here"] is True
    assert done("store", "gc", "--grace", "0")["loose_bytes"] == 11
    assert cairn("store", "stat", HELLO).exit_code == 4
    assert cairn("store", "unpin", HELLO).exit_code == 4


def test_fsck_finds_a_flipped_bit(cairn: Any, done: Any, tmp_path: Path) -> None:
    (tmp_path / "hello").write_bytes(b"hello world")
    done("store", "add", "hello")
    assert done("store", "fsck")["sound"] is True
    block = next((tmp_path / "home" / "store" / "blocks").glob("*/*"))
    block.write_bytes(b"hello worle")
    result = cairn("store", "fsck")
    assert result.exit_code == 7
    assert "1 damaged blocks" in result.stderr


def test_a_car_carries_a_file_to_another_store(cairn: Any, done: Any, tmp_path: Path) -> None:
    data = np.random.default_rng(2).bytes(2 << 20)
    (tmp_path / "data").write_bytes(data)
    cid = done("store", "add", "data")[0]["cid"]
    assert done("store", "export", cid, "-o", "data.car")["root"] == cid
    assert done("store", "import", "data.car", "--store", "elsewhere")["root"] == cid
    assert done("store", "get", cid, "-o", "copy", "--store", "elsewhere")["cid"] == cid
    assert (tmp_path / "copy").read_bytes() == data


def test_a_cut_car_is_refused(cairn: Any, done: Any, tmp_path: Path) -> None:
    (tmp_path / "hello").write_bytes(b"hello world")
    done("store", "add", "hello")
    done("store", "export", HELLO, "-o", "hello.car")
    (tmp_path / "hello.car").write_bytes((tmp_path / "hello.car").read_bytes()[:-3])
    result = cairn("store", "import", "hello.car", "--store", "elsewhere")
    assert result.exit_code == 3


def test_fsck_wants_a_folder(cairn: Any) -> None:
    result = cairn("store", "fsck", "--store", "kubo:http://127.0.0.1:1")
    assert result.exit_code == 2
    assert "expected a store that is a folder" in result.stderr


def test_combine_is_the_weighted_mean_on_the_grid(done: Any, tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", [0.5, -0.25, 0.0])
    save(tmp_path / "b.safetensors", [0.25, 0.25, 0.25])
    made = done("combine", "a.safetensors:1", "b.safetensors:3", "--grid", "2", "-o", "out.safetensors")
    expected = save(tmp_path / "expected.safetensors", [0.25, 0.0, 0.25])  # 1.25, 0.5 and 0.75 quarters, ties to even
    assert (tmp_path / "out.safetensors").read_bytes() == expected.read_bytes()
    assert made["total_weight"] == 4
    again = done("combine", "b.safetensors:3", "a.safetensors:1", "--grid", "2", "-o", "again.safetensors")
    names = ("sha256", "cid", "tensor_root", "total_weight")
    assert {name: made[name] for name in names} == {name: again[name] for name in names}
    assert done("cid", "--tensors", "out.safetensors")[0]["tensor_root"] == made["tensor_root"]


def test_combine_takes_a_rule_and_its_parameters(done: Any, cairn: Any, tmp_path: Path) -> None:
    for name, values in {"a": [0.0, 4.0], "b": [1.0, 3.0], "c": [5.0, 0.0], "d": [9.0, 9.0]}.items():
        save(tmp_path / f"{name}.safetensors", values)
    files = [f"{name}.safetensors:{weight}" for weight, name in enumerate("abcd", 1)]
    for rule, expected in (
        (("median",), [3.0, 3.5]),
        (("trimmed_mean", "--parameter", "trimmed=16384"), [3.0, 3.5]),
        (("trimmed_mean", "--parameter", "trimmed=0"), [3.75, 4.0]),
        (("4",), [3.75, 4.0]),
    ):
        done("combine", *files, "--grid", 2, "--rule", *rule, "-o", "out.safetensors")
        wanted = save(tmp_path / "expected.safetensors", expected)
        assert (tmp_path / "out.safetensors").read_bytes() == wanted.read_bytes(), rule
        (tmp_path / "out.safetensors").unlink()
    for wrong, code in ((("mode",), 2), (("median", "--parameter", "k=1"), 3), (("trimmed_mean",), 3)):
        assert cairn("combine", *files, "--rule", *wrong, "-o", "out.safetensors").exit_code == code


def test_combine_redoes_a_draw_of_buckets(done: Any, cairn: Any, tmp_path: Path) -> None:
    """Of four files in two buckets of two, by either of two draws the other file is beside the one far out."""
    for name, value in {"a": 0.0, "b": 1.0, "c": 2.0, "d": 64.0}.items():
        save(tmp_path / f"{name}.safetensors", [value] * 3)
    files = [f"{name}.safetensors:1" for name in "abcd"]
    rule = ("--rule", "geometric_median", *(f for p in ("steps=2", "mixed=0", "bucket=2") for f in ("--parameter", p)))
    made = {}
    for draw in ("00" * 32, "0x" + "01" * 32, "07" * 32):
        done("combine", *files, "--grid", 8, *rule, "--draw", draw, "-o", f"{draw}.safetensors")
        made[draw] = (tmp_path / f"{draw}.safetensors").read_bytes()
    again = "00" * 32
    done("combine", *files, "--grid", 8, *rule, "--draw", again, "-o", "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == made[again]
    for wrong in ((), ("--draw", "07"), ("--draw", "zz" * 32)):
        told = cairn("combine", *files, "--grid", 8, *rule, *wrong, "-o", "none.safetensors")
        assert told.exit_code == 2 and "--draw: expected 32 bytes in hex" in told.stderr


@pytest.mark.parametrize(
    ("values", "weight", "code"),
    [
        ([0.5, 0.1, 0.0], "1", 3),
        ([0.5, float("nan"), 0.0], "1", 3),
        ([0.5, float("inf"), 0.0], "1", 3),
        ([0.5, -0.0, 0.0], "1", 3),
        ([0.5, 2.0**24, 0.0], "1", 3),
        ([0.5, 0.0], "1", 3),
        ([0.5, 0.0, 0.0], "0", 2),
        ([0.5, 0.0, 0.0], str(1 << 28), 2),
        ([0.5, 0.0, 0.0], "many", 2),
        ([0.5, 0.0, 0.0], "-1", 2),
    ],
    ids=[
        "off grid",
        "nan",
        "inf",
        "minus zero",
        "beyond",
        "other shape",
        "weight 0",
        "over 2^28",
        "no weight",
        "negative",
    ],
)
def test_combine_refuses_what_a_round_refuses(
    cairn: Any, tmp_path: Path, values: list[float], weight: str, code: int
) -> None:
    save(tmp_path / "a.safetensors", [0.5, 0.25, 0.0])
    save(tmp_path / "b.safetensors", values)
    result = cairn("combine", "a.safetensors:1", f"b.safetensors:{weight}", "--grid", "2", "-o", "out.safetensors")
    assert result.exit_code == code, result.stderr
    assert not (tmp_path / "out.safetensors").exists()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".safetensors", ".safetensors"]


def test_combine_does_not_write_over_an_update(cairn: Any, tmp_path: Path) -> None:
    file = save(tmp_path / "a.safetensors", [0.5])
    before = file.read_bytes()
    assert cairn("combine", "a.safetensors:1", "-o", "a.safetensors").exit_code == 2
    assert file.read_bytes() == before


def test_a_manifest_is_shown_as_json(done: Any, cairn: Any, tmp_path: Path) -> None:
    from registry.cli.plan_files import manifest_of
    from registry.content.manifest import digest_of, encode, manifest_cid
    from registry.store.local import LocalStore

    plan = manifest_of({})
    cid = manifest_cid(digest_of(plan))
    LocalStore(tmp_path / "home" / "store").put(cid, encode(plan))
    shown = json.loads(cairn("store", "get", cid).stdout)
    assert (shown["kind"], shown["algorithm"]["name"]) == ("cairn/plan/1", "fedavg")
    assert cairn("store", "get", cid, "--raw").stdout_bytes == encode(plan)
    assert done("store", "stat", cid)["kind"] == "cairn/plan/1"
