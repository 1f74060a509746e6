"""Quality report of a data set in bands: counts, missing cells, duplicates, label balance, cleaning; never a value.

Counts are given by powers of ten, shares by a few fixed bands, so that no record shows in a report, nor in the
difference of two but where it crosses a band. Error messages name places, not what stands there: cells may be
patients'.
"""

from __future__ import annotations

import csv
import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from registry.errors import InputError

__all__ = ["DataQuality", "count_band", "describe_data", "share_band"]

MAX_CELL = 1 << 20
"""Most characters of a cell, or of a line of JSON."""
MAX_COLUMNS = 10_000
MAX_CLASSES = 10_000
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
_SHARES = (
    (0.01, "under 1 %"),
    (0.05, "1 to 5 %"),
    (0.2, "5 to 20 %"),
    (0.5, "20 to 50 %"),
    (0.8, "50 to 80 %"),
    (0.95, "80 to 95 %"),
)
_FEW = 10
_KINDS = {".csv": ",", ".tsv": "\t", ".jsonl": "", ".ndjson": ""}

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DataQuality:
    """A quality report. All of it is bands, see `count_band` and `share_band`, but the cleaning steps.

    Attributes:
        records: Number of records.
        least_records: The least number in that band.
        columns: Number of columns.
        missing: Share of cells that are missing: empty, null, NaN, NA, none.
        incomplete: Share of records with a missing cell.
        duplicates: Share of records that repeat an earlier one.
        unlabelled: Share of records without a label; None if no column was named.
        classes: Number of different labels, likewise.
        largest_class: Share of the labelled records that have the most frequent label, likewise.
        smallest_class: Share of those that have the rarest, or `fewer than 10 records`, likewise.
        cleaning: What was done to the data, as its holder says.
    """

    records: str
    least_records: int
    columns: str
    missing: str
    incomplete: str
    duplicates: str
    unlabelled: str | None
    classes: str | None
    largest_class: str | None
    smallest_class: str | None
    cleaning: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """The report as text, a line for each entry."""
        names = ("records", "columns", "missing", "incomplete", "duplicates")
        labels = ("unlabelled", "classes", "largest_class", "smallest_class")
        told = [f"{name.replace('_', ' ')}: {getattr(self, name)}" for name in (*names, *labels) if getattr(self, name)]
        return [*told, *(f"cleaning: {step}" for step in self.cleaning)]


def count_band(number: int) -> str:
    """Return the band of a count: 0, 1 to 9, 10 to 99, and so on by powers of ten."""
    if number == 0:
        return "0"
    low = 10 ** (len(str(number)) - 1)
    return f"{low:,} to {10 * low - 1:,}"


def share_band(part: int, whole: int) -> str:
    """Return the band of a share: none, under 1 %, 1 to 5, 5 to 20, 20 to 50, 50 to 80, 80 to 95, over 95 %, all."""
    if part in (0, whole):
        return "all" if part and whole else "none"
    return next((band for bound, band in _SHARES if part < bound * whole), "over 95 %")


def describe_data(files: Sequence[Path], *, label: str | None = None, cleaning: Sequence[str] = ()) -> DataQuality:
    """Return the quality report of a data set.

    Args:
        files: Its files, UTF-8: CSV or TSV with a line of column names, the same in each file, or JSON lines.
        label: The column of the label, if it has one.
        cleaning: What was done to the data.

    Raises:
        InputError: A file is missing, of another kind or malformed, there are no records, no such label column, or
            the label has too many classes to be one.
    """
    seen = _Tally(label)
    for file in files:
        for record in _records(file):
            seen.add(record)
    if not seen.records:
        raise InputError("data set: expected at least one record, got none")
    if label is not None and label not in seen.columns:
        raise InputError(f"--label: expected one of the {len(seen.columns)} columns, got {label!r}")
    return seen.report(tuple(cleaning))


class _Tally:
    """Counts over the records of a data set; 8 bytes of memory for each record."""

    def __init__(self, label: str | None) -> None:
        self.label = label
        self.records = self.present = self.unlabelled = 0
        self.columns: set[str] = set()
        self.cells = Counter[int]()  # records by number of present cells
        self.labels = Counter[bytes]()
        self.hashes = array("Q")

    def add(self, record: Record) -> None:
        there = {name: value for name, value in record.items() if not _is_missing(value)}
        self.records += 1
        self.columns.update(record)
        if len(self.columns) > MAX_COLUMNS:
            raise InputError(f"data set: expected at most {MAX_COLUMNS} columns")
        self.present += len(there)
        self.cells[len(there)] += 1
        self.hashes.append(int.from_bytes(_hash(there)[:8], "big"))
        if self.label is None:
            return
        if self.label not in there:
            self.unlabelled += 1
            return
        self.labels[_hash(there[self.label])] += 1
        if len(self.labels) > MAX_CLASSES:
            raise InputError(f"--label: expected a column of at most {MAX_CLASSES} classes, got more")

    def report(self, cleaning: tuple[str, ...]) -> DataQuality:
        """Return the report; of several files a record lacks the columns that only others have."""
        cells, distinct = self.records * len(self.columns), len(np.unique(np.asarray(self.hashes, dtype=np.uint64)))
        labelled, sizes = self.records - self.unlabelled, self.labels.values()
        smallest = min(sizes, default=0)
        rarest = f"fewer than {_FEW} records" if smallest < _FEW else share_band(smallest, labelled)
        named = self.label is not None
        return DataQuality(
            records=count_band(self.records),
            least_records=10 ** (len(str(self.records)) - 1),
            columns=count_band(len(self.columns)),
            missing=share_band(cells - self.present, cells),
            incomplete=share_band(self.records - self.cells[len(self.columns)], self.records),
            duplicates=share_band(self.records - distinct, self.records),
            unlabelled=share_band(self.unlabelled, self.records) if named else None,
            classes=count_band(len(self.labels)) if named else None,
            largest_class=share_band(max(sizes, default=0), labelled) if named else None,
            smallest_class=rarest if named else None,
            cleaning=cleaning,
        )


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in _MISSING) or value != value


def _hash(value: object) -> bytes:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).digest()


def _records(file: Path) -> Iterator[Record]:
    """Yield a file's records.

    Raises:
        InputError: There is no such file, or it is malformed.
    """
    kind = file.suffix.lower()
    if kind not in _KINDS:
        raise InputError(f"{file}: expected a file of {', '.join(_KINDS)}, got {kind or 'no ending'}: convert it first")
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            yield from _rows(file, text, _KINDS[kind]) if _KINDS[kind] else _objects(file, text)
    except UnicodeDecodeError:
        raise InputError(f"{file}: expected UTF-8, got other bytes") from None
    except OSError as error:
        raise InputError(f"{file}: expected a readable file, got {error.strerror}") from None


def _rows(file: Path, text: TextIO, delimiter: str) -> Iterator[Record]:
    lines = csv.reader(_bounded(file, text), delimiter=delimiter, strict=True)
    try:
        names = next(lines, [])
        if len(set(names)) != len(names) or not all(names):
            raise InputError(f"{file}: line 1: expected different names of columns")
        for row in lines:
            if not row and len(names) != 1:
                continue  # an empty line
            if len(row) != len(names) and row:
                raise InputError(f"{file}: line {lines.line_num}: expected {len(names)} cells, got {len(row)}")
            yield dict(zip(names, row or [""], strict=True))
    except csv.Error as error:
        raise InputError(f"{file}: line {lines.line_num}: expected CSV, got: {error}") from None


def _objects(file: Path, text: TextIO) -> Iterator[Record]:
    for number, line in enumerate(_bounded(file, text), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            json.dumps(record)
        except (ValueError, RecursionError):
            raise InputError(f"{file}: line {number}: expected a JSON object, got something else") from None
        if not isinstance(record, dict):
            raise InputError(f"{file}: line {number}: expected a JSON object, got something else")
        yield record


def _bounded(file: Path, text: TextIO) -> Iterator[str]:
    """Yield a file's lines; none of them is unbounded, so no file fills the memory."""
    for number in count(1):
        line = text.readline(MAX_CELL + 1)
        if len(line) > MAX_CELL:
            raise InputError(f"{file}: line {number}: expected at most {MAX_CELL} characters")
        if not line:
            return
        yield line
