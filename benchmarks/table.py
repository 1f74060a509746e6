"""Generate the table of figures in docs/benchmarks.md from benchmark results.

python -m benchmarks.table            gather results/*.json into results.json, which is committed, and print the table
python -m benchmarks.table --write    also put it between the two marks in docs/benchmarks.md
python -m benchmarks.table --check    exit 1 unless docs/benchmarks.md has the table of results.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS

ROOT = Path(__file__).parent.parent
SUMMARY = Path(__file__).parent / "results.json"
PAGE = ROOT / "docs" / "benchmarks.md"
MARKS = "<!-- figures -->", "<!-- /figures -->"
ORDER = (
    "aggregate",
    "columns",
    "robust",
    "cid",
    "store",
    "answer",
    "gas",
    "flood",
    "round",
    "verify",
    "index",
    "billion",
    "explorer",
)
HEAD = ("What", "Cairn", "Beside it", "", "Ratio", "Target")


def gather() -> list[dict[str, Any]]:
    """Return every benchmark's report, preferring new results to those of the summary, without single turns."""
    reports = {report["benchmark"]: report for report in json.loads(SUMMARY.read_text())} if SUMMARY.exists() else {}
    for path in (RESULTS / f"{name}.json" for name in ORDER):
        if not path.exists():
            continue
        report = json.loads(path.read_text())
        if report["scale"] != 1:
            raise SystemExit(f"{path}: measured at a scale of {report['scale']}; the table is of the full size")
        kept = ("benchmark", "machine", "load_at_end")
        figures = [{k: v for k, v in figure.items() if k != "turns"} for figure in report["figures"]]
        reports[report["benchmark"]] = {**{name: report[name] for name in kept}, "figures": figures}
    return [reports[name] for name in ORDER if name in reports]


def table(reports: Iterable[dict[str, Any]]) -> str:
    """Return the figures as Markdown."""
    rows = [HEAD, ("---",) * len(HEAD)]
    rows += [_row(figure) for report in reports for figure in report["figures"]]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _row(figure: dict[str, Any]) -> tuple[str, ...]:
    unit, ratio, target = figure["unit"], figure["ratio"], figure["target"]
    wanted = "" if target is None else f"≥ {target:g}" if ratio is not None else f"≤ {_number(target, unit)}"
    return (
        figure["what"],
        _number(figure["value"], unit),
        figure["peer"] or "",
        "" if figure["peer_value"] is None else _number(figure["peer_value"], unit),
        "" if ratio is None else f"{ratio:.2f}",
        f"{wanted} (missed)" if figure["met"] is False else wanted,
    )


def _number(value: float, unit: str) -> str:
    text = f"{value:,.0f}".replace(",", " ") if value >= 100 else f"{value:.3g}"
    return f"{text} {unit}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if not options.check:
        SUMMARY.write_text(json.dumps(gather(), indent=1, ensure_ascii=False) + "\n")
    made = table(json.loads(SUMMARY.read_text()))
    if not options.check:
        print(made)
    if options.write or options.check:
        text = PAGE.read_text()
        begin, end = (text.find(mark) for mark in MARKS)
        if begin < 0 or end < begin:
            raise SystemExit(f"docs/benchmarks.md: expected the marks {MARKS[0]} and {MARKS[1]}")
        changed = text[: begin + len(MARKS[0])] + f"\n{made}\n" + text[end:]
        if options.write:
            PAGE.write_text(changed)
        elif changed != text:
            raise SystemExit("docs/benchmarks.md: its figures are not those of benchmarks/results.json")


if __name__ == "__main__":
    main()
