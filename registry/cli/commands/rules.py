"""`cairn rules`: print the table of rules."""

from __future__ import annotations

from collections.abc import Sequence

from registry.cli.command import command, single
from registry.cli.session import Session
from registry.rules.algorithms import CLIENT_ALGORITHMS, with_usual
from registry.rules.table import COMBINE_RULES, UNIFORM, UPDATE_FORMS, Entry

app = single()


@command(app, "rules", example="cairn rules\ncairn rules --json")
def rules(session: Session) -> None:
    """Show what a plan can have: combine rules, server rules, update forms, client algorithms, and who checks them.

    Rules that no function of the contract convicts are replayed by readers: `cairn verify` recomputes all of them.
    """
    from registry.cli.rules_page import facts
    from registry.rules.server_programs import CONVICTED_BY, RULES

    def show() -> None:
        rows = [_row("combine_rule", rule, rule.weights) for rule in COMBINE_RULES]
        for name, rule in RULES.items():
            parameters = ", ".join(f"{p.name} {p.lowest:g}..{p.highest:g}" for p in rule.parameters)
            rows.append(("server", "", name, rule.description, "", parameters, ", ".join(CONVICTED_BY)))
        rows += [_row("update_form", form) for form in UPDATE_FORMS]
        for name, known in CLIENT_ALGORITHMS.items():
            weights, parameters = UNIFORM if known.uniform else "", with_usual(known.parameters)
            rows.append(
                ("algorithm", "", name, known.description, weights, parameters, "nobody: its steps are declared")
            )
        columns = ("field", "number", "name", "", "weights", "parameters", "convicted by")
        session.out.table(columns, rows, right=("number",))

    session.out.result(facts(), show)


def _row(kind: str, one: Entry, weights: Sequence[str] = ()) -> tuple[object, ...]:
    parameters = ", ".join(f"{p.name} {p.low}..{p.high}" for p in one.parameters)
    convicted = ", ".join(one.convicted_by) or "readers replay it"
    return kind, one.number, one.name, one.description, ", ".join(weights), parameters, convicted
