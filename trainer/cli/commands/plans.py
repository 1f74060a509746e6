"""`cairn plan …`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry.errors import InputError
from registry.rules.table import COMBINE_RULES, EXAMPLES, UNIFORM, server_rule_for
from trainer.cli.command import Need, command, group
from trainer.cli.finding import find_model
from trainer.cli.output import short
from trainer.cli.sending import send, tell
from trainer.cli.session import Session

if TYPE_CHECKING:
    from registry.chain.records import Plan
    from registry.content.manifest import PlanManifest

app = group("The rules of a model's rounds.")
READ = Need.CHAIN | Need.HOME

_COMBINE_HELP = "What makes an aggregate of the contributions: " + ", ".join(
    f"{rule.name} ({rule.says}{'; ' if rule.parameters else ''}{', '.join(p.name for p in rule.parameters)})"
    for rule in COMBINE_RULES
)
Combine = Annotated[str | None, typer.Option(metavar="RULE", help=_COMBINE_HELP)]
CombineParameter = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter of the combine rule, a whole number.")
]
_WEIGHTS_HELP = "Whether a contribution counts by its weight, or each once; what the combine rule takes."
Weights = Annotated[str | None, typer.Option(metavar=f"{EXAMPLES}|{UNIFORM}", help=_WEIGHTS_HELP)]
ModelText = Annotated[str, typer.Argument(metavar="MODEL", help="A model's id, or the beginning of it.")]
Duration = Annotated[str | None, typer.Option(metavar="TIME", help="Such as 90s, 10m, 2h, 3d.")]


@command(
    app,
    "new",
    example="cairn plan new --quorum 2 --grid 22 --commit-duration 10m -o plan.toml\ncairn plan new --from plan.toml",
)
def new(
    session: Session,
    source: Annotated[Path | None, typer.Option("--from", metavar="TOML", help="Begin with this plan.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write TOML here.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Local epochs of FedAvg.")] = None,
    grid: Annotated[int | None, typer.Option(metavar="S", help="Grid: values are integers times 2^-S.")] = None,
    combine: Combine = None,
    combine_parameter: CombineParameter = None,
    weights: Weights = None,
    saturate: Annotated[bool | None, typer.Option("--saturate/--refuse", help="What to do with larger values.")] = None,
    server_rate: Annotated[float | None, typer.Option(metavar="RATE", help="The server's rate; 1 for FedAvg.")] = None,
    clip: Annotated[float | None, typer.Option(metavar="NORM", help="Clip updates to this L2 norm.")] = None,
    quorum: Annotated[int | None, typer.Option(help="Equal attestations that make a result.")] = None,
    weight_cap: Annotated[int | None, typer.Option(help="The most one participant may weigh.")] = None,
    min_contributions: Annotated[int | None, typer.Option(help="With fewer the round lapses.")] = None,
    commit_duration: Duration = None,
    publish_duration: Duration = None,
    aggregate_duration: Duration = None,
    challenge_duration: Duration = None,
    answer_duration: Duration = None,
    bond: Annotated[
        int | None, typer.Option(metavar="GWEI", min=0, help="What an aggregator must have deposited to attest.")
    ] = None,
    hook: Annotated[str | None, typer.Option(metavar="ADDRESS", help="A contract asked at each commitment.")] = None,
) -> None:
    """Write a plan as TOML, checked; flags go before the file, defaults fill the rest."""
    from trainer.cli.plan_files import manifest_of, parameters_of
    from trainer.cli.statements import read_toml

    given: dict[str, Any] = read_toml(source) if source is not None else {}
    flags: dict[str, Any] = {
        "combine_rule": combine,
        "combine_parameters": parameters_of(combine_parameter or ()) or None,
        "weights": weights,
        "algorithm": None if epochs is None else {"name": "fedavg", "parameters": {"epochs": epochs}},
        "transforms": None if clip is None else [{"name": "clip", "parameters": {"norm": clip}}],
        "grid_bits": grid,
        "saturate": saturate,
        "server_rate": server_rate,
        "server_rule": None if server_rate is None else _server_rule(server_rate, given),
        "quorum": quorum,
        "weight_cap": weight_cap,
        "min_contributions": min_contributions,
        "commit_duration": commit_duration,
        "publish_duration": publish_duration,
        "aggregate_duration": aggregate_duration,
        "challenge_duration": challenge_duration,
        "answer_duration": answer_duration,
        "bond_gwei": bond,
        "hook": hook,
    }
    manifest = manifest_of({**given, **{name: value for name, value in flags.items() if value is not None}})
    _write(session, manifest, source, output)


@command(app, "set", needs=Need.SEND | Need.STORE, example="cairn plan set 3fa9 plan.toml")
def set_plan(
    session: Session,
    model: ModelText,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A plan in TOML, as `cairn plan new` writes it.")],
) -> None:
    """Publish a plan and make it a model's standing plan, from the next round on. Owner only."""
    from registry.chain import calls
    from registry.chain.events import PlanSet
    from registry.content.manifest import manifest_cid
    from registry.provenance.plans import add_plan
    from registry.rules.table import rules_of
    from registry.store.memory import MemoryStore
    from trainer.cli.plan_files import read_plan

    manifest = read_plan(file)
    client = session.reader
    found = find_model(client, model)
    plan = add_plan(MemoryStore() if session.dry_run else session.store, manifest)
    if rules_of(manifest).version_convicted and not any(client.version(found, client.model(found).head).tensor_root):
        session.out.note(
            "the head has no tensor root, since not all its tensors are F32: what its next versions hold is checked by "
            "readers (cairn verify) alone, and no challenge convicts it"
        )
    receipt = send(session, calls.set_plan(client.address, found, plan), "set the plan")
    if receipt is not None:
        index = receipt.event(PlanSet).plan_index
        tell(session, receipt, {"model": found, "plan": index, "digest": plan.digest, "cid": manifest_cid(plan.digest)})


@command(app, "show", needs=READ | Need.STORE, example="cairn plan show 3fa9\ncairn plan show 3fa9 0 > plan.toml")
def show(
    session: Session,
    model: ModelText,
    index: Annotated[int | None, typer.Argument(metavar="INDEX", help="Which, from 0; the standing one.")] = None,
) -> None:
    """Print a plan as TOML, checked against what the chain holds of it."""
    from registry.provenance.plans import load_plan
    from trainer.cli.plan_files import plan_toml

    client = session.reader
    found = find_model(client, model)
    plans = client.model(found).plans
    if not plans:
        raise InputError("this model has no plan yet: cairn plan set MODEL FILE")
    at = plans - 1 if index is None else index
    plan = client.plan(found, at)
    manifest = load_plan(session.store, plan)
    facts = {"model": found, "plan": at, "standing": at == plans - 1, "digest": plan.digest, "manifest": manifest}

    def text() -> None:
        sys.stdout.write(plan_toml(manifest))
        session.out.note(f"plan {at}{', the standing one' if at == plans - 1 else ''}: digest 0x{plan.digest.hex()}")

    session.out.result(facts, text)


@command(app, "history", needs=READ, example="cairn plan history 3fa9")
def history(session: Session, model: ModelText) -> None:
    """List every plan that a model has had."""
    client = session.reader
    found = find_model(client, model)
    plans = [client.plan(found, index) for index in range(client.model(found).plans)]
    rows = [(index, *_row(plan)) for index, plan in enumerate(plans)]
    columns = ("plan", "digest", "grid", "quorum", "cap", "at least", "commit", "publish", "aggregate", "challenge")
    data = [{"plan": index, **_facts(plan)} for index, plan in enumerate(plans)]
    right = ("plan", "grid", "quorum", "cap", "at least")
    empty = "No plan yet: cairn plan set MODEL FILE"
    session.out.result(data, lambda: session.out.table(columns, rows, right=right, empty=empty))


def _write(session: Session, manifest: PlanManifest, source: Path | None, output: Path | None) -> None:
    """Write a plan to a file, or to standard output; over the file that it began with, and no other."""
    from registry.content.manifest import digest_of, manifest_cid
    from trainer.cli.plan_files import plan_toml

    text, digest = plan_toml(manifest), digest_of(manifest)
    if output is not None:
        if output.exists() and output != source:
            raise InputError(f"{output} exists already")
        output.write_text(text)
    facts = {"digest": digest, "cid": manifest_cid(digest), "file": output, "plan": manifest}

    def show() -> None:
        if output is None:
            sys.stdout.write(text)
        session.out.note(f"{output or 'valid'}: digest 0x{digest.hex()}")

    session.out.result(facts, show)


def _server_rule(rate: float, given: dict[str, Any]) -> str:
    return server_rule_for(server_rate=rate, scales=given.get("scales", {}), shared=given.get("shared")).name


def _row(plan: Plan) -> tuple[object, ...]:
    from trainer.cli.plan_files import show_duration

    durations = (plan.commit_duration, plan.publish_duration, plan.aggregate_duration, plan.challenge_duration)
    return (
        short(plan.digest),
        plan.grid_bits,
        plan.quorum,
        plan.weight_cap,
        plan.min_contributions,
        *map(show_duration, durations),
    )


def _facts(plan: Plan) -> dict[str, object]:
    return {name: getattr(plan, name) for name in plan.__dataclass_fields__}
