"""Generate docs/rules.md, and the rule tables of docs/format.md, from the table of rules.

`python -m registry.cli.rules_page docs` writes both; a test compares the files with the generated text.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from registry.content.manifest import plan_terms
from registry.rules.algorithms import CLIENT_ALGORITHMS, COMMON
from registry.rules.server_programs import RULES as SERVER_RULES
from registry.rules.shapes import Columns, Fold, Select, SelectColumns
from registry.rules.table import COMBINE_RULES, UNIFORM, UPDATE_FORMS, CombineRule, Entry, IntegerParameter

__all__ = ["facts", "format_page", "rules_page", "write_pages"]

MARKS = "<!-- rules -->\n", "<!-- /rules -->\n"
TERMS = "<!-- terms -->\n", "<!-- /terms -->\n"
HEAD = """\
# Rules

The meaning of the rule numbers in a plan. Generated from `registry/rules/table.py` by
`python -m registry.cli.rules_page docs`; a test compares it with the table, and `cairn rules` prints the same.
Nothing is computed by a rule that is not listed here, and a version made by one is reported as unchecked.
"""
COMBINE = """\
## Combine rules

`combine_rule`, `weights` and `combine_parameters` of a plan. With `weights = "examples"` a contribution counts by its
committed weight, with `"uniform"` each counts once. Weights and parameters that a rule fixes must have the
values given here; a plan file may leave out those that have a default. Every quotient is rounded half to even, and
every result lies on the grid: for the proofs see `registry/rules/grid.py` and `shapes.py`.
"""
NUMBERS = """\
A number has one meaning, here and on chain. Under number 1 the contract convicts every aggregate that is not the mean
weighted by examples, so the unweighted mean has a number of its own. Where no function of the contract is named,
readers replay the rule: `cairn verify` recomputes every round, whatever the chain convicts. A false list of
contributions, version or state is convicted under every rule.
"""
DRAWS = """\
Buckets are drawn in public. The seed is sha2-256 of the text `cairn draw`, the round's id and its running hash, which
covers every commitment; a Fisher-Yates shuffle by sha2-256 in counter mode puts the admitted updates in order, and each
bucket is the next `bucket` of them (`registry/rounds/draws.py`). Whoever commits last can try several commitments to
move the draw, and attesters who refuse an update move it too. The bound on f does not depend on the draw: f Byzantine
updates are in at most f buckets.
"""
SERVER = """\
## Server rules

`server` of a plan: a server program, and the name and parameters that it is compiled from if it is one of these. The
contract runs any program on one coordinate, so `convictVersion`, `convictState` and `convictRoots` convict by all of
them. The bounds are those under every grid; a plan's grid may leave less. Defaults are the papers' or Flower's, and
`cairn plan new` fills them in; [algorithms.md](algorithms.md) says when to use which.
"""


ALGORITHMS = """\
## Client algorithms

`algorithm` of a plan. Nobody recomputes what a participant trains. How many steps an update declares is checked: under
`scaffold` exactly `steps`, under `fedsgd` one, and at most `steps` under any that has them in the plan. An update that
declares another number is refused. `scaffold`, `fednova` and `feddyn` are one half of an algorithm each, and the server
rule of the same name is the other. Every algorithm also takes `sampled`, the share of the participants that a public
draw asks in each round ([format.md](format.md#cairnreport-page1)), four texts: what participants must have in
common, which each compares with its own before it trains; and a gate and a stop rule, which whoever opens
rounds asks of validators' scores: `least_score`, 0 to 1, of the head's result, where one that too few scored passes;
`max_rounds`, finalized ones; `patience`, scored results in a row without a gain of two standard errors over the best
before them, by the differences that each validator sees (`registry/rounds/gates.py`).
"""


def rules_page() -> str:
    """Return docs/rules.md."""
    parts = [
        HEAD,
        COMBINE,
        _grid(
            ("", "name", "aggregate", "shape", "weights", "parameters", "convicted by", "paper"),
            [
                (str(r.number), f"`{r.name}`", r.description, r.shape.NAME, _codes(r.weights),
                 _parameters(r.parameters, usual=True), _convicted(r), r.paper)
                for r in COMBINE_RULES
            ],
        ),
        NUMBERS,
        _grid(("shape", "needs"), [(shape.NAME, shape.NEEDS) for shape in (Fold, Columns, Select, SelectColumns)]),
        DRAWS,
        SERVER,
        _grid(
            ("name", "step", "parameters", "paper"),
            [
                (f"`{name}`", rule.description,
                 "; ".join(f"`{p.name}` {p}" for p in rule.parameters), rule.paper)
                for name, rule in SERVER_RULES.items()
            ],
        ),
        ALGORITHMS,
        _grid(
            ("name", "participants train", "parameters", "server rule", "weights", "paper"),
            [
                (f"`{name}`", known.description, "; ".join(f"`{p.name}` {p}" for p in known.parameters),
                 f"`{known.server}`" if known.server else "any",
                 f"`{UNIFORM}`" if known.uniform else "any", known.paper)
                for name, known in CLIENT_ALGORITHMS.items()
            ],
        ),
        _grid(("text", "what participants must have in common"), [(f"`{n}`", says) for n, says in COMMON.items()]),
        "## Update forms\n\n`update_form` of a plan.",
        _grid(
            ("", "name", "an update's file holds", "convicted by", "defined in"),
            [(str(r.number), f"`{r.name}`", r.description, _convicted(r), f"`{r.paper}`") for r in UPDATE_FORMS],
        ),
    ]  # fmt: skip
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def format_page(page: str) -> str:
    """Return docs/format.md with the generated tables of rule numbers and plan terms between their marks."""
    begin, end = (page.index(mark) for mark in MARKS)
    rows = [
        ("`combine_rule`", str(r.number), r.description, f"`weights` {_codes(r.weights)}", _parameters(r.parameters))
        for r in COMBINE_RULES
    ]
    rows += [("`update_form`", str(r.number), r.description, "", _parameters(r.parameters)) for r in UPDATE_FORMS]
    page = (
        page[: begin + len(MARKS[0])] + _grid(("field", "number", "", "with", "parameters"), rows) + "\n" + page[end:]
    )
    begin, end = (page.index(mark) for mark in TERMS)
    terms = [(f"`{name}`", term["says"]) for name, term in plan_terms().items()]
    return page[: begin + len(TERMS[0])] + _grid(("term", "what"), terms) + "\n" + page[end:]


def facts() -> dict[str, list[dict[str, object]]]:
    """Return the table as plain data."""
    return {
        "combine_rules": [_facts(r) | {"shape": r.shape.NAME, "needs": r.shape.NEEDS, "weights": r.weights}
                          for r in COMBINE_RULES],
        "algorithms": [
            {"name": name} | {key: getattr(known, key) for key in known.__dataclass_fields__}
            for name, known in CLIENT_ALGORITHMS.items()
        ],
        "server_rules": [
            {"name": name, "description": rule.description, "parameters": rule.parameters, "paper": rule.paper}
            for name, rule in SERVER_RULES.items()
        ],
        "update_forms": [_facts(r) for r in UPDATE_FORMS],
    }  # fmt: skip


def _facts(one: CombineRule | Entry) -> dict[str, object]:
    names = ("number", "name", "description", "parameters", "convicted_by", "paper")
    return {name: getattr(one, name) for name in names}


def _convicted(one: Entry) -> str:
    return _codes(one.convicted_by) if one.convicted_by else "replayed by readers"


def _parameters(parameters: Sequence[IntegerParameter], *, usual: bool = False) -> str:
    """Return parameters with their ranges; of a file that is written by hand, with the usual values too."""
    defaults = {p.name: f" (default {p.usual})" for p in parameters if usual and p.usual is not None}
    return "; ".join(f"`{p.name}` {p.low}..{p.high}{defaults.get(p.name, '')}: {p.description}" for p in parameters)


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (columns, ["---"] * len(columns), *rows))


def write_pages(docs: Path) -> None:
    """Write the two pages to a folder."""
    (docs / "rules.md").write_text(rules_page())
    (docs / "format.md").write_text(format_page((docs / "format.md").read_text()))


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
