"""Quality reports: bands and never values, of honest files and of hostile ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from registry.errors import FormError, InputError
from registry.rounds.data_quality import MAX_CELL, count_band, describe_data, share_band
from registry.rounds.data_sets import read_data_set

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("number", "band"),
    [
        *((0, "0"), (1, "1 to 9"), (9, "1 to 9"), (10, "10 to 99"), (999, "100 to 999"), (1000, "1,000 to 9,999")),
        (10**7, "10,000,000 to 99,999,999"),
    ],
)
def test_counts_are_bands_of_powers_of_ten(number: int, band: str) -> None:
    assert count_band(number) == band


@pytest.mark.parametrize(
    ("part", "band"),
    [
        *((0, "none"), (1, "under 1 %"), (9, "under 1 %"), (10, "1 to 5 %"), (50, "5 to 20 %"), (200, "20 to 50 %")),
        *((500, "50 to 80 %"), (799, "50 to 80 %"), (800, "80 to 95 %"), (950, "over 95 %"), (999, "over 95 %")),
        (1000, "all"),
    ],
)
def test_shares_are_bands(part: int, band: str) -> None:
    assert share_band(part, 1000) == band


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_report_counts_what_is_missing_repeated_and_unequal(tmp_path: Path) -> None:
    lines = [f"{i},{SECRET},{'a' if i < 90 else 'b' if i < 97 else ''}" for i in range(100)]
    lines += [*lines[:30], "200,NA,a", "", "201,  ,a"]
    found = describe_data(
        [written(tmp_path, "w.csv", "\ufeffid,word,kind\n" + "\r\n".join(lines) + "\n")],
        label="kind",
        cleaning=["no twins"],
    )
    assert found.lines == [
        "records: 100 to 999",
        "columns: 1 to 9",
        "missing: 1 to 5 %",
        "incomplete: 1 to 5 %",
        "duplicates: 20 to 50 %",
        "unlabelled: 1 to 5 %",
        "classes: 1 to 9",
        "largest class: 80 to 95 %",
        "smallest class: fewer than 10 records",
        "cleaning: no twins",
    ]
    assert found.least_records == 100
    assert not any(SECRET in line for line in found.lines)


def test_json_lines_lack_what_only_others_have_and_several_files_are_one_data_set(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"x": i, "y": [i, {"z": None}]} for i in range(40)]
    one = written(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    two = written(tmp_path, "b.ndjson", json.dumps(rows[3]) + "\n\n" + json.dumps({"x": float("nan")}))
    found = describe_data([one, two])
    assert (found.records, found.columns, found.duplicates) == ("10 to 99", "1 to 9", "1 to 5 %")
    assert (found.missing, found.incomplete, found.classes) == ("1 to 5 %", "1 to 5 %", None)


def test_balanced_labels_are_told_by_their_shares(tmp_path: Path) -> None:
    file = written(tmp_path, "w.tsv", "x\tkind\n" + "".join(f"{i}\t{i % 4}\n" for i in range(400)))
    found = describe_data([file], label="kind")
    assert (found.largest_class, found.smallest_class, found.unlabelled) == ("20 to 50 %", "20 to 50 %", "none")


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.csv", b"", "at least one record, got none"),
        ("a.csv", b"x,kind\n", "at least one record, got none"),
        ("a.csv", b"x,x\nhunter2,1\n", "line 1: expected different names of columns"),
        ("a.csv", b"x,\nhunter2,1\n", "line 1: expected different names of columns"),
        ("a.csv", b"x,kind\nhunter2\n", "line 2: expected 2 cells, got 1"),
        ("a.csv", b"x,kind\nhunter2,1,2\n", "line 2: expected 2 cells, got 3"),
        ("a.csv", b'x,kind\n"hunter2,1\n', "expected CSV, got"),
        ("a.csv", b'x,kind\n"a"hunter2,1\n', "line 2: expected CSV, got"),
        ("a.csv", b"x,kind\nhunter2\xff,1\n", "expected UTF-8, got other bytes"),
        ("a.csv", b"x,kind\n" + b"h" * (1 << 18) + b",1\n", "line 2: expected CSV, got: field larger"),
        ("a.csv", b"x,kind\n" + b"h" * (MAX_CELL + 1), "line 2: expected at most 1048576 characters"),
        ("a.csv", ",".join(f"c{i}" for i in range(10_001)).encode() + b"\n" + b"," * 10_000, "at most 10000 columns"),
        (
            "a.csv",
            b"x,kind\n" + b"".join(b"1,%d\n" % i for i in range(10_001)),
            "--label: expected a column of at most",
        ),
        ("a.csv", b"x,other\nhunter2,1\n", "--label: expected one of the 2 columns"),
        ("a.jsonl", b"hunter2", "line 1: expected a JSON object"),
        ("a.jsonl", b'{"kind": 1}\n["hunter2"]', "line 2: expected a JSON object"),
        ("a.jsonl", b'{"kind": ' + b"[" * 200_000, "line 1: expected a JSON object"),
        ("a.jsonl", b'{"kind": ' + b"9" * 5000 + b"}", "line 1: expected a JSON object"),
        ("a.jsonl", b"h" * (MAX_CELL + 1), "line 1: expected at most 1048576 characters"),
        ("a.parquet", b"PAR1", "expected a file of .csv, .tsv, .jsonl, .ndjson, got .parquet"),
        ("a", b"x", "got no ending"),
    ],
    ids=lambda given: given[:30] if isinstance(given, str) else "",
)
def test_a_hostile_file_gets_one_error_without_a_value(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError) as caught:
        describe_data([tmp_path / name], label="kind")
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name in ("gone.csv", "folder.csv"):
        with pytest.raises(InputError, match="expected a readable file, got"):
            describe_data([tmp_path / name])


@pytest.mark.parametrize("data", [b"", b"hunter2", b"\xa0" * (2 << 20)], ids=["empty", "text", "long"])
def test_what_is_no_manifest_of_a_data_set_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "w.dataset").write_bytes(data)
    with pytest.raises(FormError):
        read_data_set(tmp_path / "w.dataset")
    with pytest.raises(InputError, match="expected a file of `cairn dataset describe`"):
        read_data_set(tmp_path / "gone")
