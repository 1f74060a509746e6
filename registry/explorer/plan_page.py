"""The page of a plan: its terms, its rules in words, its server program, and what the chain convicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from registry.content.manifest import PlanManifest
from registry.explorer.reading import AsOf, NotThere, Reading, number_of
from registry.facts.plan_facts import PlanTerms, plan_terms_of, program_text
from registry.index import queries
from registry.index.entries import LogPlace, ModelEntry
from registry.rules.algorithms import CLIENT_ALGORITHMS
from registry.rules.server_programs import CONVICTED_BY as SERVER_CONVICTED_BY
from registry.rules.server_programs import RULES as SERVER_RULES
from registry.rules.table import COMBINE_RULES, UPDATE_FORMS, Entry, find
from registry.store.manifests import found_manifest

__all__ = ["PlanPage", "RuleInWords", "plan_page"]


@dataclass(frozen=True, slots=True)
class RuleInWords:
    """A rule of a plan.

    Attributes:
        part: What it rules: combine rule, server program, update form or algorithm.
        name: Its name; None for a program of the plan's own, or a rule of a later release.
        description: What it does.
        parameters: As the plan sets them.
        convicted_by: Functions of the contracts that convict a result that breaks it; empty if readers find out.
        paper: Where it comes from; empty if this release does not know.
    """

    part: str
    name: str | None
    description: str
    parameters: Mapping[str, bool | int | float | str]
    convicted_by: tuple[str, ...]
    paper: str


@dataclass(frozen=True, slots=True)
class PlanPage:
    """A plan of a model.

    Attributes:
        at: Where it was set.
        standing: Whether the next round follows it.
        manifest: None if it is unavailable; then there are no rules and no program.
        program: The server program, a register per line with its bounds; empty if a later release wrote it.
    """

    as_of: AsOf
    model: ModelEntry
    at: LogPlace
    standing: bool
    terms: PlanTerms
    manifest: PlanManifest | None
    rules: tuple[RuleInWords, ...]
    program: tuple[str, ...]


def plan_page(reading: Reading, path: Mapping[str, str], query: Mapping[str, str]) -> PlanPage:
    """Return a plan of a model."""
    model = reading.model(path["model"])
    index = number_of(path["index"], "plan's index")
    plans = queries.plans(reading.db, model.model_id)
    if index >= len(plans):
        raise NotThere(f"model {path['model']} has no plan {index} up to block {reading.as_of.block}")
    entry = plans[index]
    manifest = found_manifest(reading.store, entry.plan.digest, PlanManifest)
    return PlanPage(
        as_of=reading.as_of,
        model=model,
        at=entry.at,
        standing=index == len(plans) - 1,
        terms=plan_terms_of(entry),
        manifest=manifest,
        rules=() if manifest is None else _rules(manifest),
        program=() if manifest is None else tuple(program_text(manifest)),
    )


def _rules(plan: PlanManifest) -> tuple[RuleInWords, ...]:
    server, algorithm = plan.server, plan.algorithm
    known = SERVER_RULES.get(server.name or "")
    own = "a program of the plan's own" if server.name is None else "a rule of a later release"
    client = CLIENT_ALGORITHMS.get(algorithm.name)
    return (
        _entry("combine rule", find(COMBINE_RULES, plan.combine_rule), plan.combine_rule, plan.combine_parameters),
        RuleInWords(
            "server program",
            server.name,
            known.description if known else own,
            server.parameters,
            SERVER_CONVICTED_BY,
            known.paper if known else "",
        ),
        _entry("update form", find(UPDATE_FORMS, plan.update_form), plan.update_form, plan.form_parameters),
        RuleInWords(
            "algorithm",
            algorithm.name,
            client.description if client else "an algorithm of a later release",
            algorithm.parameters,
            (),
            client.paper if client else "",
        ),
        *(RuleInWords("transform", one.name, "", one.parameters, (), "") for one in plan.transforms),
    )


def _entry(part: str, found: Entry | None, number: int, parameters: Mapping[str, int]) -> RuleInWords:
    if found is None:
        return RuleInWords(part, None, f"rule {number}, of a later release", parameters, (), "")
    return RuleInWords(part, found.name, found.description, parameters, found.convicted_by, found.paper)
