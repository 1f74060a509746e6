"""`examples/across_languages`: pieces of words, splits by category, and a small federation on made-up catalogues."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from registry.errors import InputError
from tests.trainer.conftest import example_module
from trainer.demo.titles import chapter_of, held_out, installed, read_titles

pytest.importorskip("matplotlib")

pytestmark = pytest.mark.slow

FIRST = ["A", "C", "D5", "E", "F", "G", "H", "H6", "I", "J", "K", "L", "M", "N", "O", "P", "Q", "R", "S", "V", "Z"]
"""How codes of the chapters 1 to 21 begin."""


@pytest.fixture(scope="module")
def languages() -> Any:
    return example_module("across_languages")


def write_catalogue(file: Path, titles: dict[str, str]) -> None:
    """Write a catalogue of GNU Health: long titles in several lines, something else in between."""
    entries = ['msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n']
    for code, title in titles.items():
        english = f'"{title} in English"\n'
        other = f'""\n"{title[:30]}"\n"{title[30:]}"\n' if len(title) > 30 else f'"{title}"\n'
        entries.append(f'msgctxt "model:gnuhealth.pathology,name:{code}"\nmsgid {english}msgstr {other}')
    entries.append('msgctxt "model:gnuhealth.pathology.category,name:icdcat1"\nmsgid "I"\nmsgstr "eins"\n')
    file.write_text("\n".join(entries), "utf-8")


@pytest.fixture(scope="module")
def catalogues(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten categories of ten titles for each chapter in three languages, which share a stem."""
    folder = tmp_path_factory.mktemp("catalogues")
    for name, word in (("de", "Krankheit"), ("es", "enfermedad"), ("fr", "maladie")):
        titles = {
            f"{first if len(first) == 2 else first + '0'}{category}{leaf}": f"{word} {chapter:02}stem{category} n{leaf}"
            for chapter, first in enumerate(FIRST)
            for category in range(10)
            for leaf in range(10)
        }
        write_catalogue(folder / f"{name}.po", titles)
    return folder


def test_titles_of_a_catalogue(tmp_path: Path) -> None:
    file = tmp_path / "es.po"
    long = 'Fiebre "amarilla" selvática, con un título que ocupa varias líneas'
    write_catalogue(file, {"A950": long.replace('"', '\\"'), "U071": "COVID-19", "X": ""})
    assert read_titles(file) == {
        "A950": (f"{long} in English", long),
        "U071": ("COVID-19 in English", "COVID-19"),
    }
    file.write_text("nothing")
    with pytest.raises(InputError, match="expected a catalogue of GNU Health's pathologies"):
        read_titles(file)
    with pytest.raises(InputError, match="expected the distribution no-such-titles to be installed"):
        installed("no-such-titles", "locale")


def test_chapters_by_code() -> None:
    wanted = {
        "A00": 1,
        "B99": 1,
        "D48": 2,
        "D50": 3,
        "H59": 7,
        "H60": 8,
        "T98": 19,
        "U07": 22,
        "V01": 20,
        "Y98": 20,
        "Z99": 21,
    }
    assert {code: chapter_of(code) for code in wanted} == wanted
    assert [chapter_of((first + "00")[:3]) for first in FIRST] == list(range(1, 22))


def test_held_out_categories_are_disjoint_and_whole() -> None:
    codes = [f"A{category:02}{leaf}" for category in range(40) for leaf in range(3)]
    test, validation = held_out(codes, (0.2, 0.1), 3)
    assert (len(test), len(validation), test & validation) == (8, 4, set())
    assert held_out(reversed(codes), (0.2, 0.1), 3) == [test, validation] != held_out(codes, (0.2, 0.1), 4)


def test_languages_share_pieces_of_words_without_accents(languages: Any) -> None:
    german, spanish = (set(languages.pieces(title)) for title in ("Pneumonie", "neumonía"))
    assert len(german & spanish) >= 4 and not set(languages.pieces("Pneumonie", True)) & set(
        languages.pieces("neumonía", True)
    )
    assert languages.pieces("Œdème") == languages.pieces("oedeme") and languages.pieces("?") == [0]


def test_a_hospital_lacks_its_chapters_and_nobody_trains_on_what_is_tested(languages: Any, catalogues: Path) -> None:
    titles = languages.titles_of(catalogues, 1)
    assert all(len(own) == 2100 for own in titles.values())
    parts = languages.divided(titles, 0, False)
    for language, own in parts.items():
        lacking = {chapter - 1 for chapter in languages.LACKING[language]}
        rare = sum(int(label) in lacking for label in own["training"].labels)
        assert 0 < rare < 0.05 * len(own["training"])
        assert [len(own[part]) for part in ("validation", "test")] == [210, 320]  # 15 % and 10 % of 210 categories
        assert lacking & set(own["test"].labels.tolist())
    everywhere = [own["test"].labels.tolist() for own in parts.values()]
    assert everywhere[0] == everywhere[1] == everywhere[2]


def test_a_small_federation_across_languages(languages: Any, catalogues: Path, tmp_path: Path) -> None:
    given = ["--small", "--out", str(tmp_path), "--titles", str(catalogues)]
    languages.main(given)
    found = json.loads((tmp_path / "summary.json").read_text())
    assert set(found) == set(languages.METHODS)
    scores = [own[metric]["mean"] for one in found.values() for own in one["languages"].values() for metric in own]
    assert len(scores) == 5 * 3 * 2 and all(0 <= score <= 1 for score in scores)
    federated = [json.loads(file.read_text()) for file in tmp_path.glob("test-federated*.json")]
    assert len(federated) == 3 and all(one["verified"] and set(one["scores"]) == {"0", "1"} for one in federated)
    assert "<svg" in (tmp_path / "figures.svg").read_text()
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.glob("test-*.json")}
    languages.main(given)  # runs that are there are not done again
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps


@pytest.mark.skipif(not os.environ.get("CAIRN_SOAK"), reason="`make soak` installs the titles")
def test_a_round_on_the_titles_of_the_package(languages: Any, tmp_path: Path) -> None:
    languages.main(["--small", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "summary.json").read_text())
    assert set(found) == set(languages.METHODS) and set(found["alone"]["languages"]) == set(languages.LACKING)
    federated = [json.loads(file.read_text()) for file in tmp_path.glob("test-federated*.json")]
    assert len(federated) == 3 and all(one["verified"] for one in federated)
