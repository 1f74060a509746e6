"""Read a model's file only if the chain vouches for it: a version of the model, final, not deprecated, verified."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from registry.cli.check_lines import require_passed
from registry.cli.finding import find_model
from registry.cli.index_file import open_catalogue, read_synced
from registry.cli.output import short
from registry.cli.session import Session
from registry.errors import InputError, NobodysFile, VerificationFailed

if TYPE_CHECKING:
    from registry.index.entries import VersionEntry
    from registry.lineage.identify import Identified
    from registry.types import ModelId

__all__ = ["chosen_version", "read_verified"]


def chosen_version(
    text: str, found: Identified, *, model: ModelId | None = None, strict: bool = False, kind: str = ""
) -> VersionEntry:
    """Return the version that a file is taken for.

    Args:
        text: How messages call the file.
        found: The versions that it is.
        model: It must be one of this model: anybody may anchor any file under a model of their own.
        strict: It must be final, and not deprecated.
        kind: What the file is otherwise, for messages.

    Raises:
        NobodysFile: It is no version, or none of the model.
        VerificationFailed: It is provisional or deprecated, and strict.
    """
    if not found.versions:
        held = f" ({found.unread} versions have unavailable manifests: it may be one of them)" if found.unread else ""
        raise NobodysFile(f"{text}: no version of any model is {found.name}{held}{kind}")
    mine = [entry for entry in found.versions if model is None or entry.model_id == model]
    if not mine:
        other = short(found.versions[0].model_id)
        raise NobodysFile(f"{text}: expected a version of model {short(model or b'')}, got one of model {other}")
    good = [entry for entry in mine if entry.final and not entry.deprecated]
    if strict and not good:
        why = "deprecated" if mine[0].deprecated else "provisional"
        raise VerificationFailed(f"{text}: expected a final version in use, got {short(mine[0].digest)}: {why}")
    return (good or mine)[0] if strict else mine[0]


def read_verified(session: Session, model: str, path: Path) -> bytes:
    """Return a file's bytes if they are a final version of a model, not deprecated, whose whole lineage verifies.

    The bytes that are checked are those returned: what happens to the file meanwhile has no effect.

    Args:
        session: Names chain, contract and store.
        model: The model's id, or a unique prefix of it.
        path: The file.

    Raises:
        InputError: There is no such model, or the file cannot be read.
        NobodysFile: The file is no version of the model.
        VerificationFailed: A check fails, or the version is provisional or deprecated.
        ContentError: Bytes are unavailable, so that there is no verdict.
        ChainError: The node does not answer.
    """
    from registry.lineage.identify import FileName, identify
    from registry.verification.cache import VerificationCache
    from registry.verification.verify import verify_version

    of = find_model(session.reader, model)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a file to read, got {error.strerror or error}") from error
    with read_synced(session) as db, open_catalogue(session) as catalogue:
        found = identify(db, catalogue, FileName(None, hashlib.sha256(content).digest()))
    entry = chosen_version(str(path), found, model=of, strict=True)
    cache = VerificationCache(session.home / "verified")
    with tempfile.TemporaryDirectory(prefix="cairn-verify-") as folder:
        done = list(verify_version(session.reader, session.store, of, entry.digest, Path(folder), verified=cache))
    require_passed((f"version {short(one.step.digest)}", check) for one in done for check in one.checks)
    return content
