"""Publish an owner's files as a version, if participants can load them; refuse them before anything is sent otherwise.

What only changes a file's form is done here: the order of tensors, shards, a PyTorch state dict, tied tensors. What
changes tensors is left to `cairn model import`, which the refusal names.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registry.content.file_kinds import GGUF, ONNX, PICKLE, TORCH_FILE, kind_of
from registry.content.manifest import BaseFile, Statement, VersionManifest, manifest_cid
from registry.content.tensors import FLOATS, TensorHeader
from registry.errors import FormError, InputError
from registry.rounds.versions import add_version, load_version_manifest, read_header, save_arrays
from registry.store.base import ContentStore
from registry.store.blobs import file_header
from registry.types import Digest
from trainer.weight_paths import files_of, head_of

if TYPE_CHECKING:
    from torch import nn

    from trainer.found_weights import Change
    from trainer.imports import Imported

__all__ = ["OwnerFiles", "Parent", "parent_of", "publish_files"]

_POSITION_IDS = re.compile(r"(?:.*\.)?(?:position_ids|token_type_ids)")


@dataclass(frozen=True, slots=True)
class OwnerFiles:
    """Files that an owner publishes, and what the command line says of them.

    Attributes:
        paths: Files or folders of weights.
        module: The module that loads them; None if it is not given.
        place: Where the module comes from, for the remedy.
        without: Patterns for the module's tensors that are not shared.
        frozen: Names of floating tensors that are not F32.
    """

    paths: tuple[Path, ...]
    module: nn.Module | None = None
    place: str = ""
    without: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parent:
    """A version whose tensors the next one must have."""

    digest: Digest
    manifest: VersionManifest
    header: TensorHeader


def parent_of(store: ContentStore, digest: Digest) -> Parent:
    """Fetch a parent's manifest and header."""
    manifest = load_version_manifest(store, digest)
    return Parent(digest, manifest, read_header(store, manifest.weights.blob))


def publish_files(
    source: ContentStore,
    files: OwnerFiles,
    *,
    parent: Parent | None = None,
    base: BaseFile | None = None,
    statement: Statement | None = None,
) -> tuple[VersionManifest, tuple[Change, ...]]:
    """Publish files as a version.

    Args:
        source: The store to publish to.
        files: The files.
        parent: The version it descends from; it must have the same tensors, and its ties and frozen tensors stay.
        base: Frozen base weights.
        statement: The owner's statement.

    Returns:
        The version, and what was changed in the form of the files.

    Raises:
        FormError: A file is of another kind, damaged or cut short.
        InputError: No participant could load it: the message names a tensor and the remedy.
    """
    aliases = {} if parent is None else dict(parent.manifest.aliases)
    frozen = files.frozen or (() if parent is None else parent.manifest.frozen)
    header = _canonical(files)
    with tempfile.TemporaryDirectory(prefix="cairn-model-") as folder:
        changes: tuple[Change, ...] = ()
        file = files.paths[0]
        if header is None or files.module is not None:
            imported = _import(files)
            aliases |= imported.aliases
            changes = imported.changes
            if header is None or set(imported.arrays) != set(header.by_name()):
                file = Path(folder) / "version.safetensors"
                save_arrays(file, imported.arrays)
                header, _ = file_header(file)
        _require_trainable(files, header, frozen)
        if files.module is None and parent is None:
            _require_no_constants(files, header)
        if parent is not None:
            _require_tensors(files, header, parent)
        digest = None if parent is None else parent.digest
        made = add_version(source, file, parent=digest, aliases=aliases, frozen=frozen, base=base, statement=statement)
    return made, changes


def _canonical(files: OwnerFiles) -> TensorHeader | None:
    """Return the header of a single canonical file, which is published as it is; None for other files.

    Raises:
        InputError: A shard is missing, or nothing is there.
        FormError: It is a file of another kind, from which nothing is read.
    """
    found = files_of(files.paths)
    if found != list(files.paths) or len(found) != 1:
        return None
    kind = kind_of(head_of(found[0]))
    try:
        return file_header(found[0])[0]
    except FormError:
        if kind in (None, PICKLE, TORCH_FILE, ONNX, GGUF):
            return None
        raise


def _import(files: OwnerFiles) -> Imported:
    """Read files of another form.

    Raises:
        InputError: Their tensors would have to change.
    """
    try:
        from trainer.imports import import_weights
    except ModuleNotFoundError as error:
        raise InputError(
            f"{files.paths[0]}: reading weights that are no canonical safetensors needs {error.name}, which is not "
            "installed: pip install 'cairn-registry[train]', or in Cairn's checkout pip install -e '.[train]'"
        ) from error
    if files.frozen:
        raise InputError("expected --frozen with one canonical safetensors FILE and no --module")
    imported = import_weights(files.paths, files.module, without=files.without)
    for change in imported.changes:
        if change.alters:
            raise InputError(
                f"{imported.label}: no participant could load it as it is: it has to be {change}: {_remedy(files)}"
            )
    return imported


def _remedy(files: OwnerFiles) -> str:
    paths = " ".join(map(str, files.paths))
    module = f" --module {files.place}" if files.place else ""
    return f"`cairn model import {paths}{module} -o model.safetensors` does it, then register that"


# Refusals -----------------------------------------------------------------------------------------------------------


def _require_trainable(files: OwnerFiles, header: TensorHeader, frozen: Sequence[str]) -> None:
    """Refuse weights in other dtypes than F32, in which nothing can be trained.

    Raises:
        InputError: There is no F32 value, or a floating tensor of another dtype is not declared frozen.
    """
    label = files.paths[0]
    other = [spec for spec in header.specs if spec.dtype in FLOATS and spec.dtype != "F32" and spec.name not in frozen]
    if other:
        more = f" and {len(other) - 1} more" if len(other) > 1 else ""
        raise InputError(
            f"{label}: {other[0].name!r} is {other[0].dtype}{more}: rounds train F32 master weights: {_remedy(files)}, "
            f"or --frozen {other[0].name} leaves it untrained"
        )
    begin, end = header.range_of("F32")
    if begin == end:
        first = header.specs[0]
        raise InputError(
            f"{label}: expected F32 tensors, which rounds train, got none: {first.name!r} is {first.dtype}. Quantized "
            "weights cannot be trained: import those that they were made of with `cairn model import`"
        )


def _require_no_constants(files: OwnerFiles, header: TensorHeader) -> None:
    """Refuse constants of old checkpoints, which today's modules no longer keep in their state, unless a module does.

    Raises:
        InputError: There is an integer tensor named so.
    """
    for spec in header.specs:
        if spec.dtype not in FLOATS and _POSITION_IDS.fullmatch(spec.name):
            raise InputError(
                f"{files.paths[0]}: {spec.name!r} ({spec.dtype}) is a constant that modules of transformers 4.31 and "
                "later do not have, so none could load it: `cairn model import FILE --module PLACE:FUNCTION -o "
                "model.safetensors` drops it; if your module has it, register with --module"
            )


def _require_tensors(files: OwnerFiles, header: TensorHeader, parent: Parent) -> None:
    """Refuse a foreign architecture: a version has the tensors of its parent.

    Raises:
        InputError: A name, dtype or shape differs.
    """
    said = f"as version {manifest_cid(parent.digest)} has"
    ours, theirs = header.by_name(), parent.header.by_name()
    for name, spec in theirs.items():
        got = ours.get(name)
        if got is None or (got.dtype, got.shape) != (spec.dtype, spec.shape):
            came = "none" if got is None else f"{got.dtype} {list(got.shape)}"
            raise InputError(
                f"{files.paths[0]}: expected tensor {name!r} of {spec.dtype} {list(spec.shape)}, {said}, got {came}: "
                "participants could not load it. Another architecture is another model: `cairn model register`"
            )
    extra = [name for name in ours if name not in theirs]
    if extra:
        alias = parent.manifest.aliases.get(extra[0])
        why = f"it is tied to {alias!r}, which holds it" if alias else "participants could not load it"
        raise InputError(
            f"{files.paths[0]}: expected the tensors of its parent, {said}, got {extra[0]!r} too: {why}. "
            "`cairn model import FILE --module PLACE:FUNCTION -o model.safetensors` drops it"
        )
