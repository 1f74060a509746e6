"""`cairn plan new`: plans round-trip through TOML."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.chain.contract_structs import Plan
from registry.cli.plan_files import duration, manifest_of, plan_toml, read_plan, show_duration, terms_of
from registry.content.manifest import Procedure, ServerRule, plan_terms
from registry.errors import InputError
from registry.facts.plan_facts import program_text


def test_a_plan_file_reads_back_as_the_same_plan(done: Any, tmp_path: Path) -> None:
    made = done("plan", "new", "--quorum", 2, "--grid", 20, "--clip", 1.5, "--commit-duration", "1h30m", "-o", "p.toml")
    again = done("plan", "new", "--from", "p.toml")
    assert made["digest"] == again["digest"]
    assert (made["plan"]["commit_duration"], made["plan"]["grid_bits"], made["plan"]["quorum"]) == (5400, 20, 2)
    assert made["plan"]["transforms"] == [{"name": "clip", "parameters": {"norm": 1.5}}]


def test_a_late_period_takes_its_time_from_the_answers(done: Any) -> None:
    terms = ("--term", "demand_price_gwei=7", "--term", "late_duration=60s")
    flags = ("--bond", 10**9, *terms, "--challenge-duration", "1h", "-o", "p.toml")
    made = done("plan", "new", *flags)["plan"]
    assert (made["bond_gwei"], made["demand_price_gwei"]) == (10**9, 7)
    assert (made["late_duration"], made["answer_duration"]) == (60, 52), "together a 32nd of the challenge duration"
    assert done("plan", "new", "--from", "p.toml")["plan"] == made


def test_every_term_of_the_contract_s_plan_can_be_said() -> None:
    """What stands in one of them stands in the others, in one order."""
    names = [name for name in Plan.__dataclass_fields__ if name not in ("digest", "rules_hash")]
    assert list(plan_terms()) == names
    hook = "0x" + "0b" * 20
    said = {name: "2m" if name.endswith("_duration") else "7" for name in names} | {"hooks": f"{hook},{hook}"}
    found = terms_of([f"{name}={value}" for name, value in said.items()])
    assert found == said | {name: 7 for name in names if said[name] == "7"} | {"hooks": [hook, hook]}


@pytest.mark.parametrize("text", ["colour=7", "quorum", "quorum=", "quorum=2.5", "quorum=-1", "bond_gwei=2m", "=7"])
def test_a_term_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--term: expected NAME=VALUE, NAME one of quorum|expected a whole number"):
        terms_of([text])


def test_every_field_survives_the_file(tmp_path: Path) -> None:
    plan = manifest_of(
        {
            "server": {"name": "fedadam", "parameters": {"rate": 0.01, "beta1": 0.9, "beta2": 0.99, "tau": 0.001}},
            "scales": {"bn.running_var": 7, 'ünüsual "name"': -3},
            "buffers": {"bn.running_var": 2},
            "saturate": True,
            "hooks": ["0x" + "11" * 20, "0x" + "12" * 20],
            "transforms": [{"name": "clip", "parameters": {"norm": 2.0}}],
        }
    )
    (tmp_path / "p.toml").write_text(plan_toml(plan))
    assert read_plan(tmp_path / "p.toml") == plan


def test_rules_are_chosen_by_name_and_bring_their_weights(done: Any) -> None:
    made = done("plan", "new", "--combine", "median", "--server-rate", 0.5, "-o", "p.toml")["plan"]
    assert (made["combine_rule"], made["weights"], made["update_form"]) == (2, "uniform", 1)
    assert (made["server"]["name"], made["server"]["parameters"]) == ("fedavg", {"rate": 0.5})
    assert done("plan", "new", "--from", "p.toml")["plan"] == made
    again = done("plan", "new", "--from", "p.toml", "--combine", 4, "--weights", "uniform", "--server-rate", 1)["plan"]
    assert (again["combine_rule"], again["weights"], again["server"]["parameters"]) == (4, "uniform", {"rate": 1.0})


@pytest.mark.parametrize(
    ("name", "bits", "kept"), [("int8", 8, 0), ("int4", 4, 0), ("top-8", 16, 8), ("top-32-int8", 8, 32)]
)
def test_a_form_is_chosen_by_name_and_written_by_name(
    done: Any, tmp_path: Path, name: str, bits: int, kept: int
) -> None:
    made = done("plan", "new", "--form", name, "-o", "p.toml")["plan"]
    assert (made["update_form"], made["form_parameters"]) == (2, {"bits": bits, "kept": kept})
    written = (tmp_path / "p.toml").read_text()
    assert f'update_form = "{name}"' in written and "form_parameters" not in written
    assert done("plan", "new", "--from", "p.toml")["plan"] == made
    assert done("plan", "new", "--from", "p.toml", "--form", "dense")["plan"]["form_parameters"] == {}


COORDINATE_WISE = {
    "median": [],
    "trimmed_mean": ["trimmed=16384"],
    "bulyan": ["byzantine=1"],
    "mean": None,
    "geometric_median": None,
}
"""Combine rules with their parameters; None for those that are none of each coordinate by itself."""


@pytest.mark.parametrize("rule", COORDINATE_WISE)
def test_a_coordinate_wise_rule_is_warned_of_in_one_line(cairn: Any, done: Any, rule: str) -> None:
    parameters = COORDINATE_WISE[rule]
    given = ["steps=4", "mixed=0", "bucket=0"] if rule == "geometric_median" else parameters or []
    flags = [flag for one in given for flag in ("--combine-parameter", one)]
    command = ("plan", "new", "--combine", rule, *flags, "--min-contributions", 7)
    said = [line for line in cairn(*command).stderr.splitlines() if "label skew" in line]
    codes = [warning["code"] for warning in done(*command)["warnings"]]
    if parameters is None:
        assert said == codes == []
    else:
        assert len(said) == 1 and f"{rule} takes each coordinate by itself" in said[0]
        assert codes == ["coordinate_wise"]


REPLAYED = {
    ("multi_krum", "int8"): True,
    ("bulyan", "int4"): True,
    ("geometric_median", "top-8"): True,
    ("norm_clip", "top-8-int8"): True,
    ("multi_krum", "dense"): False,
    ("median", "int8"): False,
    ("mean", "top-8"): False,
}
"""Rules with update forms, and whether the rule's choice is replayed by readers alone."""


@pytest.mark.parametrize(("rule", "form"), REPLAYED, ids=map(" ".join, REPLAYED))
def test_a_selection_among_packed_updates_is_warned_of(done: Any, rule: str, form: str) -> None:
    given = {
        "multi_krum": ["byzantine=1", "selected=2", "mixed=0", "bucket=0"],
        "bulyan": ["byzantine=1"],
        "geometric_median": ["steps=4", "mixed=0", "bucket=0"],
        "norm_clip": ["bound=0", "mixed=0", "bucket=0"],
    }.get(rule, [])
    flags = [flag for one in given for flag in ("--combine-parameter", one)]
    found = done("plan", "new", "--combine", rule, *flags, "--form", form, "--min-contributions", 7)["warnings"]
    said = [one["text"] for one in found if one["code"] == "selection_replayed"]
    assert len(said) == REPLAYED[rule, form]
    assert all(f"with {rule}, which selects updates, got {form}:" in text for text in said)


@pytest.mark.parametrize("text", ["trimmed", "trimmed=", "=3", "trimmed=1.5", "trimmed=x", "trimmed=٣"])
def test_a_parameter_that_is_none_is_refused(cairn: Any, text: str) -> None:
    result = cairn("plan", "new", "--combine-parameter", text)
    assert (result.exit_code, "expected NAME=VALUE" in result.stderr) == (2, True)


def test_flags_go_before_the_file(done: Any) -> None:
    done("plan", "new", "--quorum", 2, "-o", "p.toml")
    assert done("plan", "new", "--from", "p.toml", "--quorum", 3)["plan"]["quorum"] == 3


def test_an_existing_file_is_not_overwritten(cairn: Any, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("precious")
    assert cairn("plan", "new", "-o", "p.toml").exit_code == 2
    assert (tmp_path / "p.toml").read_text() == "precious"


@pytest.mark.parametrize(
    ("toml", "code", "said"),
    [
        ("quorums = 1", 2, "unknown field 'quorums'"),
        ("quorum = 0", 2, "of at least 1"),
        ("quorum = 70000", 2, "quorum"),
        ("grid_bits = 127", 2, "grid_bits"),
        ("weight_cap = 0", 2, "weight_cap"),
        ("weight_cap = 268435457", 2, "weight_cap"),
        ('commit_duration = "soon"', 2, "commit_duration: expected a duration"),
        ("combine_rule = 999", 2, "expected combine rule 1 (mean)"),
        ('combine_rule = "average"', 2, "expected combine rule 1 (mean)"),
        ("combine_rule = true", 2, "expected combine rule 1 (mean)"),
        ('server = {name = "adam"}', 2, "server rule: expected one of fedavg, fedavgm, nesterov, fedadagrad, fedadam"),
        ('server = {name = "scaffold"}', 2, "parameters of scaffold: expected rate, participants, got rate"),
        ('server = "fedavg"', 2, "server: expected {name"),
        ('server = {program = "0x00"}', 2, "program"),
        ("update_form = 3", 2, "expected update form 1 (dense), 2 (packed), got 3"),
        ("update_form = 2", 2, "update form 2 (packed): expected parameters bits 4..16, kept 0..128; got none"),
        ('update_form = "int5"', 2, "expected dense, int4, int8, int16, top-N or top-N-int8, N 1..128; got 'int5'"),
        ('update_form = "top-129"', 2, "kept 1..128, got bits 16 and kept 129"),
        ('update_form = "packed"\nform_parameters = {bits = 4, kept = 8}', 2, "got bits 4 and kept 8"),
        ('update_form = "int8"\nform_parameters = {bits = 4, kept = 0}', 2, "or none with update_form 'int8', got"),
        ("form_parameters = {bits = 8}", 2, "update form 1 (dense): expected parameters none; got bits"),
        ('update_form = "top-8"\ncombine_rule = "median"', 2, "that does not order values (1 (mean), 4 (uniform_mean)"),
        ('weights = "uniform"', 2, "weights: expected examples with combine rule 1 (mean), got 'uniform'"),
        ('combine_rule = "median"\nweights = "examples"', 2, "weights: expected uniform with combine rule 2 (median)"),
        ("combine_parameters = {k = 1}", 2, "combine rule 1 (mean): expected parameters none; got k"),
        ('combine_parameters = "k"', 2, "combine_parameters"),
        ("combine_parameters = {k = 1.5}", 2, "combine_parameters"),
        ("scales = {a = 300}", 2, "scales"),
        ("buffers = {a = 3}", 2, "buffers"),
        ('algorithm = "fedavg"', 2, "parameters = {epochs = 1}}, got algorithm: 'fedavg'; transforms:"),
        ('server = {name = "warmed.py"}', 2, "got 'warmed.py'; a rule of your own is FILE.py:FUNCTION"),
        ('hooks = ["0x12"]', 2, "expected an address"),
        ('hooks = "0x12"', 2, "hooks: expected a list"),
        (f'hooks = ["0x{"00" * 20}"]', 2, "none of them zero"),
        ("quorum", 2, "expected TOML"),
    ],
)
def test_a_bad_plan_is_refused(cairn: Any, tmp_path: Path, toml: str, code: int, said: str) -> None:
    (tmp_path / "p.toml").write_text(toml)
    result = cairn("plan", "new", "--from", "p.toml", "-o", "out.toml")
    assert (result.exit_code, said in result.stderr) == (code, True), result.stderr
    assert not (tmp_path / "out.toml").exists()


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        (("multi_krum", "byzantine=2"), {"byzantine": 2, "selected": 0, "mixed": 0, "bucket": 0}),
        (("multi_krum", "byzantine=1", "bucket=2"), {"byzantine": 1, "selected": 0, "mixed": 0, "bucket": 2}),
        (("geometric_median",), {"steps": 4, "mixed": 0, "bucket": 0}),
        (("norm_clip",), {"bound": 0, "mixed": 0, "bucket": 0}),
        (("median",), {}),
    ],
    ids=str,
)
def test_a_combine_rule_has_its_usual_parameters(
    cairn: Any, tmp_path: Path, given: tuple[str, ...], filled: dict[str, int]
) -> None:
    told = [part for text in given[1:] for part in ("--combine-parameter", text)]
    done = cairn("plan", "new", "--combine", given[0], *told, "--min-contributions", 9, "-o", "out.toml")
    assert done.exit_code == 0, done.stderr
    assert tomllib.loads((tmp_path / "out.toml").read_text())["combine_parameters"] == filled


def test_how_many_liars_a_rule_is_to_survive_must_be_said(cairn: Any) -> None:
    for rule in ("multi_krum", "bulyan"):
        done = cairn("plan", "new", "--combine", rule, "-o", "out.toml")
        assert done.exit_code == 2
        assert f"({rule}): expected parameters " in done.stderr and "byzantine" in done.stderr


@given(st.integers(0, 90 * 86400))
def test_durations_read_back(seconds: int) -> None:
    assert duration(show_duration(seconds), "d") == seconds


@pytest.mark.parametrize("text", ["", "1", "90s", "2h", "1h30m"])
def test_durations_with_units(text: str) -> None:
    known = {"1": 1, "90s": 90, "2h": 7200, "1h30m": 5400}
    if text in known:
        assert duration(text, "d") == known[text]
    else:
        with pytest.raises(InputError):
            duration(text, "d")


@pytest.mark.parametrize("value", ["1x", "h", "1h2", "-5s", -1, True, 1.5, None])
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="d: expected a duration"):
        duration(value, "d")


def test_a_server_program_is_spelled_out() -> None:
    adam = {"name": "fedadam", "parameters": {"rate": 0.01, "beta1": 0.9, "beta2": 0.99, "tau": 0.001}}
    lines = program_text(manifest_of({"server": adam}))
    assert lines[0].split() == ["r0", "q", "-16777216..16777216"]
    assert "sqrt(" in "".join(lines)
    assert [line.partition(" becomes ")[0] for line in lines[-2:]] == ["state 0", "state 1"]


def test_a_program_of_a_later_release_is_left_out() -> None:
    manifest = manifest_of({})
    assert program_text(replace(manifest, server=ServerRule(None, {}, b"\xff" + manifest.server.program))) == []


def test_fedprox_is_chosen_by_its_weight_and_kept_from_a_file(done: Any, tmp_path: Path) -> None:
    file = tmp_path / "prox.toml"
    done("plan", "new", "--mu", "0.1", "--epochs", "3", "-o", str(file))
    assert read_plan(file).algorithm == Procedure("fedprox", {"mu": 0.1, "epochs": 3})
    again = tmp_path / "again.toml"
    done("plan", "new", "--from", str(file), "--epochs", "5", "-o", str(again))
    assert read_plan(again).algorithm == Procedure("fedprox", {"mu": 0.1, "epochs": 5})


def test_a_server_rule_s_published_defaults_are_filled_in(done: Any) -> None:
    server = done("plan", "new", "--server", "nesterov")["plan"]["server"]
    assert (server["name"], server["parameters"]) == ("nesterov", {"rate": 0.7, "momentum": 0.9})
    server = done("plan", "new", "--server", "fedyogi", "--server-parameter", "rate=0.1")["plan"]["server"]
    assert server["parameters"] == {"rate": 0.1, "beta1": 0.9, "beta2": 0.99, "tau": 0.001}


def test_an_algorithm_is_chosen_with_its_parameters_and_its_other_half(done: Any, tmp_path: Path) -> None:
    halves = ("--server", "scaffold", "--server-parameter", "participants=10", "--combine", "uniform_mean")
    parameters = ("--algorithm-parameter", "lr=0.1", "--algorithm-parameter", "steps=20")
    done("plan", "new", "--algorithm", "scaffold", *parameters, *halves, "-o", "p.toml")
    plan = read_plan(tmp_path / "p.toml")
    assert plan.algorithm == Procedure("scaffold", {"lr": 0.1, "steps": 20})
    assert (plan.server.parameters, plan.weights) == ({"rate": 1.0, "participants": 10.0}, "uniform")
    again = done("plan", "new", "--from", "p.toml", "--algorithm-parameter", "steps=30")["plan"]
    assert again["algorithm"] == {"name": "scaffold", "parameters": {"lr": 0.1, "steps": 30}}
    other = done("plan", "new", "--from", "p.toml", "--algorithm", "fedavg", "--epochs", 2, "--server", "fedavg")[
        "plan"
    ]
    assert other["algorithm"] == {"name": "fedavg", "parameters": {"epochs": 2}}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--algorithm", "scaffold"), "scaffold: expected parameters lr above 0 to 1e+06, steps"),
        (("--algorithm", "feddyn"), "feddyn: expected the server rule feddyn, its other half, got fedavg"),
        (("--server", "fednova"), "server rule fednova: expected the algorithm fednova, its other half, got fedavg"),
        (("--algorithm", "feddyn", "--server", "feddyn", "--server-parameter", "participants=3"), "weights uniform"),
        (("--algorithm", "fednova", "--mu", "0.1"), "--mu is fedprox's"),
        (("--algorithm-parameter", "epochs=many"), "--algorithm-parameter: expected NAME=NUMBER, got 'epochs=many'"),
        (("--server", "scaffold"), "parameters of scaffold: expected rate, participants, got rate"),
        (("--server", "fedadam", "--server-parameter", "momentum=1"), "parameters of fedadam: expected rate, beta1"),
    ],
)
def test_flags_that_do_not_fit_are_refused(cairn: Any, flags: tuple[str, ...], said: str) -> None:
    result = cairn("plan", "new", *flags)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
