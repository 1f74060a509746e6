"""The table of client algorithms: what a plan may say of them, and how many steps an update may declare."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from registry.errors import InputError
from registry.rules.algorithms import CLIENT_ALGORITHMS, require_fitting, require_parameters, step_bounds
from registry.rules.server_programs import RULES
from registry.types import MAX_STEPS


@dataclass(frozen=True)
class Named:
    name: str | None
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Planned:
    algorithm: Named
    server: Named
    weights: str = "examples"


SCAFFOLD = Named("scaffold", {"lr": 0.1, "steps": 5})


def test_every_other_half_is_a_server_rule() -> None:
    assert {known.server for known in CLIENT_ALGORITHMS.values()} - {None} <= RULES.keys()


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("fedavgm", {}, "expected an algorithm of fedavg, fedsgd, .*, got 'fedavgm'"),
        ("fedavg", {"epochs": 0}, r"fedavg: .* epochs 1 to 1048576 \(default 1\), sampled above 0 to 1 .*; got"),
        ("fedavg", {"epochs": True}, "fedavg: expected parameters epochs"),
        ("fedavg", {"epochs": 1.0}, "fedavg: expected parameters epochs"),
        ("fedavg", {"steps": 3}, "fedavg: expected parameters epochs"),
        ("scaffold", {"steps": 5}, r"scaffold: .* lr above 0 to 1e\+06, steps 1 to .*; got {'steps': 5}"),
        ("fedavg", {"sampled": 0}, "sampled above 0 to 1"),
        ("fedavg", {"sampled": 1.5}, "sampled above 0 to 1"),
        ("scaffold", {"lr": 0.1}, "scaffold: expected parameters lr .*, steps"),
        ("scaffold", {"lr": 0.0, "steps": 5}, "scaffold: expected parameters lr above 0"),
        ("scaffold", {"lr": 0.1, "steps": 5, "epochs": 1}, "scaffold: expected parameters lr"),
        ("fedsgd", {}, "fedsgd: expected parameters lr"),
        ("fedsgd", {"lr": 0.1, "decay": 1.5}, r"decay above 0 to 1 \(default 1\)"),
        ("fedsgd", {"lr": 0.1, "decay": 0}, "fedsgd: expected parameters"),
        ("feddyn", {"alpha": 0}, "feddyn: expected parameters alpha above 0"),
        ("feddyn", {"alpha": "0.1"}, "feddyn: expected parameters alpha above 0"),
        ("fednova", {"steps": 0}, r"fednova: expected parameters epochs .*, steps 1 to .* \(optional\)"),
        ("fednova", {"steps": MAX_STEPS + 1}, "fednova: expected parameters"),
        ("fedrep", {"head_epochs": 0}, r"fedrep: .* head_epochs 1 to 1048576 \(default 10\), epochs 1 to"),
        ("fedrep", {"head_epochs": 2.5}, "fedrep: expected parameters head_epochs"),
        ("fedrep", {"steps": 4}, "fedrep: expected parameters head_epochs"),
        ("fedprox", {}, "fedprox: expected parameters mu 0"),
        ("fedprox", {"mu": -0.1}, "fedprox: expected parameters mu 0"),
        ("fedprox", {"mu": float("nan")}, "fedprox: expected parameters mu 0"),
        ("fedprox", {"mu": float("inf")}, "fedprox: expected parameters mu 0"),
    ],
)  # fmt: skip
def test_parameters_that_an_algorithm_does_not_have_are_refused(name: str, parameters: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        require_parameters(name, parameters)


def test_what_is_left_out_has_its_usual_value() -> None:
    none = {"least_score": None, "max_rounds": None, "patience": None}
    assert require_parameters("fedavg", {}) == {"epochs": 1, "sampled": 1.0} | none
    assert require_parameters("fedprox", {"mu": 0}) == {"mu": 0, "epochs": 1, "steps": None, "sampled": 1.0} | none
    assert require_parameters("fedsgd", {"lr": 2}) == {"lr": 2, "decay": 1.0, "steps": None, "sampled": 1.0} | none
    assert require_parameters("fedrep", {}) == {"head_epochs": 10, "epochs": 1, "sampled": 1.0} | none
    assert (
        require_parameters("feddyn", {"epochs": 3, "sampled": 0.1})
        == {"alpha": 0.01, "epochs": 3, "sampled": 0.1} | none
    )


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Planned(SCAFFOLD, Named("scaffold")), "scaffold: expected weights uniform, .*uniform_mean.*, got examples"),
        (Planned(SCAFFOLD, Named("fedavg"), "uniform"), "scaffold: expected the server rule scaffold, .* got fedavg"),
        (Planned(SCAFFOLD, Named(None), "uniform"), "scaffold: expected the server rule scaffold, .* got a program"),
        (Planned(Named("feddyn"), Named("feddyn")), "feddyn: expected weights uniform"),
        (Planned(Named("feddyn"), Named("fedavg"), "uniform"), "feddyn: expected the server rule feddyn"),
        (Planned(Named("fednova"), Named("fedavg")), "fednova: expected the server rule fednova"),
        (Planned(Named("fedavg"), Named("fednova")), "server rule fednova: expected the algorithm fednova, .* fedavg"),
        (Planned(Named("fednova"), Named("scaffold"), "uniform"), "fednova: expected the server rule fednova"),
        (Planned(Named("fedavg", {"lr": 1}), Named("fedavg")), "fedavg: expected parameters"),
    ],
)  # fmt: skip
def test_halves_that_do_not_fit_are_refused(plan: Planned, said: str) -> None:
    with pytest.raises(InputError, match=said):
        require_fitting(plan)


def test_halves_that_fit_are_taken() -> None:
    require_fitting(Planned(SCAFFOLD, Named("scaffold"), "uniform"))
    require_fitting(Planned(Named("fednova"), Named("fednova")))
    require_fitting(Planned(Named("fednova"), Named("fednova"), "uniform"))
    require_fitting(Planned(Named("feddyn"), Named("feddyn"), "uniform"))
    require_fitting(Planned(Named("fedprox", {"mu": 0.1}), Named("fedadam")))
    require_fitting(Planned(Named("fedavg"), Named(None)))


@pytest.mark.parametrize(
    ("algorithm", "bounds"),
    [
        (Named("fedavg"), (1, MAX_STEPS)),
        (SCAFFOLD, (5, 5)),
        (Named("fedprox", {"mu": 1.0}), (1, MAX_STEPS)),
        (Named("fedprox", {"mu": 1.0, "steps": 7}), (1, 7)),
        (Named("fednova", {"steps": 7}), (1, 7)),
        (Named("fedsgd", {"lr": 0.1}), (1, 1)),
        (Named("fedsgd", {"lr": 0.1, "steps": 7}), (1, 7)),
        (Named("of a later release", {"steps": 7}), (1, MAX_STEPS)),
        (Named("scaffold", {"steps": "five"}), (1, MAX_STEPS)),
    ],
)
def test_how_many_steps_an_update_may_declare(algorithm: Named, bounds: tuple[int, int]) -> None:
    assert step_bounds(algorithm) == bounds
