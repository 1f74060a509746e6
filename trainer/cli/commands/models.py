"""`cairn model …`: register, show, publish, transfer and fetch models."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry.cli.command import Need, command, group
from registry.cli.commands import averaging, labelling
from registry.cli.commands.labelling import ModelText, VersionText
from registry.cli.finding import find_account, find_model, find_version
from registry.cli.lineage_text import metric_line, note_lines
from registry.cli.output import short, utc
from registry.cli.send import send, tell
from registry.cli.session import Session
from registry.cli.statements import statement_of
from registry.errors import InputError, VerificationFailed
from registry.facts.plain import printable
from trainer.cli.tasks import Unshared

if TYPE_CHECKING:
    from registry.content.manifest import BaseFile, Statement, VersionManifest
    from registry.facts.model_facts import AnchoredVersion
    from registry.store.base import ContentStore
    from registry.types import Address
    from trainer.publishing import OwnerFiles, Parent

app = group("Register, show, publish, label, transfer and fetch models.")
app.add_typer(labelling.app)
app.add_typer(averaging.app)
READ = Need.CHAIN | Need.HOME

Weights = Annotated[
    list[Path],
    typer.Argument(metavar="PATH", help="Its weights: a file, an index of shards, all shards, or their folder."),
]
ModulePlace = Annotated[
    str | None,
    typer.Option("--module", metavar="PLACE:FUNCTION", help="Function that returns the torch module that loads them."),
]
Title = Annotated[str | None, typer.Option(help="Title.", rich_help_panel="Statement")]
Task = Annotated[str | None, typer.Option(help="Description.", rich_help_panel="Statement")]
Licence = Annotated[str | None, typer.Option(help="Licence, an SPDX expression.", rich_help_panel="Statement")]
Use = Annotated[str | None, typer.Option(help="Intended use.", rich_help_panel="Statement")]
Base = Annotated[str | None, typer.Option(help="The model it is derived from.", rich_help_panel="Statement")]
SourceText = Annotated[
    list[str] | None,
    typer.Option("--source", metavar="NAME[=LICENCE]", help="Training data; repeatable.", rich_help_panel="Statement"),
]
Frozen = Annotated[
    list[str] | None,
    typer.Option(
        "--frozen",
        metavar="TENSOR",
        help="A frozen floating tensor that is not F32; repeatable. With --module alone a pattern: such tensors become "
        "float16.",
    ),
]
BasePath = Annotated[
    Path | None,
    typer.Option(
        "--base",
        metavar="PATH",
        help="Frozen base weights: any file, which is published; or a folder, of which only digests are.",
        rich_help_panel="Frozen weights",
    ),
]
BaseLicence = Annotated[
    str, typer.Option(help="The base's licence, an SPDX expression.", rich_help_panel="Frozen weights")
]
BaseOrigin = Annotated[str, typer.Option(help="The base's origin.", rich_help_panel="Frozen weights")]
StatementFile = Annotated[
    Path | None,
    typer.Option(
        "--statement", metavar="TOML", help="TOML file with all of these fields.", rich_help_panel="Statement"
    ),
]


@command(
    app,
    "register",
    needs=Need.SEND | Need.STORE,
    example=(
        'cairn model register model.safetensors --title "Chapter of ICD-10-CM" --licence CC0-1.0\n'
        "cairn model register --module hospital.py:module\n"
        "cairn model register checkpoint/ --module hospital.py:module"
    ),
)
def register(
    session: Session,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH", help="Its weights: a file, an index of shards, all shards, or their folder."),
    ] = None,
    module: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE:FUNCTION",
            help="Function that returns the torch module that participants train. Without a PATH its values are used.",
        ),
    ] = None,
    without: Unshared = None,
    base: BasePath = None,
    base_licence: BaseLicence = "",
    base_origin: BaseOrigin = "",
    title: Title = None,
    task: Task = None,
    licence: Licence = None,
    intended_use: Use = None,
    base_model: Base = None,
    source: SourceText = None,
    statement: StatementFile = None,
    frozen: Frozen = None,
) -> None:
    """Publish weights as a model's first version and register it; the sender becomes its owner.

    Nothing is sent for weights that no participant could load. With a PATH and --module they are checked against the
    module, whose tied tensors become aliases. `cairn model import` converts weights of other dtypes.
    """
    from registry.chain import calls
    from registry.chain.contract_hashes import model_id_of
    from registry.content.manifest import digest_of, manifest_cid
    from registry.types import Root

    if not paths and module is None:
        raise InputError("expected a PATH, --module or both")
    if without and module is None:
        raise InputError("expected --module with --without, got a PATH, which contains shared tensors only")
    texts = {"title": title, "task": task, "licence": licence, "intended_use": intended_use, "base_model": base_model}
    said = statement_of(statement, texts, source or [])
    address, _ = session.contract()
    with _target(session) as store, session.out.waiting("publishing the genesis"):
        stands_on = _base_of(store, base, base_licence, base_origin)
        if paths:
            genesis = _add_files(session, store, _owner_files(paths, module, without, frozen), None, stands_on, said)
        else:
            genesis = _add_module(store, module or "", said, (without or [], frozen or []), stands_on)
    digest = digest_of(genesis)
    call = calls.register_model(address, digest, Root(genesis.tensor_root), Root(genesis.rest_root))
    receipt = send(session, call, "register the model")
    if receipt is not None:
        model = model_id_of(session.chain_id, address, session.account, digest)
        tell(session, receipt, {"model": model, "version": digest, "cid": manifest_cid(digest)})


@command(
    app,
    "import",
    example=(
        "cairn model import pytorch_model.bin --module hospital.py:module -o model.safetensors\n"
        "cairn model import checkpoint/ -o model.safetensors"
    ),
)
def import_model(
    session: Session,
    paths: Weights,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Output file.")],
    module: ModulePlace = None,
    without: Unshared = None,
) -> None:
    """Convert weights to what a model is registered from: one canonical safetensors file of F32 master weights.

    Takes safetensors in any form, PyTorch state dicts (tensors only), ONNX initializers, GGUF tensors (quantized ones
    are dequantized), an index of shards, all shards, or a folder of these. With --module names are mapped to the
    module's, its tied tensors stored once, others dropped. It says what it changed. Nothing is stored or sent.
    """
    from registry.durable import whole_file
    from trainer.cli.tasks import load_module, need_torch

    need_torch("importing weights")
    from registry.rounds.versions import save_arrays
    from trainer.imports import import_weights
    from trainer.weight_paths import files_of

    if without and module is None:
        raise InputError("expected --module with --without")
    if any(output.exists() and output.samefile(file) for file in files_of(paths)):
        raise InputError(f"{output}: is one of the files to import")
    loaded = None if module is None else load_module(module)
    with session.out.waiting("importing"):
        made = import_weights(paths, loaded, without=without or ())
        with whole_file(output) as partial:
            save_arrays(partial, made.arrays)
    facts = {
        "file": output,
        "tensors": len(made.arrays),
        "values": sum(array.size for array in made.arrays.values()),
        "changes": made.changes,
        "aliases": made.aliases,
    }

    def text() -> None:
        for change in made.changes:
            session.out.line(str(change))
        session.out.fields({name: facts[name] for name in ("file", "tensors", "values")})
        if made.aliases:
            given = module or "PLACE:FUNCTION"
            session.out.note(f"Tied tensors: register it with --module {given}, so that the version names them.")

    session.out.result(facts, text)


@command(app, "show", needs=READ | Need.STORE, example="cairn model show 3fa9\ncairn model show 3fa9 --json")
def show(session: Session, model: ModelText) -> None:
    """Show a model: owner, head, last round, and its versions with their dates, metrics and labels."""
    from registry.cli.index_file import read_synced
    from registry.facts.model_facts import model_facts
    from registry.index.queries import versions
    from registry.lineage.dates_and_metrics import metrics_of_versions

    found = find_model(session.reader, model)
    with read_synced(session) as db:
        metrics = metrics_of_versions(db, session.store, versions(db, found))
    facts = model_facts(session.reader, session.store, found, metrics)

    def text() -> None:
        shown = {field.name: getattr(facts, field.name) for field in fields(facts) if field.name != "versions"}
        shown["aliases"] = ", ".join(f"{name} {short(digest)}" for name, digest in facts.aliases.items()) or None
        session.out.fields({name: value for name, value in shown.items() if value is not None})
        session.out.line()
        rows = [_version_row(version, facts.head) for version in facts.versions]
        session.out.table(("version", "from", "parent", "date (UTC)", "block", ""), rows, right=("block",))
        for line in (line for version in facts.versions for line in _said_of(version)):
            session.out.line(line)

    session.out.result(facts, text)


@command(app, "list", needs=READ | Need.STORE, example="cairn model list")
def list_models(
    session: Session,
    owner: Annotated[str | None, typer.Option(metavar="ACCOUNT", help="Only models of this account.")] = None,
) -> None:
    """List the contract's models."""
    from registry.facts.model_facts import model_summaries

    wanted = find_account(session, owner) if owner is not None else None
    entries = list(model_summaries(session.reader, session.store, wanted))
    rows = [
        (short(each.model), each.title or "", short(each.head), each.participants, each.rounds, short(each.owner))
        for each in entries
    ]
    columns = ("model", "title", "head", "participants", "rounds", "owner")
    empty = "No models yet. Register one: cairn model register FILE"
    right = ("participants", "rounds")
    session.out.result(entries, lambda: session.out.table(columns, rows, right=right, empty=empty))


@command(app, "publish", needs=Need.SEND | Need.STORE, example="cairn model publish 3fa9 fixed.safetensors")
def publish(
    session: Session,
    model: ModelText,
    paths: Weights,
    parent: Annotated[str | None, typer.Option(metavar="VERSION", help="Parent version; default the head.")] = None,
    title: Title = None,
    task: Task = None,
    licence: Licence = None,
    intended_use: Use = None,
    base_model: Base = None,
    source: SourceText = None,
    statement: StatementFile = None,
    module: ModulePlace = None,
    frozen: Frozen = None,
    base: BasePath = None,
    base_licence: BaseLicence = "",
    base_origin: BaseOrigin = "",
) -> None:
    """Publish a version without a round; it becomes the head. Owner only, between rounds.

    It must have its parent's tensors, and keeps its ties and, unless --base names others, its frozen weights.
    """
    from registry.chain import calls
    from registry.content.manifest import digest_of, manifest_cid
    from registry.types import Root
    from trainer.publishing import parent_of

    texts = {"title": title, "task": task, "licence": licence, "intended_use": intended_use, "base_model": base_model}
    said = statement_of(statement, texts, source or [])
    client = session.reader
    found = find_version(client, f"{model}@{parent or 'head'}")
    with _target(session) as store, session.out.waiting("publishing the version"):
        before = parent_of(session.store, found.version)
        stands_on = _base_of(store, base, base_licence, base_origin) or before.manifest.base
        manifest = _add_files(session, store, _owner_files(paths, module, None, frozen), before, stands_on, said)
    digest = digest_of(manifest)
    roots = Root(manifest.tensor_root), Root(manifest.rest_root)
    call = calls.publish_version(client.address, found.model, found.version, digest, *roots)
    receipt = send(session, call, "publish the version")
    if receipt is not None:
        tell(session, receipt, {"model": found.model, "version": digest, "cid": manifest_cid(digest)})


@command(
    app,
    "deprecate",
    needs=Need.SEND | Need.STORE,
    example='cairn model deprecate 3fa9@81c4 --reason "trained on withdrawn data" --replacement 0b77',
)
def deprecate(
    session: Session,
    version: VersionText,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="The reason; it is published, and its digest anchored.")],
    replacement: Annotated[
        str | None, typer.Option(metavar="VERSION", help="The new head, if this version is the head.")
    ] = None,
) -> None:
    """Deprecate a version. Owner only."""
    from registry.chain import calls
    from registry.store.blobs import add_blob
    from registry.types import Digest

    client = session.reader
    found = find_version(client, version)
    model = version.partition("@")[0]
    instead = find_version(client, f"{model}@{replacement}").version if replacement is not None else None
    with _target(session) as store:
        why = add_blob(store, [reason.encode()])
        store.pin(why.cid)
    call = calls.deprecate_version(client.address, found.model, found.version, Digest(why.cid.digest), instead)
    receipt = send(session, call, "deprecate the version")
    if receipt is not None:
        tell(session, receipt, {"model": found.model, "version": found.version, "reason": why.cid})


@command(app, "transfer", needs=Need.SEND, example="cairn model transfer 3fa9 0x7099…79C8")
def transfer(
    session: Session,
    model: ModelText,
    account: Annotated[str | None, typer.Argument(metavar="ACCOUNT", help="The new owner.")] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Withdraw the offer.")] = False,
) -> None:
    """Offer a model's ownership to another account, which must accept it. Owner only."""
    from registry.chain import calls
    from registry.types import Address

    if (account is None) != withdraw:
        raise InputError("expected an account, or --withdraw")
    client = session.reader
    found = find_model(client, model)
    heir = Address(bytes(20)) if account is None else find_account(session, account)
    receipt = send(session, calls.transfer_ownership(client.address, found, heir), "offer the model")
    if receipt is not None:
        tell(session, receipt, {"model": found, "offered_to": None if withdraw else _checksum(heir)})


@command(app, "accept", needs=Need.SEND, example="cairn model accept 3fa9 --account new-owner")
def accept(session: Session, model: ModelText) -> None:
    """Accept the ownership of a model offered to the sender."""
    _simple(session, model, "accept_ownership", "accept the model", {"owner": None})


@command(app, "suspend", needs=Need.SEND, example="cairn model suspend 3fa9")
def suspend(session: Session, model: ModelText) -> None:
    """Block new rounds; an open round continues. Owner only."""
    _simple(session, model, "suspend_rounds", "suspend rounds", {"suspended": True})


@command(app, "resume", needs=Need.SEND, example="cairn model resume 3fa9")
def resume(session: Session, model: ModelText) -> None:
    """Allow new rounds again. Owner only."""
    _simple(session, model, "resume_rounds", "resume rounds", {"suspended": False})


@command(
    app,
    "pull",
    needs=READ | Need.STORE,
    example=(
        "cairn model pull 3fa9@round-7 -o model.safetensors\n"
        "cairn model pull 3fa9 --as pytorch -o model.pt\n"
        "cairn model pull 3fa9 --as peft -o adapter"
    ),
)
def pull(
    session: Session,
    version: VersionText,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Output file.")] = Path(
        "model.safetensors"
    ),
    form: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="FORM",
            help="pytorch, safetensors, bf16 or peft: for other programs, tied tensors under each of their names. "
            "Default: the version's file, byte for byte.",
        ),
    ] = None,
) -> None:
    """Fetch a version's weights and verify them against the chain.

    `--as pytorch` writes what `module.load_state_dict(torch.load(FILE, weights_only=True))` loads, `--as safetensors`
    what `module.load_state_dict(load_file(FILE))` does, `--as peft` a folder for `PeftModel.from_pretrained(base,
    FOLDER)`, whose settings the plan names; to a FILE.safetensors its tensors alone. `cairn verify` identifies only the
    version's own file.
    """
    from registry.chain.contract_hashes import roots_hash
    from registry.cli.local_files import told, write_whole
    from registry.rounds.versions import load_version_manifest, read_version, roots_of
    from trainer.cli.exporting import exported

    client = session.reader
    found = find_version(client, version)
    anchored = client.version(found.model, found.version)
    manifest = load_version_manifest(session.store, found.version)
    roots = roots_hash(roots_of(manifest))
    if roots != anchored.roots:
        raise VerificationFailed(f"version: expected roots of hash 0x{anchored.roots.hex()}, got 0x{roots.hex()}")
    if anchored.deprecated:
        session.out.warn("its owner has deprecated this version")
    with session.out.progress("Fetching", manifest.weights.size) as done:
        if form is None:
            write_whole(told(read_version(session.store, manifest), done), output)
            size, sha256 = manifest.weights.size, manifest.weights.sha256
        else:
            output, size, sha256 = exported(session, found.model, manifest, form, output, done)
    session.out.result(
        {
            "model": found.model,
            "version": found.version,
            "file": output,
            **({} if form is None else {"as": form}),
            "size": size,
            "sha256": sha256.hex(),
            "deprecated": anchored.deprecated,
        }
    )


@command(app, "card", needs=READ | Need.STORE, example="cairn model card 3fa9 -o README.md")
def card(
    session: Session,
    version: VersionText,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Output file; default standard output.")
    ] = None,
) -> None:
    """Write a version's Hugging Face model card: what its owner states, who took part, data, anchors.

    Reports what chain and manifests claim; `cairn verify` checks it.
    """
    from registry.cli.index_file import read_lineage
    from registry.cli.local_files import write_whole
    from registry.facts.model_card import model_card
    from registry.facts.version_facts import lineage_facts

    found = find_version(session.reader, version)
    ancestry, stories, told = read_lineage(session, found)
    facts = lineage_facts(ancestry, stories, found.model, found.version, told)
    text = model_card(facts, chain_id=session.chain_id, contract=session.reader.address)
    if output is not None:
        write_whole([text.encode()], output)
    session.out.result(
        {"model": found.model, "version": found.version, "card": output if output is not None else text},
        None if output is not None else lambda: session.out.line(text),
    )


def _simple(session: Session, model: str, name: str, what: str, facts: dict[str, Any]) -> None:
    from registry.chain import calls

    client = session.reader
    found = find_model(client, model)
    receipt = send(session, getattr(calls, name)(client.address, found), what)
    if receipt is not None:
        if "owner" in facts:
            facts = {"owner": _checksum(session.account)}
        tell(session, receipt, {"model": found, **facts})


@contextmanager
def _target(session: Session) -> Iterator[ContentStore]:
    """Return the store to publish to; for a dry run a temporary one."""
    if not session.dry_run:
        yield session.store
        return
    from registry.store.local import LocalStore

    with tempfile.TemporaryDirectory(prefix="cairn-") as folder:
        yield LocalStore(Path(folder))


def _version_row(one: AnchoredVersion, head: bytes) -> tuple[object, ...]:
    origin = f"round {one.round}" if one.round else "genesis" if one.parent is None else "owner"
    marks = [mark for mark, holds in (("head", one.version == head), ("deprecated", one.deprecated)) if holds]
    parent = short(one.parent) if one.parent else ""
    return short(one.version), origin, parent, utc(one.time)[:10], one.block, ", ".join(marks)


def _said_of(one: AnchoredVersion) -> Iterator[str]:
    """Yield lines with a version's metrics, tags and notes."""
    if one.metrics:
        yield metric_line(one.version, one.metrics)
    if one.labels.tags:
        yield printable(f"tags of {short(one.version)}: {', '.join(one.labels.tags)}")
    yield from note_lines(one.version, one.labels)


def _checksum(account: Address) -> str:
    from registry.ethereum.keys import to_checksum

    return to_checksum(account)


def _base_of(store: ContentStore, file: Path | None, licence: str, origin: str) -> BaseFile | None:
    """Add a version's frozen base weights to the store.

    Raises:
        InputError: A licence or origin is given without a base.
    """
    from registry.cli.local_files import size_of
    from registry.rounds.versions import add_base

    if file is None:
        if licence or origin:
            raise InputError("expected --base with --base-licence or --base-origin, got none")
        return None
    if not file.is_dir():
        size_of(file)
    return add_base(store, file, licence=licence, origin=origin)


def _owner_files(
    paths: Sequence[Path], module: str | None, without: Sequence[str] | None, frozen: Sequence[str] | None
) -> OwnerFiles:
    from trainer.cli.tasks import load_module
    from trainer.publishing import OwnerFiles

    loaded = None if module is None else load_module(module)
    return OwnerFiles(tuple(paths), loaded, module or "", tuple(without or ()), tuple(frozen or ()))


def _add_files(
    session: Session,
    store: ContentStore,
    files: OwnerFiles,
    parent: Parent | None,
    base: BaseFile | None,
    statement: Statement | None,
) -> VersionManifest:
    """Publish files, and say what was changed in their form."""
    from trainer.publishing import publish_files

    made, changes = publish_files(store, files, parent=parent, base=base, statement=statement)
    for change in changes:
        session.out.note(str(change))
    return made


def _add_module(
    store: ContentStore,
    module: str,
    statement: Statement | None,
    patterns: tuple[Sequence[str], Sequence[str]],
    base: BaseFile | None,
) -> VersionManifest:
    """Publish a module's values; patterns are those of tensors that are not shared, and of those that are fixed."""
    from trainer.cli.tasks import load_module

    loaded = load_module(module)
    from trainer.modules import publish_module

    with tempfile.TemporaryDirectory(prefix="cairn-model-") as folder:
        file = Path(folder) / "genesis.safetensors"
        without, fixed = patterns
        return publish_module(store, loaded, file, statement=statement, without=without, fixed=fixed, base=base)
