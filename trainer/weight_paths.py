"""Which files hold a model's weights: a file, all shards, those that an index names, or a folder of these. No torch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from registry.content.file_kinds import INDEX_OF_SHARDS, SNIFFED_BYTES, kind_of
from registry.errors import FormError, InputError

__all__ = ["files_of", "head_of"]

_SHARD = re.compile(r"(.+)-(\d{1,6})-of-(\d{1,6})(\.\w+)")
_FOLDER = ("*.safetensors.index.json", "*.safetensors", "*.bin.index.json", "*.bin", "*.pt", "*.pth", "*.ckpt",
           "*.onnx", "*.gguf")  # fmt: skip
"""What a folder's weights are, the first that is there."""


def files_of(paths: Sequence[Path]) -> list[Path]:
    """Return the files of weights that paths name.

    Args:
        paths: Files, indexes of shards, or folders.

    Raises:
        InputError: Nothing is there, a shard is missing, or a folder has no weights.
        FormError: An index is damaged.
    """
    files = [file for path in paths for file in _files_of(path)]
    _require_all_shards(files)
    return files


def head_of(path: Path) -> bytes:
    """Return a file's first bytes, to tell its kind."""
    with path.open("rb") as file:
        return file.read(SNIFFED_BYTES)


def _files_of(path: Path) -> list[Path]:
    if not path.exists():
        raise InputError(f"{path}: expected a file or folder of weights, found nothing there")
    if path.is_dir():
        for pattern in _FOLDER:
            found = sorted(path.glob(pattern))
            if found:
                return [file for one in found for file in _files_of(one)]
        raise InputError(f"{path}: expected a folder with weights ({', '.join(_FOLDER[1::2])}), found none")
    if kind_of(head_of(path)) is INDEX_OF_SHARDS:
        return _shards_of(path)
    return [path]


def _shards_of(index: Path) -> list[Path]:
    try:
        named = json.loads(index.read_text())["weight_map"]
        shards = sorted(set(named.values()))
    except (ValueError, AttributeError, TypeError) as error:
        raise FormError(f"{index}: expected an index with a weight_map of file names: {error}") from error
    for shard in shards:
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise FormError(f"{index}: expected the name of a file beside it, got {shard!r:.80}")
        if not (index.parent / shard).is_file():
            held = sum((index.parent / each).is_file() for each in shards)
            raise InputError(f"{index}: shard {shard} is missing: {held} of {len(shards)} shards are beside it")
    return [index.parent / shard for shard in shards]


def _require_all_shards(files: Iterable[Path]) -> None:
    """Refuse some shards of a model without the others.

    Raises:
        InputError: A file is named as one shard of several, and another is not given.
    """
    given = set(files)
    for file in sorted(given):
        found = _SHARD.fullmatch(file.name)
        if found is None:
            continue
        stem, width, count = found[1], len(found[2]), int(found[3])
        names = [f"{stem}-{number:0{width}}-of-{found[3]}{found[4]}" for number in range(1, count + 1)]
        missing = [name for name in names if file.with_name(name) not in given]
        if missing:
            raise InputError(
                f"{file}: is shard {int(found[2])} of {count}, and {missing[0]} is not given: expected all shards, "
                f"their index.json or the folder {file.parent}"
            )
