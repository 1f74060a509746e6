"""Write what `cairn model pull --as` gives: a file, or PEFT's folder with the settings that the plan names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from registry.cli.local_files import write_whole
from registry.durable import whole_file
from registry.errors import InputError
from trainer.cli.tasks import need_torch

if TYPE_CHECKING:
    from registry.cli.session import Session
    from registry.content.manifest import PlanManifest, VersionManifest
    from registry.types import ModelId

__all__ = ["exported"]


def exported(
    session: Session,
    model: ModelId,
    version: VersionManifest,
    form: str,
    output: Path,
    done: Callable[[int], None],
) -> tuple[Path, int, bytes]:
    """Write a version in a form of other programs; return the file of its tensors, its size and sha2-256.

    Raises:
        InputError: As `export_version`; or the output is to be PEFT's folder and no plan names the adapter's settings.
    """
    from registry.rounds.versions import read_header, sha256_of

    need_torch(f"--as {form}")
    from trainer.exports import ADAPTER_FILES, adapter_config, export_version, require_adapter

    file, config = output, ""
    if form == "peft" and output.suffix != ".safetensors":
        require_adapter(read_header(session.store, version.weights.blob).by_name())
        settings = _plan_of(session, model, version).algorithm.parameters.get("adapter")
        if settings is None:
            raise InputError(
                "peft: expected a plan that names the adapter's settings, got none: `cairn plan new --common` takes "
                f"them from a task; `-o {ADAPTER_FILES[0]}` writes the tensors alone"
            )
        config = adapter_config(str(settings))
        if output.exists() and not output.is_dir():
            raise InputError(f"{output}: expected a folder for PEFT's files, got a file")
        output.mkdir(exist_ok=True)
        file = output / ADAPTER_FILES[0]
    with whole_file(file) as partial:
        export_version(session.store, version, form, partial, progress=done)
    if config:
        write_whole([config.encode()], file.with_name(ADAPTER_FILES[1]))
    return file, file.stat().st_size, sha256_of(file)


def _plan_of(session: Session, model: ModelId, version: VersionManifest) -> PlanManifest:
    """Return the plan of the round that made a version; of an owner's version the standing plan."""
    from registry.content.manifest import PlanManifest
    from registry.facts.plan_facts import plan_facts
    from registry.store.manifests import get_manifest

    if version.round is not None:
        return get_manifest(session.store, version.round.plan.digest, PlanManifest)
    return plan_facts(session.reader, session.store, model).manifest
