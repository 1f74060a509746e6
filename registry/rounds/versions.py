"""Versions: verified reader, and writer for versions that an owner publishes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from registry.chain.contract_hashes import roots_hash
from registry.chain.contract_structs import Roots
from registry.content.gate import Gate, describe
from registry.content.manifest import (
    BaseFile,
    Statement,
    VersionFile,
    VersionManifest,
    manifest_cid,
)
from registry.content.tensors import FLOATS, TensorHeader, header_length, parse_header, write_tensors
from registry.errors import BlockNotFound, FormError, InputError, StoreUnavailable, VerificationFailed
from registry.rounds.base_folders import base_sha256, folder_list, list_difference
from registry.rounds.onchain import RoundRecord
from registry.store.base import ContentStore
from registry.store.blobs import add_blob, add_file, blamed_on, file_pieces, open_blob
from registry.store.manifests import get_manifest, put_manifest
from registry.types import MAX_MANIFEST_BYTES, Blob, Digest, Root

__all__ = [
    "NUMPY_NAMES",
    "NUMPY_TYPES",
    "add_base",
    "add_version",
    "arrays_in",
    "load_parent",
    "load_version_manifest",
    "read_arrays",
    "read_header",
    "read_version",
    "require_base",
    "roots_of",
    "save_arrays",
    "sha256_of",
]

Array = npt.NDArray[np.generic]

NUMPY_TYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F16": np.dtype("<f2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
}
NUMPY_NAMES = {dtype: name for name, dtype in NUMPY_TYPES.items()}


def load_version_manifest(store: ContentStore, digest: bytes) -> VersionManifest:
    """Fetch the manifest of a version."""
    return get_manifest(store, digest, VersionManifest)


def load_parent(store: ContentStore, record: RoundRecord) -> VersionManifest:
    """Fetch the manifest of a round's parent.

    Raises:
        VerificationFailed: Its roots differ from the anchored ones. An owner can publish such a version; whoever
            attests a version built on it can be convicted.
    """
    parent = load_version_manifest(store, record.parent)
    if roots_hash(roots_of(parent)) != record.parent_roots:
        raise VerificationFailed(
            f"parent 0x{record.parent.hex()}: anchored with roots of hash 0x{record.parent_roots.hex()}, "
            f"its manifest has others: tensor root 0x{parent.tensor_root.hex()}, rest 0x{parent.rest_root.hex()}"
        )
    return parent


def roots_of(version: VersionManifest) -> Roots:
    """Return the roots whose hash is anchored."""
    roots = Roots(Root(version.tensor_root), Root(version.rest_root))
    if version.state is None:
        return roots
    return replace(roots, state=Root(version.state.root), state_layout=version.state.layout, step=version.state.step)


def read_header(store: ContentStore, blob: Blob) -> TensorHeader:
    """Return the header of a stored safetensors file, fetching only the blocks that hold it.

    Raises:
        FormError: It is not canonical. A length over the limit is rejected before any memory is allocated for it.
    """
    prefix = b""
    for piece in open_blob(store, blob):
        prefix += piece
        if len(prefix) >= 8 and len(prefix) >= header_length(prefix, blob.size):
            break
    return parse_header(prefix, blob.size)


def read_version(store: ContentStore, version: VersionManifest) -> Iterator[bytes]:
    """Yield a version's file, checking form and values while streaming, and hashes against the manifest at the end.

    Raises:
        FormError: It is not a canonical file, or an alias shadows a stored tensor or points to none.
        VerificationFailed: Its size, sha256 or a root differs from the manifest.
    """
    gate = Gate()
    yield from (bytes(piece) for piece in gate.watch(open_blob(store, version.weights.blob)))
    facts = gate.finish(version.weights.cid)
    for name, said, found in (
        ("size", version.weights.size, facts.size),
        ("sha256", version.weights.sha256, facts.sha256),
        ("tensor root", version.tensor_root, facts.tensor_root),
        ("rest root", version.rest_root, facts.rest_root),
    ):
        if said != found:
            raise VerificationFailed(f"version: the manifest has {name} {said!r}, its file {found!r}")
    _check_aliases(facts.header, version.aliases)
    _check_types(facts.header, version.frozen)


def _check_types(header: TensorHeader, frozen: Sequence[str]) -> None:
    """Reject a file without trainable values, or with floating tensors that rounds would silently not train."""
    begin, end = header.range_of("F32")
    if begin == end:
        raise FormError("version: expected one or more F32 values, which rounds train, got none")
    other = [spec.name for spec in header.specs if spec.dtype in FLOATS and spec.dtype != "F32"]
    if sorted(other) != list(frozen):
        undeclared = sorted(set(other) ^ set(frozen))
        raise FormError(
            f"version: expected floating tensors that are not F32 to be declared frozen, and no others, "
            f"got {undeclared[0]!r}"
        )


def _check_aliases(header: TensorHeader, aliases: Mapping[str, str]) -> None:
    """Reject aliases that could hide or swap stored tensors: each must be a new name of a stored tensor."""
    names = header.by_name()
    for alias, name in aliases.items():
        if name not in names or alias in names:
            raise FormError(f"aliases: expected {alias!r} to be another name of a stored tensor, got {name!r}")


def read_arrays(store: ContentStore, version: VersionManifest) -> dict[str, Array]:
    """Return a version's tensors by name, verified as `read_version`. Holds them all in memory.

    Raises:
        InputError: A tensor is BF16, which numpy does not support.
    """
    return arrays_in(b"".join(read_version(store, version)))


def save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays as a canonical safetensors file, for publication as a version.

    Raises:
        InputError: An array has a dtype that safetensors does not support.
    """
    tensors = {}
    for name, array in arrays.items():
        dtype = array.dtype.newbyteorder("<") if array.dtype.itemsize > 1 else array.dtype
        if dtype not in NUMPY_NAMES:
            raise InputError(f"{name}: expected a dtype of {', '.join(NUMPY_TYPES)}, got {array.dtype}")
        tensors[name] = (NUMPY_NAMES[dtype], array.shape, np.ascontiguousarray(array, dtype=dtype).reshape(array.shape))
    with path.open("wb") as file:
        for piece in write_tensors(tensors):
            file.write(piece)


def arrays_in(data: bytes) -> dict[str, Array]:
    """Return the tensors of a canonical safetensors file by name, as views of its bytes.

    Raises:
        FormError: It is not a canonical file.
        InputError: A tensor is BF16, which numpy does not support.
    """
    header = parse_header(data, len(data))
    for spec in header.specs:
        if spec.dtype not in NUMPY_TYPES:
            raise InputError(f"{spec.name}: expected a dtype of {', '.join(NUMPY_TYPES)}, got {spec.dtype}")
    body = memoryview(data)[header.header_bytes :]
    return {
        spec.name: np.frombuffer(body[spec.begin : spec.end], dtype=NUMPY_TYPES[spec.dtype]).reshape(spec.shape)
        for spec in header.specs
    }


def add_base(store: ContentStore, path: Path, *, licence: str, origin: str) -> BaseFile:
    """Store and pin the frozen base of versions: a file's bytes, or the list of a folder's files without their bytes.

    Args:
        store: Destination.
        path: A file, such as a language model's weights, or a folder as `save_pretrained` writes it.
        licence: SPDX licence expression.
        origin: Source of the file or folder.

    Raises:
        InputError: The folder has no weights.
    """
    blob = add_blob(store, [folder_list(path)] if path.is_dir() else file_pieces(path))
    store.pin(blob.cid)
    return BaseFile(blob.cid, blob.size, base_sha256(path), licence, origin)


def require_base(version: VersionManifest, path: Path | None, store: ContentStore | None = None) -> None:
    """Check that the local frozen weights are the base of a version.

    Args:
        version: The version.
        path: Local file or folder of frozen weights; None if there is none.
        store: Where the list of a folder's files is, to say which one differs.

    Raises:
        InputError: The version has another base or none, or the local file is missing.
    """
    base = version.base
    if base is None and path is None:
        return
    if base is None:
        raise InputError(f"base: expected a version that stands on {path}, got one without a base")
    kind = "files whose list has the" if path is not None and path.is_dir() else "the file of"
    wanted = f"{kind} sha256 {base.sha256.hex()} that the version stands on, from {base.origin or 'its owner'}"
    if path is None:
        raise InputError(f"base: expected {wanted}, got none")
    if not path.exists():
        raise InputError(f"base: expected {wanted}, but there is no file or folder {path}")
    if (found := base_sha256(path)) != base.sha256:
        differs = _difference(store, base, path) if store is not None and path.is_dir() else ""
        raise InputError(f"base: expected {wanted}, got {path} of sha256 {found.hex()}{differs}")


def _difference(store: ContentStore, base: BaseFile, folder: Path) -> str:
    """Return which file of a folder is not the base's, for a message; nothing if the base's list is out of reach."""
    if base.size > MAX_MANIFEST_BYTES:
        return ": the version stands on one file, not on a folder"
    try:
        expected = b"".join(open_blob(store, Blob(base.cid, base.size)))
    except (BlockNotFound, StoreUnavailable):
        return ""
    return f": {list_difference(expected, folder)}"


def sha256_of(path: Path) -> bytes:
    """Return a file's sha2-256, read in pieces."""
    hasher = hashlib.sha256()
    for piece in file_pieces(path):
        hasher.update(piece)
    return hasher.digest()


def add_version(
    store: ContentStore,
    path: Path,
    *,
    parent: Digest | None = None,
    aliases: Mapping[str, str] | None = None,
    frozen: Sequence[str] = (),
    base: BaseFile | None = None,
    statement: Statement | None = None,
) -> VersionManifest:
    """Store and pin a version that an owner publishes.

    Args:
        store: Destination.
        path: A canonical safetensors file.
        parent: The parent version; None for a genesis without parent.
        aliases: Maps names of tied tensors to the name they are stored under.
        frozen: Names of floating tensors that are not F32, which rounds do not change.
        base: Frozen base weights.
        statement: The owner's model card.

    Raises:
        FormError: The file is not canonical, an alias is dangling, or a floating tensor is neither trained nor
            declared frozen.
    """
    with blamed_on(path):
        facts = describe(file_pieces(path))
    assert facts.cid is not None and facts.sha256 is not None
    assert facts.tensor_root is not None and facts.rest_root is not None
    _check_aliases(facts.header, aliases or {})
    _check_types(facts.header, sorted(frozen))
    manifest = VersionManifest(
        parent=None if parent is None else manifest_cid(parent),
        weights=VersionFile(facts.cid, facts.size, facts.sha256),
        tensor_root=facts.tensor_root,
        rest_root=facts.rest_root,
        state=None,
        base=base,
        frozen=tuple(sorted(frozen)),
        aliases=dict(aliases or {}),
        round=None,
        statement=statement,
    )
    if not add_file(store, path, manifest.weights.blob):
        raise FormError(f"{path}: changed while it was read")
    store.pin(manifest.weights.cid)
    put_manifest(store, manifest)
    return manifest
