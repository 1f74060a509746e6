"""Participants' own models in experiments: whose they are, what they are scored on, and settings that are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from registry.errors import InputError
from tests.experiments.test_experiments import only_run, written
from trainer.cli.experiment_files import read_experiment
from trainer.experiments.own_models import judge_of, mixes_of, own_models_of
from trainer.experiments.problems import Problem, digits

KINDS = {
    "alone": "name = 'alone'\n",
    "global": "name = 'global'\n",
    "fine_tuned": "name = 'fine_tuned'\nepochs = 2\n",
    "private": "name = 'private'\ntensors = ['4.*']\n",
    "ditto": "name = 'ditto'\nditto_lambda = 0.5\n",
}


def experiment(folder: Path, personal: str = "", head: str = "participants = 3\nrounds = 2\n", more: str = "") -> Path:
    file = folder / "own.toml"
    table = f"[personal]\n{personal}" if personal else ""
    file.write_text(f'{head}[problem]\nname = "digits"\n[partition]\nname = "dirichlet"\nalpha = 0.3\n{table}{more}')
    return file


def test_own_models_are_the_same_by_any_number_of_processes_and_change_no_version(tmp_path: Path) -> None:
    plain = [one.tensor_root for one in only_run(experiment(tmp_path), tmp_path / "plain").rounds]
    found = {}
    for kind, personal in KINDS.items():
        file = experiment(tmp_path, personal)
        found[kind] = [only_run(file, tmp_path / f"{kind}-{workers}", workers=workers) for workers in (1, 2)]
        assert len({run.own for run in found[kind]}) == 1, kind
        roots = [one.tensor_root for one in found[kind][0].rounds]
        assert {"alone": roots == ["", ""], "private": len(set(roots) & set(plain)) == 0}.get(kind, roots == plain), (
            kind
        )
    one = {kind: some[0] for kind, some in found.items()}
    assert len({run.own for run in one.values()}) == len(KINDS)
    for kind, run in one.items():
        assert list(run.test)[:2] == ["own_accuracy", "worst_own_accuracy"] and len(run.own) == 3
        assert run.test["own_accuracy"] == pytest.approx(np.mean(run.own))
        assert run.test["worst_own_accuracy"] == min(run.own)
        assert ("macro_f1" in run.test) == (kind in ("global", "fine_tuned", "ditto"))
    assert one["fine_tuned"].test["own_accuracy"] > one["global"].test["own_accuracy"] + 0.05
    assert one["fine_tuned"].test["macro_f1"] == one["global"].test["macro_f1"]


def test_who_never_took_part_has_the_version_and_no_attacker_is_scored(tmp_path: Path) -> None:
    head = "participants = 4\nrounds = 1\n"
    more = "[participation]\nshare = 0.25\n[attack]\nname = 'label_flip'\nattackers = 1\n"
    kinds = {name: KINDS[name] for name in ("global", "ditto")}
    runs = {kind: only_run(experiment(tmp_path, one, head, more), tmp_path / kind) for kind, one in kinds.items()}
    assert [len(run.own) for run in runs.values()] == [3, 3]
    same = [one == other for one, other in zip(*(run.own for run in runs.values()), strict=True)]
    assert same.count(True) >= 2


# Scores ---------------------------------------------------------------------------------------------------------------


def problem_of_answers(labels: list[int], answers: list[list[int]]) -> Problem:
    """A problem whose module says which row of answers it gives."""

    def answer(module: nn.Module, split: str) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor(labels), torch.tensor(answers[int(module.get_buffer("row"))])

    def never(*_: Any) -> Any:
        raise AssertionError

    return Problem(never, np.array([0, 0, 0, 1, 2, 3]), never, never, answers=answer)


class Row(nn.Module):
    def __init__(self, row: int) -> None:
        super().__init__()
        self.register_buffer("row", torch.tensor(row))


def test_a_score_is_the_accuracy_with_the_participant_s_own_frequencies_of_classes() -> None:
    problem = problem_of_answers([0, 0, 0, 0, 1, 1, 2], [[0, 0, 0, 1, 1, 0, 2], [1, 1, 1, 1, 1, 1, 1]])
    parts = [np.array([0, 1, 2, 3]), np.array([3, 4]), np.array([0, 5])]  # classes 0 0 0 1, 1 2, 0 3
    models = [Row(0), Row(1), Row(0)]
    judged = judge_of(problem, mixes_of(problem, parts), lambda: models)("test")
    first = 0.75 * 3 / 4 + 0.25 * 1 / 2
    assert judged.own == pytest.approx((first, 0.5, 0.75))  # of class 3 nothing is held out
    assert judged.scores == pytest.approx({"own_accuracy": (first + 0.5 + 0.75) / 3, "worst_own_accuracy": 0.5})


def test_a_participant_of_classes_that_nobody_holds_out_and_a_problem_without_answers_are_refused(
    blobs: str, tmp_path: Path
) -> None:
    problem = problem_of_answers([0, 1], [[0, 1]])
    judge = judge_of(problem, mixes_of(problem, [np.array([5])]), lambda: [Row(0)])
    with pytest.raises(InputError, match="expected held-out cases of some class of each participant"):
        judge("validation")
    with pytest.raises(InputError, match="personal: expected a problem with answers"):
        only_run(written(tmp_path, blobs, personal=KINDS["alone"]), tmp_path / "run")


def test_digits_answers_are_what_its_scores_are_made_of() -> None:
    problem = digits()
    assert problem.answers is not None
    module = problem.module()
    labels, answers = problem.answers(module, "test")
    scores = problem.evaluate(module, "test", None)
    assert scores["accuracy"] == pytest.approx((labels == answers).double().mean().item())


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"tensors": ["4.*"]},
            "personal: expected name as one of global, alone, fine_tuned, private, ditto, got 'None'",
        ),
        ({"name": "fedper"}, "expected name as one of"),
        ({"name": "global", "epochs": 1}, "personal: global: expected no parameters, got epochs"),
        ({"name": "private", "epochs": 1}, "personal: private: expected tensors, got epochs"),
        ({"name": "private"}, r"personal: tensors: expected a list of patterns, such as \['head.\*'\], got \[\]"),
        ({"name": "private", "tensors": "4.*"}, r"expected a list of patterns, .* got '4\.\*'"),
        ({"name": "private", "tensors": [4]}, "expected a list of patterns"),
        ({"name": "fine_tuned", "epochs": 0}, "personal: epochs: expected a whole number of 1 or more, got 0"),
        ({"name": "fine_tuned", "epochs": True}, "personal: epochs: expected a whole number"),
        ({"name": "ditto", "ditto_lambda": -1.0}, "personal: ditto_lambda: expected a number of 0 or more, got -1.0"),
        ({"name": "ditto", "ditto_lambda": float("inf")}, "personal: ditto_lambda: expected a number"),
        ({"name": "ditto", "ditto_lambda": "1"}, "personal: ditto_lambda: expected a number"),
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        own_models_of(given)


def test_own_models_are_asked_in_all_settings_or_in_none_and_not_with_asynchrony(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="personal: expected own models in all settings or in none"):
        read_experiment(experiment(tmp_path, more="[vary]\npersonal = [{ name = 'global' }, {}]\n"))
    with pytest.raises(InputError, match="personal: expected none with asynchrony"):
        read_experiment(experiment(tmp_path, KINDS["global"], more="[asynchrony]\nbuffer = 2\n"))
    with pytest.raises(InputError, match=r"expected '9\.\*' to match a tensor of the module"):
        only_run(experiment(tmp_path, "name = 'private'\ntensors = ['9.*']\n"), tmp_path / "run")


def test_an_entry_of_together_is_laid_over_several_tables(tmp_path: Path) -> None:
    vary = "[vary]\ntogether = [{ label = 'a', personal = { name = 'global' }, problem = { learning_rate = 0.2 } }, "
    vary += "{ plan = { algorithm = { name = 'fedrep', parameters = { head_epochs = 2 } } }, "
    vary += "personal = { name = 'private', tensors = ['4.*'] } }]\n"
    (one, two) = (choice.scenarios[0] for choice in read_experiment(experiment(tmp_path, more=vary)).choices)
    assert one.label == ("a",) and one.problem == {"name": "digits", "learning_rate": 0.2}
    assert two.label == ("fedrep, head_epochs 2, private, tensors ['4.*']",) and two.problem == {"name": "digits"}
    assert (one.plan.algorithm.name, two.plan.algorithm.name) == ("fedavg", "fedrep")
    for entry in ("{ colour = {} }", "{ personal = 3 }"):
        with pytest.raises(InputError, match=r"vary: together: expected tables of problem, .*, got (colour|personal)"):
            read_experiment(experiment(tmp_path, more=f"[vary]\ntogether = [{entry}]\n"))


def test_the_command_shows_the_worst_participant_and_draws_all(tmp_path: Path, cairn: Any) -> None:
    vary = "[vary]\npersonal = [{ label = 'everybody alone', name = 'alone' }, { name = 'fine_tuned' }]\n"
    file = experiment(tmp_path, head="participants = 3\nrounds = 1\nseeds = [0, 1]\n", more=vary)
    told = json.loads(cairn("simulate", str(file), "--out", "out", "--json").stdout)
    assert told["metric"] == "own_accuracy"
    alone, tuned = told["settings"]
    assert alone["update_bytes"] == 0 < tuned["update_bytes"]
    assert alone["test"]["worst_own_accuracy"]["mean"] <= alone["test"]["own_accuracy"]["mean"]
    for name in ("own-models.png", "curves.png"):
        assert (tmp_path / "out" / name).read_bytes()[:4] == b"\x89PNG"
    table = cairn("simulate", str(file), "--out", "out").stdout
    assert "worst participant" in table and "everybody alone" in table
