"""Write an export's files: a single file or a folder, whole or not at all; weights and bundles are streamed."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from registry.cli.local_files import pieces_of, told, write_whole
from registry.errors import InputError, VerificationFailed

if TYPE_CHECKING:
    from registry.cli.session import Session
    from registry.content.manifest import VersionManifest
    from registry.exports.model_folder import Content

__all__ = ["given_files", "verified_weights", "write_export"]

_MAX_CONFIG = 1 << 20


def given_files(config: Path | None, adapter: Path | None, bundle: Path | None) -> dict[str, Content]:
    """Return the files that the user gives, by their name in the export.

    Args:
        config: A model's config.json.
        adapter: A folder of `cairn model pull --as peft`.
        bundle: A bundle of `cairn bundle create`.

    Raises:
        InputError: One is missing or too large.
    """
    found: dict[str, Content] = {}
    named = [("config.json", config)]
    if adapter is not None:
        named.append(("adapter_config.json", adapter / "adapter_config.json"))
        found["adapter_model.safetensors"] = _there(adapter / "adapter_model.safetensors")
    for name, path in named:
        if path is not None:
            if _there(path).stat().st_size > _MAX_CONFIG:
                raise InputError(f"{path}: expected at most {_MAX_CONFIG} bytes")
            found[name] = path.read_bytes()
    if bundle is not None:
        found["bundle.car"] = _there(bundle)
    return found


def write_export(
    files: Mapping[str, Content],
    output: Path,
    pieces: Callable[[], Iterator[bytes]],
) -> int:
    """Write an export; return its size in bytes.

    Args:
        files: Its files by name; a single file has the empty name.
        output: Where: a file, or a folder that does not exist yet or is empty.
        pieces: Yields the version's weights, verified at the end.

    Raises:
        InputError: The folder is there and not empty, or its parent is not.
    """
    if "" in files:
        if output.is_dir():
            raise InputError(f"{output}: expected a file, got a folder")
        return write_whole(_pieces(files[""], pieces), output)
    with _whole_folder(output) as partial:
        return sum(write_whole(_pieces(content, pieces), partial / name) for name, content in files.items())


def verified_weights(
    session: Session, manifest: VersionManifest, local: Path | None, done: Callable[[int], None]
) -> Iterator[bytes]:
    """Yield a version's weights from a local file or the store, checking them against the manifest.

    Raises:
        VerificationFailed: They are not the version's; raised at the end.
    """
    from registry.rounds.versions import read_version

    if local is None:
        yield from told(read_version(session.store, manifest), done)
        return
    digest = hashlib.sha256()
    for piece in pieces_of(_there(local), done):
        digest.update(piece)
        yield piece
    if digest.digest() != manifest.weights.sha256:
        expected = manifest.weights.sha256.hex()
        raise VerificationFailed(f"{local}: expected sha256 {expected}, got {digest.hexdigest()}")


def _pieces(content: Content, weights: Callable[[], Iterator[bytes]]) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
    elif isinstance(content, Path):
        yield from pieces_of(content)
    else:
        yield from weights()


@contextmanager
def _whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes path on success and is deleted on error."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path}: expected no such folder or an empty one")
    try:
        partial = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        yield partial
        partial.chmod(0o755)
        if path.exists():
            path.rmdir()
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _there(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path}: expected a file, found none")
    return path
