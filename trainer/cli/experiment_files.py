"""Settings of experiments from TOML: problem, partition, plan, attack, and what varies.

    participants = 10
    rounds = 10
    seeds = [0, 1, 2]

    [problem]                   # name and its parameters, or function = "FILE.py:FUNCTION"
    name = "icd10"

    [partition]
    name = "dirichlet"
    alpha = 1.0

    [plan]                      # fields of a plan file
    combine_rule = "multi_krum"
    combine_parameters = { byzantine = 2 }

    [attack]                    # without it nobody attacks
    name = "sign_flip"
    attackers = 2
    scale = 4

    [vary]                      # every combination is run, each entry laid over its table
    attack = [{ name = "none" }, { scale = 1 }, { scale = 4 }]

    [tune]                      # of these, each scenario takes the best on the validation cases of the first seed
    problem = [{ learning_rate = 3.0 }, { learning_rate = 10.0 }]

Tuning runs without the attack, which nobody knows beforehand.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.cli.plan_files import manifest_of
from registry.cli.statements import read_toml
from registry.content.manifest import PlanManifest
from registry.errors import InputError
from registry.rules.algorithms import CLIENT_ALGORITHMS, asks_of
from trainer.cli.tasks import load_problem
from trainer.experiments.asynchrony import asynchrony_of
from trainer.experiments.attacks import Attack, attack_of
from trainer.experiments.federation import Scenario, local_epochs
from trainer.experiments.own_models import own_models_of
from trainer.experiments.participation import PartialParticipation, participation_of
from trainer.experiments.problems import PROBLEMS, Problem

__all__ = ["Candidates", "Experiment", "problem_of", "read_experiment"]

_NUMBERS = {"participants": (1, 1000), "rounds": (1, 10_000), "aggregators": (1, 100)}
_USUAL: Mapping[str, Any] = {"participants": 10, "rounds": 10, "aggregators": 1, "seeds": [0]}
_TABLES = ("problem", "partition", "plan", "attack", "participation", "asynchrony", "personal")
_TOGETHER = "together"
"""In `vary` and `tune`: a list whose entries have parts for several tables."""
_NESTED = ("algorithm", "server")
"""Entries of a plan whose parameters are laid over one by one."""
_USUAL_PLAN: Mapping[str, Any] = {"grid_bits": 20, "saturate": True}
_BUFFERED = (("saturate", True), ("combine_rule", "uniform_mean"), ("weights", "uniform"))
"""What a plan may say of buffered versions, as they are so."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """A scenario to run, in the versions among which tuning chooses.

    Attributes:
        scenarios: The versions, one or more.
        rehearsals: The same without an attack, by which tuning chooses.
    """

    scenarios: tuple[Scenario, ...]
    rehearsals: tuple[Scenario, ...]


@dataclass(frozen=True, slots=True)
class Experiment:
    """Settings to run, each with each seed.

    Attributes:
        choices: In the order in which they vary, the last table fastest.
        varied: The names of the varied tables, in that order.
        seeds: Of the partitions, the order of cases, and whatever attackers draw.
    """

    choices: tuple[Candidates, ...]
    varied: tuple[str, ...]
    seeds: tuple[int, ...]


def read_experiment(file: Path) -> Experiment:
    """Read an experiment's TOML file.

    Raises:
        InputError: There is no such file, or a setting in it is unknown, missing or invalid.
    """
    given = read_toml(file)
    try:
        return _experiment(given)
    except InputError as error:
        raise type(error)(f"{file}: {error}") from error


def _experiment(given: Mapping[str, Any]) -> Experiment:
    known = (*_USUAL, *_TABLES, "vary", "tune")
    if unknown := sorted(set(given) - set(known)):
        raise InputError(f"unknown setting {unknown[0]!r}: there are {', '.join(known)}")
    base = {**_USUAL, **given}
    seeds = base["seeds"]
    if not isinstance(seeds, list) or not seeds or any(type(one) is not int or one < 0 for one in seeds):
        raise InputError(f"seeds: expected a list of whole numbers of 0 or more, got {seeds!r}")
    for name in _TABLES:
        if not isinstance(base.setdefault(name, {}), Mapping):
            raise InputError(f"{name}: expected a table, got {base[name]!r}")
    varied, tuned = (_axes(given, name) for name in ("vary", "tune"))
    choices = []
    for chosen in itertools.product(*varied.values()):
        laid = tuple(zip(varied, chosen, strict=True))
        versions = [(*laid, *zip(tuned, some, strict=True)) for some in itertools.product(*tuned.values())]
        scenarios = tuple(_scenario(base, version, len(varied)) for version in versions)
        calm = tuple((*version, ("attack", {"name": "none"})) for version in versions)
        rehearsals = tuple(
            one if one.attack is None else _scenario(base, version, len(varied))
            for one, version in zip(scenarios, calm, strict=True)
        )
        choices.append(Candidates(scenarios, rehearsals))
    labels = [one.scenarios[0].label for one in choices]
    if twice := next((label for place, label in enumerate(labels) if label in labels[:place]), None):
        raise InputError(f"vary: expected different labels, got {', '.join(twice)!r} twice: figures are told by label")
    asked = [scenario.own is not None for one in choices for scenario in one.scenarios]
    if any(asked) and not all(asked):
        raise InputError("personal: expected own models in all settings or in none, whose scores are compared")
    return Experiment(tuple(choices), tuple(varied), tuple(dict.fromkeys(seeds)))


def _axes(given: Mapping[str, Any], table: str) -> Mapping[str, Sequence[Any]]:
    """Return the lists of a table that varies or tunes, by what they are laid over."""
    axes = given.get(table, {})
    if not isinstance(axes, Mapping):
        raise InputError(f"{table}: expected a table of lists, got {axes!r}")
    for name, entries in axes.items():
        known = (*_TABLES, *_NUMBERS, _TOGETHER)
        if name not in known:
            raise InputError(f"{table}: expected some of {', '.join(known)}, got {name!r}")
        kind, kinds = (int, "numbers") if name in _NUMBERS else (Mapping, "tables")
        if not isinstance(entries, list) or not entries or not all(isinstance(one, kind) for one in entries):
            raise InputError(f"{table}: {name}: expected a list of {kinds}, got {entries!r}")
        parts = [part for one in entries if name == _TOGETHER for part in one.items() if part[0] != "label"]
        for part, over in parts:
            if part not in _TABLES or not isinstance(over, Mapping):
                raise InputError(f"{table}: {name}: expected tables of {', '.join(_TABLES)}, got {part} {over!r}")
    return axes


def _scenario(base: Mapping[str, Any], chosen: Sequence[tuple[str, Any]], named: int) -> Scenario:
    """Return the base with entries laid over its tables; the first `named` label it, each by its own label if any."""
    merged = {name: base[name] for name in (*_NUMBERS, *_TABLES)}
    labels = []
    for name, entry in chosen:
        if isinstance(entry, Mapping):
            told = {key: value for key, value in entry.items() if key != "label"}
            labels.append(str(entry.get("label") or _told(told)))
            for part, over in (told if name == _TOGETHER else {name: told}).items():
                merged[part] = _laid(merged[part], over)
        else:
            labels.append(f"{entry} {name}")
            merged[name] = entry
    for name, (low, high) in _NUMBERS.items():
        if type(merged[name]) is not int or not low <= merged[name] <= high:
            raise InputError(f"{name}: expected a whole number of {low}..{high}, got {merged[name]!r}")
    for name in ("problem", "partition"):
        merged[name] = {**({} if merged[name] else {"name": "icd10" if name == "problem" else "iid"}), **merged[name]}
    attack, attackers, first = _attack(merged["attack"], merged["participants"])
    participation = participation_of(merged["participation"])
    plan = _plan(merged, participation)
    asynchrony = asynchrony_of(merged["asynchrony"])
    if asynchrony is not None:
        _require_buffered(merged["plan"], participation, first)
    own = own_models_of(merged["personal"])
    if own is not None and asynchrony is not None:
        raise InputError("personal: expected none with asynchrony, whose versions nobody keeps anything beside")
    return Scenario(
        label=tuple(labels[:named]),
        tuned=tuple(labels[named:]),
        participants=merged["participants"],
        rounds=merged["rounds"],
        aggregators=merged["aggregators"],
        problem=merged["problem"],
        partition=merged["partition"],
        plan=plan,
        attack=attack,
        attackers=attackers,
        first_attack=first,
        participation=participation,
        asynchrony=asynchrony,
        own=own,
        given=merged,
    )


def _require_buffered(plan: Mapping[str, Any], participation: PartialParticipation, first: int) -> None:
    """Check that nothing is asked of buffered versions that they do not do: their figures would pass for its own."""
    if participation != PartialParticipation():
        raise InputError("participation: expected none with asynchrony, where everybody trains at its own pace")
    for name, value in plan.items():
        if name != "grid_bits" and (name, value) not in _BUFFERED:
            raise InputError(
                "plan: expected grid_bits alone with asynchrony, whose versions are means of updates of one local "
                f"epoch, got {name} {value!r}"
            )
    if first != 1:
        raise InputError(f"attack: first_round: expected 1 with asynchrony, got {first}")


def _plan(settings: Mapping[str, Any], participation: PartialParticipation) -> PlanManifest:
    """Return the plan of settings, whose rounds by default need everybody who takes part."""
    given = settings["plan"]
    asked, stragglers = participation.counts(settings["participants"])
    algorithm = given.get("algorithm")
    name = algorithm.get("name") if isinstance(algorithm, Mapping) else "fedavg"
    if name not in CLIENT_ALGORITHMS:
        raise InputError(f"plan: algorithm: expected name as one of {', '.join(CLIENT_ALGORITHMS)}, got {name!r}")
    partial = CLIENT_ALGORITHMS[name].partial
    counts = {"quorum": settings["aggregators"], "min_contributions": asked - (0 if partial else stragglers)}
    plan = manifest_of({**_USUAL_PLAN, **counts, **given})
    if asks_of(plan.algorithm).share != 1:
        raise InputError(
            "plan: expected participation.share in place of sampled, whose draw follows from the block that opens a "
            "round and not from the seed"
        )
    if stragglers and partial and local_epochs(plan) < 2:
        raise InputError("participation: stragglers: expected a plan of 2 or more epochs, got 1")
    return plan


def _laid(table: Mapping[str, Any], entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an entry laid over a table, but for the parameters of another name."""
    if "name" in entry and entry["name"] != table.get("name", entry["name"]):
        table = {key: table[key] for key in ("attackers", "first_round") if key in table}
    inner = {key: entry[key] for key in _NESTED if isinstance(entry.get(key), Mapping) and "name" not in entry[key]}
    return {**table, **entry, **{key: _completed(table.get(key), over) for key, over in inner.items()}}


def _completed(whole: Any, over: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a procedure of a plan with some of its parameters laid over."""
    if not isinstance(whole, Mapping) or set(over) != {"parameters"} or not isinstance(over["parameters"], Mapping):
        return over
    return {**whole, "parameters": {**whole.get("parameters", {}), **over["parameters"]}}


def _attack(given: Mapping[str, Any], participants: int) -> tuple[Attack | None, int, int]:
    if given.get("name", "none") == "none":
        return None, 0, 1
    attackers, first = given.get("attackers", 1), given.get("first_round", 1)
    if type(attackers) is not int or not 1 <= attackers < participants:
        raise InputError(f"attack: attackers: expected 1..{participants - 1}, got {attackers!r}")
    if type(first) is not int or first < 1:
        raise InputError(f"attack: first_round: expected a whole number of 1 or more, got {first!r}")
    parameters = {key: value for key, value in given.items() if key not in ("name", "attackers", "first_round")}
    return attack_of(given["name"], parameters), attackers, first


def _told(entry: Mapping[str, Any]) -> str:
    """Return a short text for an entry: its values, with names where they are not names themselves."""
    return ", ".join(_texts(entry)) or "as given"


def _texts(entry: Mapping[str, Any]) -> list[str]:
    parts: list[str] = []
    for key, value in entry.items():
        if isinstance(value, Mapping):
            parts += _texts(dict(sorted(value.items(), key=lambda item: item[0] != "name")))
        else:
            parts.append(value if isinstance(value, str) else f"{key} {value}")
    return parts


def problem_of(given: Mapping[str, Any]) -> Problem:
    """Return the problem that settings name.

    Raises:
        InputError: There is none of this name, a parameter is unknown, or the function returns something else.
    """
    if "function" in given:
        if len(given) > 1:
            raise InputError(f"problem: expected function alone, got {dict(given)}")
        found = load_problem(str(given["function"]))
        if not isinstance(found, Problem):
            raise InputError(
                f"problem: expected {given['function']} to return a trainer.experiments.problems.Problem, "
                f"got {type(found).__name__}"
            )
        return found
    name = str(given.get("name"))
    if name not in PROBLEMS:
        raise InputError(f"problem: expected function, or name as one of {', '.join(PROBLEMS)}, got {dict(given)}")
    try:
        return PROBLEMS[name](**{key: value for key, value in given.items() if key != "name"})
    except TypeError as error:
        raise InputError(f"problem: {name}: {error}") from error
