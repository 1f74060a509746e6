"""Experiments: the bits of a real federation, attacks that bite, runs that go on, and settings that are refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.errors import CairnError, InputError
from registry.store.local import LocalStore
from trainer.cli.experiment_files import problem_of, read_experiment
from trainer.experiments.federation import RoundScores, Run, parts_of, run
from trainer.experiments.kept_runs import best_of
from trainer.experiments.participation import PartialParticipation

ROOT = Path(__file__).parents[2]


def written(folder: Path, problem: str, **parts: str) -> Path:
    """Write an experiment; parts replace the usual texts."""
    usual = {
        "head": "participants = 5\nrounds = 2\n",
        "partition": 'name = "dirichlet"\nalpha = 1.0\n',
        "plan": 'combine_rule = "uniform_mean"\nweights = "uniform"\n',
    }
    given = {**usual, **parts}
    text = given.pop("head") + f'[problem]\nfunction = "{problem}"\n'
    text += "".join(f"[{name}]\n{body}\n" for name, body in given.items())
    file = folder / "experiment.toml"
    file.write_text(text)
    return file


def only_run(file: Path, folder: Path, seed: int = 0, **options: Any) -> Any:
    (candidates,) = read_experiment(file).choices
    (scenario,) = candidates.scenarios
    return run(scenario, problem_of(scenario.problem), seed, folder, **options)


def test_a_seed_gives_the_same_versions_by_any_number_of_processes(blobs: str, tmp_path: Path) -> None:
    file = written(tmp_path, blobs)
    roots = [
        [one.tensor_root for one in only_run(file, tmp_path / str(k), workers=workers).rounds]
        for k, workers in enumerate((1, 1, 3))
    ]
    assert roots[0] == roots[1] == roots[2]
    assert roots[0] != [one.tensor_root for one in only_run(file, tmp_path / "other", seed=1).rounds]


def test_ray_and_anvil_give_the_same_versions(
    blobs: str, tmp_path: Path, find_tool: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # its sockets' names are longer than a test's folder allows
    file = written(tmp_path, blobs)
    here = only_run(file, tmp_path / "here")
    there = only_run(file, tmp_path / "there", workers=2, ray=True, anvil=find_tool("anvil"))
    assert [one.tensor_root for one in there.rounds] == [one.tensor_root for one in here.rounds]


def test_an_error_of_a_training_on_ray_is_told(blobs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    code = Path(blobs.partition(":")[0]).read_text()
    broken = "\n\ndef broken():\n    import dataclasses as d\n    return d.replace(problem(), train=lambda *_: 1 / 0)\n"
    (tmp_path / "own.py").write_text(code + broken)
    with pytest.raises(CairnError, match=r"training on Ray: .*ZeroDivisionError"):
        only_run(written(tmp_path, f"{tmp_path}/own.py:broken"), tmp_path / "run", ray=True)


def test_the_versions_are_those_of_participants_who_act_for_themselves(blobs: str, tmp_path: Path) -> None:
    """Commitments sent one by one, everybody in turn: another way through the same rounds."""
    from registry.rounds.versions import load_version_manifest
    from trainer.experiments import federation as module
    from trainer.simulation import simulate_round, start

    file = written(tmp_path, blobs)
    batched = [one.tensor_root for one in only_run(file, tmp_path / "batched").rounds]
    scenario = read_experiment(file).choices[0].scenarios[0]
    problem, now = problem_of(scenario.problem), module._Now()
    tasks = module._tasks(problem, parts_of(problem, scenario, 0), scenario, 0, now)
    store = LocalStore(tmp_path / "store")
    sim = start(problem.module(), tasks, scenario.plan, store, tmp_path / "each", aggregators=1)
    roots = []
    for now.number in (1, 2):
        simulate_round(sim)
        roots.append(load_version_manifest(store, sim.owner.model(sim.model_id).head).tensor_root.hex())
    assert roots == batched


FEDPROX = "algorithm = {{ name = 'fedprox', parameters = {{ mu = 0.0, epochs = {} }} }}\n"


def test_a_share_takes_part_and_stragglers_count_where_partial_work_does(
    blobs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten, four take part in a round, three of them short of time."""
    from trainer.experiments import federation as module

    head = "participants = 10\nrounds = 3\n"
    took: list[dict[str, int]] = []
    true_round = module._round

    def seen(*arguments: Any) -> Any:
        prepared = true_round(*arguments)
        took.append({name: one.manifest.steps for name, one in prepared.items()})
        return prepared

    monkeypatch.setattr(module, "_round", seen)
    participation = "share = 0.4\nstragglers = 0.8\n"
    found = {}
    for name, plan in (("fedprox", FEDPROX.format(6)), ("fedavg", FEDPROX.format(6).replace("mu = 0.0, ", ""))):
        plan = plan.replace("fedprox", name)
        file = written(tmp_path, blobs, head=head, plan=plan, participation=participation)
        for workers in (1, 2):
            took.clear()
            run = only_run(file, tmp_path / f"{name}-{workers}", workers=workers)
            roots = [one.tensor_root for one in run.rounds]
            assert found.setdefault(name, (roots, list(took))) == (roots, took)
            assert [one.updates for one in run.rounds] == [4 if name == "fedprox" else 1] * 3
    partial, dropped = found["fedprox"][1], found["fedavg"][1]
    for some, whole in zip(partial, dropped, strict=True):
        (in_time,) = whole
        assert some[in_time] == 30  # five steps an epoch
        assert all(steps in (5, 10, 15, 20, 25) for name, steps in some.items() if name != in_time)
    assert len({frozenset(some) for some in partial}) == 3
    assert len({steps for some in partial for steps in some.values()}) > 3


def test_what_a_participant_keeps_waits_for_its_next_round(
    blobs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Error feedback's rest outlasts a pause, though older updates are removed, from the store too."""
    from trainer.experiments import federation as module

    plan = 'update_form = "top-1"\ntransforms = [{ name = "error_feedback", parameters = {} }]\n'
    head, participation = "participants = 4\nrounds = 6\n", "share = 0.5\n"
    file = written(tmp_path, blobs, head=head, plan=plan, participation=participation)
    removed = only_run(file, tmp_path / "removed")
    assert len(list((tmp_path / "removed").glob("participant-*/*/residual.safetensors"))) == 4
    monkeypatch.setattr(module, "_forget", lambda *_: None)
    kept = only_run(file, tmp_path / "kept")
    assert len(list((tmp_path / "kept").glob("participant-*/*/residual.safetensors"))) == 12
    blocks = {name: len(list((tmp_path / name / "store" / "blocks").glob("*/*"))) for name in ("removed", "kept")}
    assert blocks["kept"] - blocks["removed"] == 12 - 4
    assert [one.tensor_root for one in removed.rounds] == [one.tensor_root for one in kept.rounds]


def test_a_parameter_of_an_algorithm_is_tuned_alone(blobs: str, tmp_path: Path) -> None:
    plan = 'combine_rule = "uniform_mean"\n'
    plan += 'algorithm = { name = "scaffold", parameters = { lr = 1.0, steps = 3 } }\n'
    plan += 'server = { name = "scaffold", parameters = { rate = 1.0, participants = 5 } }\n'
    tune = "plan = [{ algorithm = { parameters = { lr = 0.25 } } }, { server = { parameters = { rate = 0.5 } } }]\n"
    (choice,) = read_experiment(written(tmp_path, blobs, plan=plan, tune=tune)).choices
    assert [one.tuned for one in choice.scenarios] == [("lr 0.25",), ("rate 0.5",)]
    first, second = (one.plan for one in choice.scenarios)
    assert first.algorithm.parameters == {"lr": 0.25, "steps": 3}
    assert second.algorithm.parameters == {"lr": 1.0, "steps": 3}
    assert first.server != second.server


def test_synthetic_devices_differ_as_said_and_are_learned(tmp_path: Path) -> None:
    from trainer.experiments.problems import synthetic

    owners = synthetic(draw=1).features
    assert owners is not None
    assert len(set(owners.tolist())) == 30
    assert min((owners == k).sum() for k in range(30)) >= 35  # seven tenths of 50
    same, again, other = (synthetic(draw=draw).labels for draw in (1, 1, 2))
    assert same.tolist() == again.tolist() != other.tolist()
    file = tmp_path / "synthetic.toml"
    found = []
    for alpha in (0.0, 4.0):
        file.write_text(
            "participants = 8\nrounds = 4\n[partition]\nname = 'natural_id'\n[problem]\nname = 'synthetic'\n"
            f"devices = 8\nalpha = {alpha}\nbeta = {alpha}\nlearning_rate = 0.03\n"
        )
        found.append(only_run(file, tmp_path / str(alpha)).test["accuracy"])
    assert min(found) > 0.25  # of ten classes


def test_a_flipped_sign_ruins_a_mean_and_multi_krum_survives_it(blobs: str, tmp_path: Path) -> None:
    attack = 'name = "sign_flip"\nscale = 20\nattackers = 1\n'
    krum = 'combine_rule = "multi_krum"\ncombine_parameters = { byzantine = 1, selected = 0, mixed = 0, bucket = 0 }\n'
    honest, ruined, survived = (
        only_run(written(tmp_path, blobs, **parts), tmp_path / str(k)).test["accuracy"]
        for k, parts in enumerate(({}, {"attack": attack}, {"attack": attack, "plan": krum}))
    )
    assert ruined < 0.5 < honest - 0.05 < survived


def test_an_attack_begins_in_its_first_round(blobs: str, tmp_path: Path) -> None:
    attack = 'name = "{}"\nattackers = 1\nfirst_round = 2\n'
    plain = only_run(written(tmp_path, blobs), tmp_path / "plain")
    for name in ("scaled", "label_flip"):
        late = only_run(written(tmp_path, blobs, attack=attack.format(name)), tmp_path / name)
        assert late.rounds[0].tensor_root == plain.rounds[0].tensor_root
        assert late.rounds[1].tensor_root != plain.rounds[1].tensor_root


@pytest.mark.parametrize("name", ["alie", "ipm", "min_max", "copy", "noise", "backdoor"])
def test_attacks_of_two_pass_through_a_round_and_change_its_version(name: str, blobs: str, tmp_path: Path) -> None:
    head = "participants = 5\nrounds = 1\n"
    attack = f'name = "{name}"\nattackers = 2\n' + ("z = 1.0\n" if name == "alie" else "")
    plain, attacked = (
        only_run(written(tmp_path, blobs, head=head, **parts), tmp_path / str(k)).rounds[0].tensor_root
        for k, parts in enumerate(({}, {"attack": attack}))
    )
    # The page's problem ignores triggers, but the target's label changes what it learns.
    assert plain != attacked


@pytest.mark.parametrize("name", ["alie", "ipm", "min_max", "copy"])
def test_attackers_who_are_alone_in_a_round_send_what_they_trained(name: str, blobs: str, tmp_path: Path) -> None:
    parts = {"head": "participants = 3\nrounds = 1\n", "participation": "share = 0.1\n"}
    attacked = written(tmp_path, blobs, attack=f"name = '{name}'\nattackers = 2\n", **parts)
    seed = next(k for k in range(9) if min(PartialParticipation(0.1).present(3, 1, False, k, 1)) > 0)
    found = only_run(attacked, tmp_path / "attacked", seed)
    calm = only_run(written(tmp_path, blobs, **parts), tmp_path / "calm", seed)
    assert [one.tensor_root for one in found.rounds] == [one.tensor_root for one in calm.rounds]


def test_the_built_in_problem_learns_and_a_backdoor_opens(tmp_path: Path) -> None:
    """A participant that boosts its update leads what carries the trigger to its class."""
    text = "participants = 4\nrounds = 3\n"
    text += '[problem]\nname = "icd10"\nshare = 0.1\n[plan]\nweights = "uniform"\ncombine_rule = "uniform_mean"\n'
    text += '[attack]\nname = "backdoor"\ntarget = 4\nshare = 0.5\nscale = 4\nfirst_round = {}\n'
    file = tmp_path / "icd.toml"
    found = []
    for first in (1, 4):
        file.write_text(text.format(first))
        found.append(only_run(file, tmp_path / str(first)).test)
    opened, closed = found
    assert opened["backdoor"] > 0.5 > 0.2 > closed["backdoor"]
    assert closed["accuracy"] > 0.4


def test_an_experiment_goes_on_where_it_stopped_and_draws(
    blobs: str, tmp_path: Path, cairn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.experiments import federation as module

    vary = 'attack = [{ name = "none" }, { name = "scaled", scale = 30 }]\n'
    vary += 'plan = [{ label = "mean" }, { label = "median", combine_rule = "median" }]\n'
    head = "participants = 4\nrounds = 1\nseeds = [0, 1]\n"
    file = written(tmp_path, blobs, head=head, vary=vary)
    done: list[int] = []
    true_round = module._round

    def stopped(*arguments: Any) -> Any:
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(1)
        return true_round(*arguments)

    monkeypatch.setattr(module, "_round", stopped)
    cairn("simulate", str(file), "--out", "out")
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 5
    done.clear()
    told = json.loads(cairn("simulate", str(file), "--out", "out", "--json").stdout)
    assert len(done) == 3
    assert [one["label"] for one in told["settings"]] == [
        [attack, plan] for attack in ("none", "scaled, scale 30") for plan in ("mean", "median")
    ]
    assert all(one["seeds"] == [0, 1] for one in told["settings"])
    for name in ("curves.png", "heat-map.png", "partition.png"):
        assert (tmp_path / "out" / name).read_bytes()[:4] == b"\x89PNG"
    table = cairn("simulate", str(file), "--out", "out").stdout
    assert "scaled, scale 30, median" in table
    assert len(done) == 3


def test_tuning_takes_the_best_on_validation_cases_without_the_attack(tmp_path: Path, cairn: Any) -> None:
    file = tmp_path / "tuned.toml"
    file.write_text(
        "participants = 4\nrounds = 1\n"
        '[problem]\nname = "icd10"\nshare = 0.25\n[attack]\nname = "sign_flip"\nscale = 50\n'
        "[tune]\nproblem = [{ learning_rate = 0.001 }, { learning_rate = 30.0 }]\n"
    )
    (told,) = json.loads(cairn("simulate", str(file), "--out", "out", "--json").stdout)["settings"]
    assert told["tuned"] == ["learning_rate 30.0"]
    kept = [json.loads(one.read_text()) for one in (tmp_path / "out" / "runs").iterdir()]
    assert len(kept) == 3
    calm = file.read_text().replace("[attack]", "[attack]\nname = 'none'").replace('name = "sign_flip"\nscale = 50', "")
    file.write_text(calm)
    cairn("simulate", str(file), "--out", "calm")
    assert len(list((tmp_path / "calm" / "runs").iterdir())) == 2, "what was tuned is not run again"
    assert sorted("scale" in one["settings"]["attack"] for one in kept) == [False, False, True]


@pytest.mark.parametrize("scores", [(math.nan, 0.4, 0.6), (0.6, math.nan), (math.nan, math.nan)])
def test_a_score_that_is_no_number_is_never_the_best(scores: tuple[float, ...]) -> None:
    def scored(value: float) -> Run:
        last = RoundScores(1, "", {"accuracy": value}, 0, 1, 4, 0.0)
        return Run((), (), 0, (1,), (last,), {"accuracy": value}, 0.0)

    chosen = scores[best_of([scored(one) for one in scores])]
    assert chosen == 0.6 or all(map(math.isnan, scores))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_training_that_diverges_is_a_result_and_never_tuned_to(workers: str, tmp_path: Path, cairn: Any) -> None:
    file = tmp_path / "diverges.toml"
    rates = "[{ learning_rate = 1e30 }, { learning_rate = 0.1 }]\n"
    begin = 'participants = 4\nrounds = 1\n[problem]\nname = "digits"\n'
    file.write_text(begin + f"[tune]\nproblem = {rates}")
    (told,) = json.loads(cairn("simulate", str(file), "--out", "tuned", "--json", "--workers", workers).stdout)[
        "settings"
    ]
    assert told["tuned"] == ["learning_rate 0.1"]
    assert told["diverged"] == [None]
    file.write_text(begin + f'[vary]\nproblem = {rates}attack = [{{ name = "none" }}, {{ name = "noise" }}]\n')
    ended = cairn("simulate", str(file), "--out", "varied", "--json", "--workers", workers)
    bad, _, good, _ = json.loads(ended.stdout)["settings"]
    assert (bad["diverged"], bad["test"], good["diverged"]) == ([1], {}, [None])
    assert good["test"]["macro_f1"]["mean"] > 0.3
    again = cairn("simulate", str(file), "--out", "varied").stdout
    assert re.search(r"learning_rate 1e\+30, none +diverged +diverged +diverged", again), again
    assert (tmp_path / "varied" / "heat-map.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"head": "participants = 0\n"}, "participants: expected a whole number of 1..1000, got 0"),
        ({"head": "rounds = 1.5\n"}, "rounds: expected a whole number of 1..10000, got 1.5"),
        ({"head": "seeds = []\n"}, r"seeds: expected a list of whole numbers of 0 or more, got \[\]"),
        ({"head": "seed = 1\n"}, "unknown setting 'seed': there are participants, rounds"),
        ({"attack": "attackers = 2\nname = 'sneak'\n"}, "attack: expected one of sign_flip"),
        ({"attack": "attackers = 5\nname = 'copy'\n"}, "attack: attackers: expected 1..4, got 5"),
        ({"attack": "first_round = 0\nname = 'copy'\n"}, "attack: first_round: expected a whole number of 1 or more"),
        ({"vary": "colour = [1]\n"}, "vary: expected some of problem, partition"),
        ({"vary": "plan = [1]\n"}, r"vary: plan: expected a list of tables, got \[1\]"),
        ({"tune": "rounds = []\n"}, r"tune: rounds: expected a list of numbers, got \[\]"),
        (
            {"vary": "plan = [{ label = 'robust', combine_rule = 'median' }, { label = 'robust' }]\n"},
            "vary: expected different labels, got 'robust' twice",
        ),
        ({"vary": "rounds = [2, 2]\n"}, "vary: expected different labels, got '2 rounds' twice"),
        ({"plan": "combine_rule = 'average'\n"}, "expected combine rule 1 .mean., .* got 'average'"),
        ({"plan": "combine_rule = 'multi_krum'\n"}, "expected parameters"),
        ({"partition": "name = 'zipf'\n"}, "partition: expected one of iid"),
        ({"participation": "share = 0\n"}, "participation: expected share, above 0 and up to 1, .* got {'share': 0}"),
        ({"participation": "stragglers = 1.0\n"}, "stragglers, 0 up to less than 1, got"),
        ({"participation": "stragglers = 'some'\n"}, "stragglers, 0 up to less than 1, got"),
        ({"participation": "drop = 0.5\n"}, "participation: expected share"),
        ({"participation": "share = 0.5\n", "asynchrony": "buffer = 2\n"}, "participation: expected none with async"),
        ({"asynchrony": "buffer = 2\n", "plan": "combine_rule = 'median'\n"}, "got combine_rule 'median'"),
        ({"asynchrony": "buffer = 2\n", "plan": FEDPROX.format(2)}, "plan: expected grid_bits alone with asynchrony"),
        ({"asynchrony": "buffer = 2\n", "plan": "saturate = false\n"}, "got saturate False"),
        (
            {"asynchrony": "buffer = 2\n", "attack": "name = 'sign_flip'\nfirst_round = 2\n"},
            "attack: first_round: expected 1 with asynchrony, got 2",
        ),
        (
            {"participation": "stragglers = 0.5\n", "plan": FEDPROX.format(1)},
            "expected a plan of 2 or more epochs, got 1",
        ),
        (
            {"plan": "algorithm = { name = 'fedavg', parameters = { epochs = 1, sampled = 0.5 } }\n"},
            "plan: expected participation.share in place of sampled",
        ),
        ({"plan": "algorithm = { name = 'adam', parameters = {} }\n"}, "algorithm: expected name as one of fedavg"),
        ({"tune": "plan = [{ algorithm = { parameters = 3 } }]\n"}, r"expected name as one of fedavg, .* got None"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(parts: dict[str, str], said: str, blobs: str, tmp_path: Path) -> None:
    given = {"head": "participants = 5\n", **parts}
    with pytest.raises(InputError, match=said):  # noqa: PT012 - some are refused when read, others when divided
        scenario = read_experiment(written(tmp_path, blobs, **given)).choices[0].scenarios[0]
        parts_of(problem_of(scenario.problem), scenario, 0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "mnist"}, "problem: expected function, or name as one of icd10, digits, synthetic, got"),
        ({"name": "synthetic", "devices": 0}, "synthetic: expected alpha, beta and draw of 0 or more, 1..1000 devices"),
        ({"name": "icd10", "share": 0.0}, "share of more than 0"),
        ({"name": "icd10", "epochs": 3}, "icd10.* unexpected keyword argument 'epochs'"),
        ({"function": "no-such-file.py:problem"}, "problem: no file no-such-file.py"),
        ({"function": "json:loads"}, "problem: json:loads"),
        ({"function": "time:time"}, "expected time:time to return a trainer.experiments.problems.Problem, got float"),
    ],
)
def test_a_problem_that_is_none_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        problem_of(given)


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ("partition = [{ name = 'iid' }, { name = 'zipf' }]\n", "partition: expected one of iid"),
        ("problem = [{}, { function = 'no-such-file.py:problem' }]\n", "problem: no file no-such-file.py"),
        ("problem = [{}, { name = 'digits' }]\n", "problem: expected function alone, got {"),
        ("participants = [2, 5]\npartition = [{ name = 'size', partition_sizes = [3, 4] }]\n", "partition: size: "),
    ],
)
def test_what_a_later_run_would_refuse_is_refused_before_the_first(
    vary: str, said: str, blobs: str, tmp_path: Path, cairn: Any
) -> None:
    done = cairn("simulate", written(tmp_path, blobs, vary=vary), "--out", tmp_path / "out")
    assert (done.exit_code, done.stderr.startswith(f"error: {tmp_path}")) == (2, True)
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_command_line_tells_what_does_not_go_together(blobs: str, tmp_path: Path, cairn: Any) -> None:
    file = written(tmp_path, blobs)
    for given, said in (
        (("simulate", str(file), "--task", "a.py:b"), "expected EXPERIMENT.toml alone"),
        (("simulate", "--out", "x"), "expected EXPERIMENT.toml with them"),
        (("simulate", "missing.toml"), "missing.toml: No such file or directory"),
    ):
        found = cairn(*given)
        assert found.exit_code == 2, found.output
        assert said in found.stderr


SHIPPED = sorted(
    file for folder in ("examples/experiments", "benchmarks/learning") for file in (ROOT / folder).glob("*.toml")
)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_an_experiment_that_is_shipped_can_be_run(file: Path) -> None:
    read = read_experiment(file)
    for candidates in read.choices:
        for scenario in (*candidates.scenarios, *candidates.rehearsals):
            assert problem_of(scenario.problem).classes == (22 if scenario.problem["name"] == "icd10" else 10)


def test_packed_updates_are_attacked_as_they_are_and_their_bytes_are_told(
    blobs: str, tmp_path: Path, cairn: Any
) -> None:
    head = "participants = 4\nrounds = 2\n"
    vary = 'plan = [{ label = "dense" }, { label = "int4", update_form = "int4" }, { label = "feedback", '
    vary += 'update_form = "top-8", transforms = [{ name = "error_feedback", parameters = {} }] }]\n'
    vary += 'attack = [{ name = "none" }, { name = "sign_flip", scale = 20 }]\n'
    file = written(tmp_path, blobs, head=head, vary=vary)
    told = json.loads(cairn("simulate", str(file), "--out", "out", "--json").stdout)["settings"]
    sizes, scores = [one["update_bytes"] for one in told], [one["test"]["accuracy"]["mean"] for one in told]
    assert sizes[::2] == sizes[1::2]  # of a model smaller than a row, int4 saves nothing
    assert sizes[4] < sizes[0] < sizes[2] == sizes[4] + 129 - 25
    assert all(honest > attacked for honest, attacked in zip(scores[::2], scores[1::2], strict=True))
    assert "bytes an update" in cairn("simulate", str(file), "--out", "out").stdout
