"""`cairn plan …`: write, set and show plans."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry.cli.command import Need, command, group
from registry.cli.finding import find_model
from registry.cli.output import short
from registry.cli.plan_files import parameters_of, terms_of
from registry.cli.send import send, tell
from registry.cli.session import Session
from registry.errors import InputError
from registry.rules.algorithms import CLIENT_ALGORITHMS, with_usual
from registry.rules.server_programs import RULES as SERVER_RULES
from registry.rules.table import COMBINE_RULES, EXAMPLES, UNIFORM
from trainer.cli.tasks import Unshared

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from registry.cli.plan_defaults import Choice
    from registry.content.manifest import PlanManifest
    from registry.facts.plan_facts import PlanTerms
    from registry.types import ModelId

app = group("The rules of a model's rounds.")
READ = Need.CHAIN | Need.HOME

_DURATIONS = ("commit_duration", "publish_duration", "aggregate_duration", "challenge_duration", "answer_duration")
_COMBINE_HELP = "Rule that combines contributions into an aggregate: " + ", ".join(
    f"{rule.name} ({rule.description}{'; ' if rule.parameters else ''}{with_usual(rule.parameters)})"
    for rule in COMBINE_RULES
)
Combine = Annotated[str | None, typer.Option(metavar="RULE", help=_COMBINE_HELP)]
CombineParameter = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter of the combine rule, an integer.")
]
_WEIGHTS_HELP = "Whether contributions count by weight, or equally; the default suits the combine rule."
Weights = Annotated[str | None, typer.Option(metavar=f"{EXAMPLES}|{UNIFORM}", help=_WEIGHTS_HELP)]
_ALGORITHM_HELP = "What participants run: " + ", ".join(
    f"{name} ({with_usual(known.parameters)})" for name, known in CLIENT_ALGORITHMS.items()
)
AlgorithmText = Annotated[str | None, typer.Option("--algorithm", metavar="NAME", help=_ALGORITHM_HELP)]
AlgorithmParameter = Annotated[
    list[str] | None, typer.Option(metavar="NAME=NUMBER", help="A parameter of the algorithm.")
]
_SERVER_HELP = "Rule that makes a version of the aggregate: " + ", ".join(
    f"{name} ({with_usual(rule.parameters)})" for name, rule in SERVER_RULES.items()
)
_SERVER_HELP += "; or FILE.py:FUNCTION, a function of one's own, traced."
Server = Annotated[str | None, typer.Option(metavar="RULE", help=_SERVER_HELP)]
ServerParameter = Annotated[
    list[str] | None, typer.Option(metavar="NAME=NUMBER", help="A parameter of the server rule.")
]
_FORM_HELP = (
    "How updates are encoded: dense, int8 or int4 (4 or 8 times fewer bytes), or top-8 or top-8-int8, the 8 largest of "
    "each 256 values, as any number to top-128 (41 or 60 times fewer)."
)
_MODULE_HELP = "Fit it to a PyTorch module, with the grid, scales and buffers that its tensors propose."
ModuleText = Annotated[str | None, typer.Option("--module", metavar="FILE:NAME", help=_MODULE_HELP)]
_PROBE_HELP = "Fit grid and scales to one local epoch of this task: of its module, or from the head of --model."
ProbeText = Annotated[str | None, typer.Option("--probe", metavar="PLACE:FUNCTION", help=_PROBE_HELP)]
_COMMON_HELP = (
    "Name in the plan what this task has in common with others: digests of task, labels and tokenizer, adapter."
)
CommonText = Annotated[str | None, typer.Option("--common", metavar="PLACE:FUNCTION", help=_COMMON_HELP)]
ModelText = Annotated[str, typer.Argument(metavar="MODEL", help="A model's id, or any unique prefix of it.")]
Duration = Annotated[str | None, typer.Option(metavar="TIME", help="Such as 90s, 10m, 2h, 3d.")]
_TERM_HELP = "Any other term by its name in the file, such as demand_price_gwei=7 or late_duration=60s."
TermText = Annotated[list[str] | None, typer.Option("--term", metavar="NAME=VALUE", help=_TERM_HELP)]
Bond = Annotated[int | None, typer.Option(metavar="GWEI", min=0, help="Bond that an aggregator needs to attest.")]
Hooks = Annotated[
    list[str] | None,
    typer.Option(metavar="ADDRESS", help="A hook contract called at each commitment; up to four, in order."),
]


@command(
    app,
    "new",
    needs=READ | Need.STORE,
    example="cairn plan new --quorum 2 --grid 22 --commit-duration 10m -o plan.toml\ncairn plan new --from plan.toml",
)
def new(
    session: Session,
    source: Annotated[Path | None, typer.Option("--from", metavar="TOML", help="Start from this plan.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Output file, TOML.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Local epochs.")] = None,
    mu: Annotated[float | None, typer.Option(help="Train by FedProx with this proximal weight.")] = None,
    algorithm: AlgorithmText = None,
    algorithm_parameter: AlgorithmParameter = None,
    sampled: Annotated[float | None, typer.Option(metavar="SHARE", help="Share of participants asked a round.")] = None,
    grid: Annotated[int | None, typer.Option(metavar="S", help="Grid: values are integers times 2^-S.")] = None,
    combine: Combine = None,
    combine_parameter: CombineParameter = None,
    weights: Weights = None,
    saturate: Annotated[bool | None, typer.Option("--saturate/--refuse", help="Clip or refuse larger values.")] = None,
    model: Annotated[str | None, typer.Option(metavar="MODEL", help="Fit it to this model's head.")] = None,
    module: ModuleText = None,
    without: Unshared = None,
    probe: ProbeText = None,
    common: CommonText = None,
    server: Server = None,
    server_parameter: ServerParameter = None,
    server_rate: Annotated[float | None, typer.Option(metavar="RATE", help="FedAvg's server rate; default 1.")] = None,
    clip: Annotated[float | None, typer.Option(metavar="NORM", help="Clip updates to this L2 norm.")] = None,
    form: Annotated[str | None, typer.Option(metavar="FORM", help=_FORM_HELP)] = None,
    quorum: Annotated[int | None, typer.Option(help="Number of equal attestations that make a result.")] = None,
    weight_cap: Annotated[int | None, typer.Option(help="Maximum weight of one participant.")] = None,
    min_contributions: Annotated[int | None, typer.Option(help="Minimum contributions of a round.")] = None,
    commit_duration: Duration = None,
    publish_duration: Duration = None,
    aggregate_duration: Duration = None,
    challenge_duration: Duration = None,
    answer_duration: Duration = None,
    bond: Bond = None,
    term: TermText = None,
    hook: Hooks = None,
) -> None:
    """Write a validated plan as TOML; flags override the file, defaults fill the rest."""
    durations = (commit_duration, publish_duration, aggregate_duration, challenge_duration, answer_duration)
    given = _begun(source, durations[3:], term or ())
    flags: dict[str, Any] = {
        "combine_rule": combine,
        "combine_parameters": parameters_of(combine_parameter or ()) or None,
        "weights": weights,
        "algorithm": _algorithm(given.get("algorithm"), algorithm, algorithm_parameter or [], epochs, mu, sampled),
        **_outgoing(grid, clip, form),
        "saturate": saturate,
        "server": _server(server, server_parameter, server_rate),
        "quorum": quorum,
        "weight_cap": weight_cap,
        "min_contributions": min_contributions,
        **dict(zip(_DURATIONS, durations, strict=True)),
        "bond_gwei": bond,
        "hooks": hook or None,
    }
    said = {**given, **terms_of(term or ()), **{name: value for name, value in flags.items() if value is not None}}
    chosen = () if model is None else _chosen(session, find_model(session.reader, model), said)
    manifest = _with_common(_fitted(session, _values(chosen) | said, model, module, without or [], probe), common)
    _write(session, manifest, source, output, chosen, _left_open(said) if model is None else ())


@command(app, "set", needs=Need.SEND | Need.STORE, example="cairn plan set 3fa9 plan.toml")
def set_plan(
    session: Session,
    model: ModelText,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A plan in TOML, as `cairn plan new` writes it.")],
) -> None:
    """Publish a plan and make it the model's standing plan from the next round on. Owner only."""
    from registry.chain import calls
    from registry.chain.contract_events import PlanSet
    from registry.cli.plan_checks import check_plan
    from registry.cli.plan_files import read_plan
    from registry.cli.plan_warnings import rule_warnings
    from registry.content.manifest import manifest_cid
    from registry.rounds.plans import add_plan
    from registry.store.memory import MemoryStore

    client = session.reader
    found = find_model(client, model)
    chosen: tuple[Choice, ...] = ()

    def choose(given: Mapping[str, Any]) -> dict[str, int]:
        nonlocal chosen
        chosen = _chosen(session, found, given)
        return _values(chosen)

    manifest = _for_head(session, read_plan(file, choose), found)
    plan, rules = add_plan(MemoryStore() if session.dry_run else session.store, manifest)
    cost, warnings = check_plan(session, found, plan, rule_warnings(manifest))
    more = {"conviction": cost, "chosen": chosen, "warnings": warnings}
    receipt = send(session, calls.set_plan(client.address, found, plan, rules), "set the plan", facts=more)
    if receipt is not None:
        index = receipt.event(PlanSet).plan_index
        facts = {"model": found, "plan": index, "digest": plan.digest, "cid": manifest_cid(plan.digest)}
        tell(session, receipt, facts | more if session.out.as_json else facts)


@command(app, "show", needs=READ | Need.STORE, example="cairn plan show 3fa9\ncairn plan show 3fa9 0 > plan.toml")
def show(
    session: Session,
    model: ModelText,
    index: Annotated[
        int | None, typer.Argument(metavar="INDEX", help="The plan's index from 0; default the standing one.")
    ] = None,
) -> None:
    """Print a plan as TOML, verified against the chain, with its server program disassembled."""
    from registry.cli.plan_files import plan_toml
    from registry.facts.plan_facts import plan_facts

    if Path(model).is_file():
        raise InputError(f"MODEL: expected a model, got the file {model}: cairn plan new --from {model} prints it")
    facts = plan_facts(session.reader, session.store, find_model(session.reader, model), index)

    def text() -> None:
        sys.stdout.write(plan_toml(facts.manifest) + "".join(f"# {line}\n" for line in facts.program))
        standing = ", the standing one" if facts.standing else ""
        session.out.note(f"plan {facts.plan}{standing}: digest 0x{facts.digest.hex()}")

    session.out.result(facts, text)


@command(app, "history", needs=READ, example="cairn plan history 3fa9")
def history(session: Session, model: ModelText) -> None:
    """List every plan that a model has had."""
    from registry.facts.plan_facts import plan_history

    plans = plan_history(session.reader, find_model(session.reader, model))
    columns = ("plan", "digest", "rules", "quorum", "cap", "at least", "commit", "publish", "aggregate", "challenge")
    right = ("plan", "quorum", "cap", "at least")
    empty = "No plan yet: cairn plan set MODEL FILE"
    rows = [_row(plan) for plan in plans]
    session.out.result(plans, lambda: session.out.table(columns, rows, right=right, empty=empty))


def _begun(source: Path | None, durations: Sequence[str | None], terms: Sequence[str]) -> dict[str, Any]:
    """Read the plan to start from, without an answer time that other durations now give anew."""
    from registry.cli.plan_files import without_derived
    from registry.cli.statements import read_toml

    if source is None:
        return {}
    given = read_toml(source)
    said = {"challenge_duration", "late_duration"} & set(terms_of(terms))
    return without_derived(given) if any(durations) or said else given


def _algorithm(
    given: Any,
    name: str | None,
    parameters: Sequence[str],
    epochs: int | None,
    mu: float | None,
    sampled: float | None,
) -> dict[str, Any] | None:
    """Return the training algorithm with the changes that flags make; another algorithm begins without parameters.

    Raises:
        InputError: `mu` is given with an algorithm that is not FedProx, or a parameter is malformed.
    """
    flags = {"epochs": epochs, "mu": mu, "sampled": sampled}
    said = {key: value for key, value in flags.items() if value is not None}
    if name is None and not parameters and not said:
        return None
    if mu is not None and name not in (None, "fedprox"):
        raise InputError(f"--mu is fedprox's: expected no other --algorithm, got {name}")
    begun = given if isinstance(given, dict) else {}
    before, held = begun.get("name", "fedavg"), begun.get("parameters")
    chosen = name or ("fedprox" if mu is not None else before)
    kept = dict(held) if isinstance(held, dict) and (name is None or name == before) else {}
    numbers = {key: int(n) if n.is_integer() else n for key, n in _numbers("--algorithm-parameter", parameters).items()}
    return {"name": chosen, "parameters": kept | said | numbers}


def _numbers(option: str, texts: Sequence[str]) -> dict[str, float]:
    """Parse NAME=NUMBER texts.

    Raises:
        InputError: One is something else.
    """
    found: dict[str, float] = {}
    for text in texts:
        key, _, number = text.partition("=")
        try:
            found[key] = float(number)
        except ValueError:
            raise InputError(f"{option}: expected NAME=NUMBER, got {text!r}") from None
    return found


def _outgoing(grid: int | None, clip: float | None, form: str | None) -> dict[str, Any]:
    """Return the fields of what becomes of an update on its way out; None keeps what a file says."""
    transforms = None if clip is None else [{"name": "clip", "parameters": {"norm": clip}}]
    parameters: dict[str, int] | None = None if form is None else {}
    return {"grid_bits": grid, "transforms": transforms, "update_form": form, "form_parameters": parameters}


def _server(name: str | None, parameters: list[str] | None, rate: float | None) -> dict[str, Any] | None:
    """Return the server rule that flags give."""
    if name is None and parameters:
        raise InputError("--server-parameter: expected --server with it")
    if rate is not None:
        if name not in (None, "fedavg") or parameters:
            raise InputError("--server-rate is fedavg's alone: expected --server-parameter rate=… without it")
        return {"name": "fedavg", "parameters": {"rate": rate}}
    if name is None:
        return None
    if ":" in name:
        from registry.rules.program import encode
        from trainer.cli.tasks import load_program

        if parameters:
            raise InputError("--server-parameter: expected none with a function of one's own, which has its constants")
        return {"program": encode(load_program(name)).hex()}
    return {"name": name, "parameters": _numbers("--server-parameter", parameters or [])}


def _proposed(module: str | None, without: Sequence[str], said: Mapping[str, Any], probe: str | None) -> dict[str, Any]:
    """Propose grid, scales and buffers from a module's shared tensors.

    Raises:
        InputError: --without is given without --module, or --probe with it.
    """
    if probe is not None and module is not None:
        raise InputError("expected --probe without --module: the task has a module of its own")
    if module is None:
        if without:
            raise InputError("expected --module with --without, got none")
        return {}
    from trainer.cli.tasks import load_module
    from trainer.modules import propose_buffers, propose_grid

    loaded = load_module(module)
    bits, scales = propose_grid(loaded, said.get("grid_bits", 24), without=without)
    return {"grid_bits": bits, "scales": scales, "buffers": propose_buffers(loaded, without)}


def _probed(session: Session, probe: str | None, model: str | None, said: Mapping[str, Any]) -> dict[str, Any]:
    """Propose grid, scales and buffers from one local epoch of a task; nothing without one.

    Raises:
        InputError: The task's module does not fit the model's head.
    """
    if probe is None:
        return {}
    from registry.content.manifest import Procedure
    from registry.rounds.versions import load_version_manifest
    from trainer.cli.tasks import load_task
    from trainer.modules import load_version, propose_buffers
    from trainer.probing import probe_grid

    task = load_task(probe)
    stored: dict[str, str] = {}
    fixed: list[str] = []
    if model is not None:
        head = load_version_manifest(session.store, session.reader.model(find_model(session.reader, model)).head)
        stored = load_version(task.module, session.store, head, without=task.unshared)
        fixed = [name for name, place in stored.items() if place in head.frozen]
    algorithm = said.get("algorithm")
    procedure = Procedure(algorithm["name"], algorithm["parameters"]) if isinstance(algorithm, dict) else None
    with session.out.waiting("training one local epoch"):
        bits, scales = probe_grid(task, said.get("grid_bits", 24), algorithm=procedure, fixed=fixed)
    buffers = propose_buffers(task.module, (*task.unshared, *fixed))
    session.out.note(f"probed: scales of {len(scales)} tensors, for eight times the changes of one local epoch")
    return {
        "grid_bits": bits,
        "scales": {stored.get(name, name): scale for name, scale in scales.items()},
        "buffers": {stored.get(name, name): kind for name, kind in buffers.items()},
    }


def _fitted(
    session: Session,
    terms: Mapping[str, Any],
    model: str | None,
    module: str | None,
    without: Sequence[str],
    probe: str | None,
) -> PlanManifest:
    """Return the plan of these terms, with what module or probe propose for those left out, fitted to its versions."""
    from registry.cli.plan_files import manifest_of
    from registry.rounds.plans import fitted

    proposed = _proposed(module, without, terms, probe) | _probed(session, probe, model, terms)
    manifest = manifest_of({**proposed, **terms})
    if model is not None and module is not None:
        raise InputError("expected --model or --module, got both")
    if model is not None:
        return _for_head(session, manifest, find_model(session.reader, model))
    if module is None:
        return manifest
    from trainer.cli.tasks import load_module
    from trainer.modules import module_header

    return fitted(manifest, module_header(load_module(module), without))


def _with_common(manifest: PlanManifest, task: str | None) -> PlanManifest:
    """Return the plan with what a task has in common with others.

    Raises:
        InputError: The task states nothing.
    """
    if task is None:
        return manifest
    from trainer.cli.tasks import load_task
    from trainer.common_terms import with_common

    common = load_task(task).common
    if not common:
        raise InputError(f"--common: expected a task with common=, as trainer.huggingface makes it, got none in {task}")
    return with_common(manifest, common)


def _for_head(session: Session, manifest: PlanManifest, model: ModelId) -> PlanManifest:
    """Fit the plan to the head, or check it if it already names the form of its versions."""
    from registry.cli.plan_checks import head_header
    from registry.cli.plan_files import is_fitted
    from registry.rounds.plans import fitted, plan_segments, with_statistics

    header = head_header(session, model)
    found = with_statistics(manifest, header)
    added = sorted(set(found.buffers) - set(manifest.buffers))
    if not is_fitted(manifest):
        if added:
            session.out.note(f"buffers, by their names: {', '.join(added[:3])}{' …' if len(added) > 3 else ''}")
        return fitted(found, header)
    plan_segments(manifest, header)
    if added:
        session.out.warn(
            f"{added[0]} is a running statistic, but a parameter in this plan: variances may become negative; name it "
            "in buffers, or let `cairn plan new --model` do so"
        )
    return manifest


def _chosen(session: Session, model: ModelId, given: Mapping[str, Any]) -> tuple[Choice, ...]:
    """Choose omitted terms, and print each with its reason."""
    from registry.cli.plan_defaults import CHOSEN, choose_terms, surroundings
    from registry.cli.plan_files import show_duration

    if all(name in given for name in CHOSEN[:2]):
        return ()
    chosen = choose_terms(given, surroundings(session.reader, model))
    for choice in chosen:
        value = show_duration(choice.value) if choice.term.endswith("_duration") else choice.value
        session.out.note(f"{choice.term} = {value}: {choice.why}")
    return chosen


def _values(chosen: Sequence[Choice]) -> dict[str, int]:
    return {choice.term: choice.value for choice in chosen}


def _left_open(said: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the terms that a plan without a model leaves to `cairn plan set`; the window determines an answer time."""
    from registry.cli.plan_defaults import CHOSEN

    return tuple(
        name for name in CHOSEN if name not in said and (name != "answer_duration" or "challenge_duration" not in said)
    )


def _write(
    session: Session,
    manifest: PlanManifest,
    source: Path | None,
    output: Path | None,
    chosen: Sequence[Choice],
    left_open: Sequence[str],
) -> None:
    """Write a plan to standard output or a file; overwrite only the file that it started from."""
    from registry.cli.local_files import write_whole
    from registry.cli.plan_files import plan_toml, require_terms
    from registry.cli.plan_warnings import rule_warnings
    from registry.content.manifest import digest_of, manifest_cid

    require_terms(manifest, left_open)
    text, digest = plan_toml(manifest, left_open), digest_of(manifest)
    if output is not None:
        if output.exists() and not (source is not None and output.samefile(source)):
            raise InputError(
                f"{output} exists already, and people edit plans: name another file, or change it with --from {output}"
            )
        write_whole([text.encode()], output)
    warnings = rule_warnings(manifest)
    for warning in warnings:
        session.out.warn(warning.text)
    facts = {"digest": digest, "cid": manifest_cid(digest), "file": output, "plan": manifest}
    facts |= {"chosen": chosen, "left_open": left_open, "warnings": warnings}

    def show() -> None:
        if output is None:
            sys.stdout.write(text)
        session.out.note(f"{output or 'valid'}: digest 0x{digest.hex()}")
        if left_open:
            session.out.note(f"left to cairn plan set, which knows model and chain: {', '.join(left_open)}")

    session.out.result(facts, show)


def _row(plan: PlanTerms) -> tuple[object, ...]:
    from registry.cli.plan_files import show_duration

    durations = (plan.commit_duration, plan.publish_duration, plan.aggregate_duration, plan.challenge_duration)
    return (
        plan.plan,
        short(plan.digest),
        short(plan.rules_hash),
        plan.quorum,
        plan.weight_cap,
        plan.min_contributions,
        *map(show_duration, durations),
    )
