"""`cairn cid`: compute the CIDs of files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from registry.cli.command import command, single
from registry.cli.local_files import pieces_of, size_of
from registry.cli.session import Session

app = single()


@command(app, "cid", example="cairn cid model.safetensors\ncairn cid --tensors delta.safetensors --json")
def cid(
    session: Session,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files; - reads standard input.")],
    tensors: Annotated[
        bool, typer.Option("--tensors", help="Check that they are canonical safetensors; show tensor root and sha256.")
    ] = False,
) -> None:
    """Print the CID of files, as `ipfs add` would name them under its unixfs-v1-2025 profile.

    Nothing is stored or sent. With --tensors the file must be a canonical safetensors file.
    """
    sizes = [size_of(path) for path in files]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    found = []
    with session.out.progress("Hashing", total) as done:
        for path in files:
            found.append(_named(path, tensors, done))
            if not session.out.as_json:
                _show(session, found[-1], tensors)
    if session.out.as_json:
        session.out.result(found)


def _named(path: Path, tensors: bool, done: Any) -> dict[str, object]:
    if tensors:
        from registry.content.gate import describe
        from registry.store.blobs import blamed_on

        with blamed_on(path):
            facts = describe(pieces_of(path, done), workers=1)
        return {
            "file": path,
            "cid": facts.cid,
            "size": facts.size,
            "sha256": facts.sha256.hex() if facts.sha256 else None,
            "tensor_root": facts.tensor_root,
        }
    from registry.content.unixfs import blob_of

    blob = blob_of(pieces_of(path, done), workers=1)
    return {"file": path, "cid": blob.cid, "size": blob.size}


def _show(session: Session, entry: dict[str, object], tensors: bool) -> None:
    session.out.line(f"{entry['cid']}  {entry['file']}")
    if tensors:
        root = entry["tensor_root"]
        session.out.fields({"sha256": entry["sha256"], "tensor_root": root, "size": entry["size"]}, indent=2)
