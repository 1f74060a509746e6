"""A frozen base that is a folder, as `save_pretrained` writes one: the list of its files' digests, and what differs.

The list stands for the folder: `sha256sum -c` reads it, its own digest is in the version's manifest, and only the list
goes to the store. So weights that may not be passed on stay where they are.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from registry.errors import InputError
from registry.store.blobs import file_pieces

__all__ = ["base_sha256", "folder_list", "list_difference"]

_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
"""What a folder's weights are, the first that is there; models prefer safetensors likewise."""
_LINE = re.compile(r"([0-9a-f]{64})  ([^/\\\0]+)")


def folder_list(folder: Path) -> bytes:
    """Return the list of a folder's model files: a line a file as of `sha256sum`, ascending by name.

    Listed are all weights, the index of their shards, and `config.json`, which says how the weights are used. Tokenizer
    and model card are not: a plan names a tokenizer by a digest of its own.

    Raises:
        InputError: The folder has no weights, or a name with a line break.
    """
    weights = next((found for pattern in _WEIGHTS if (found := sorted(folder.glob(pattern)))), [])
    if not weights:
        raise InputError(f"{folder}: expected a folder with weights ({', '.join(_WEIGHTS)}), found none")
    index = weights[0].suffix + ".index.json"
    files = [*weights, *(file for file in folder.glob("*.json") if file.name.endswith(index))]
    files += [file for file in (folder / "config.json",) if file.is_file()]
    names = sorted(file.name for file in files)
    if any(not name.isprintable() for name in names):
        raise InputError(f"{folder}: expected printable names of files, got {names}")
    return "".join(f"{_sha256(folder / name)}  {name}\n" for name in names).encode()


def base_sha256(path: Path) -> bytes:
    """Return the sha2-256 that names a base: of a file, or of a folder's list."""
    return hashlib.sha256(folder_list(path)).digest() if path.is_dir() else bytes.fromhex(_sha256(path))


def list_difference(expected: bytes, folder: Path) -> str:
    """Return what differs first between a base's list and a folder, for a message.

    Args:
        expected: The bytes that the version names; those of another file if its base is no folder.
        folder: The local folder.
    """
    found, wanted = _parsed(folder_list(folder)), _parsed(expected)
    if not wanted:
        return "the version stands on one file, not on a folder"
    for name in sorted({*found, *wanted}):
        if found.get(name) != wanted.get(name):
            digests = (f"sha256 {one.get(name)}" if name in one else "no such file" for one in (wanted, found))
            return "{}: expected {}, found {}".format(name, *digests)
    return "the lists are equal"


def _parsed(text: bytes) -> dict[str, str]:
    """Return sha2-256 by name; nothing for what is no such list."""
    lines = text.decode(errors="replace").split("\n")[:-1]
    rows = [_LINE.fullmatch(line) for line in lines]
    return {} if not all(rows) else {row[2]: row[1] for row in rows if row}


def _sha256(path: Path) -> str:
    hasher = hashlib.sha256()
    for piece in file_pieces(path):
        hasher.update(piece)
    return hasher.hexdigest()
