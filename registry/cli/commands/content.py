"""`cairn store …`: put, get, pin and check content by CID."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.command import Need, command, group
from registry.cli.local_files import pieces_of, size_of, told, write_whole
from registry.cli.session import Session
from registry.errors import BlockNotFound, InputError, VerificationFailed

if TYPE_CHECKING:
    from registry.content.manifest import Manifest
    from registry.store.base import ContentStore
    from registry.types import Blob, Cid

app = group("Put, get, pin and check content. Every block is hashed on reading, whoever served it.")

CidText = Annotated[str, typer.Argument(metavar="CID", help="A CID, or a unique prefix of a pinned one.")]
Out = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Output file; default standard output.")
]


@command(app, "add", needs=Need.STORE, example="cairn store add model.safetensors")
def add(
    session: Session,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files; - reads standard input.")],
    pin: Annotated[bool, typer.Option("--pin/--no-pin", help="Pin them.")] = True,
) -> None:
    """Put files into the store, and pin them."""
    from registry.store.blobs import add_blob

    sizes = [size_of(path) for path in files]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    found = []
    with session.out.progress("Adding", total) as done:
        for path in files:
            blob = add_blob(session.store, pieces_of(path, done))
            if pin:
                session.store.pin(blob.cid)
            found.append({"file": path, "cid": blob.cid, "size": blob.size, "pinned": pin})
            session.out.line(f"{blob.cid}  {path}")
    if session.out.as_json:
        session.out.result(found)


@command(
    app,
    "get",
    needs=Need.STORE,
    example="cairn store get bafybei… -o model.safetensors\ncairn store get bafyrei…",
)
def get(
    session: Session,
    cid: CidText,
    output: Out = None,
    raw: Annotated[bool, typer.Option("--raw", help="Print a manifest's encoded bytes, not JSON.")] = False,
) -> None:
    """Fetch and verify a file or a manifest. Manifests print as JSON, a head as its manifest."""
    from registry.store.blobs import open_blob
    from registry.types import Codec

    found = find_cid(session.store, cid)
    if found.codec is Codec.DAG_CBOR:
        data = session.store.get(found)
        if not raw:
            manifest, _ = _manifest_of(session.store, data)
            session.out.as_json = True
            session.out.result({"kind": manifest.KIND, **_fields(manifest)})
            return
        write_whole([data], output)
        return
    blob = _blob(session.store, found)
    with session.out.progress("Fetching", blob.size) as done:
        write_whole(told(open_blob(session.store, blob), done), output)
    if output is not None:
        session.out.result({"cid": found, "size": blob.size, "file": output})


@command(app, "stat", needs=Need.STORE, example="cairn store stat bafybei…")
def stat(session: Session, cid: CidText) -> None:
    """Show a CID's kind, size and number of blocks, and whether it is complete here and pinned."""
    from registry.store.links import reachable
    from registry.types import Codec

    store = session.store
    found = find_cid(store, cid)
    kept = dict(store.pins())
    facts: dict[str, object] = {
        "cid": found,
        "codec": found.codec.name.lower().replace("_", "-"),
        "sha256": found.digest.hex(),
        "here": store.has(found),
        "pinned": {True: "recursive", False: "direct", None: "no"}[kept.get(found)],
    }
    if found.codec is Codec.DAG_CBOR:
        data = store.get(found)
        manifest, is_head = _manifest_of(store, data)
        facts |= {"kind": f"head of {manifest.KIND}" if is_head else manifest.KIND, "size": len(data)}
    else:
        facts["size"] = _blob(store, found).size
        blocks = list(reachable(store.get, found))
        here = sum(store.has(block) for block in blocks)
        facts |= {"blocks": len(blocks), "blocks here": here}
    session.out.result(facts)


@command(app, "pin", needs=Need.STORE, example="cairn store pin bafybei…")
def pin(
    session: Session,
    cid: CidText,
    direct: Annotated[bool, typer.Option("--direct", help="Pin the block alone, not its links.")] = False,
) -> None:
    """Pin a CID and everything it links to, fetching missing blocks."""
    found = find_cid(session.store, cid)
    with session.out.waiting("Pinning"):
        session.store.pin(found, recursive=not direct)
    session.out.result({"cid": found, "pinned": "direct" if direct else "recursive"})


@command(app, "unpin", needs=Need.STORE, example="cairn store unpin bafybei…")
def unpin(session: Session, cid: CidText) -> None:
    """Unpin a CID; the next `gc` may delete it."""
    found = find_cid(session.store, cid)
    if found not in dict(session.store.pins()):
        raise BlockNotFound(f"{found} is not pinned here")
    session.store.unpin(found)
    session.out.result({"cid": found, "pinned": "no"})


@command(app, "pins", needs=Need.STORE, example="cairn store pins")
def pins(session: Session) -> None:
    """List what is pinned."""
    found = [{"cid": cid, "pinned": "recursive" if whole else "direct"} for cid, whole in session.store.pins()]
    rows = [(entry["cid"], entry["pinned"]) for entry in found]
    session.out.result(found, lambda: session.out.table(("cid", "pinned"), rows, empty="Nothing is pinned."))


@command(app, "fsck", needs=Need.STORE | Need.HOME, example="cairn store fsck")
def fsck(session: Session) -> None:
    """Hash every block of the folder and walk every pin; damaged blocks are quarantined."""
    from registry.cli.open_store import open_local
    from registry.store.retention import check

    store = open_local(session.settings)
    with session.out.waiting(f"Checking {store.root}"):
        health = check(store)
    session.out.result({"store": store.root, "sound": health.sound, **_fields(health)})
    if not health.sound:
        raise VerificationFailed(
            f"{store.root}: {len(health.damaged)} damaged blocks and {len(health.missing)} incomplete pins"
        )


@command(app, "gc", needs=Need.STORE | Need.HOME, example="cairn store gc --dry-run")
def gc(
    session: Session,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing; show what would be deleted.")] = False,
    grace: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Keep younger blocks.")] = 3600.0,
) -> None:
    """Delete unpinned blocks of the folder."""
    from registry.cli.open_store import open_local
    from registry.store.retention import collect, usage

    store = open_local(session.settings)
    found = usage(store, grace=grace) if dry_run else collect(store, grace=grace)
    session.out.result(
        {"store": store.root, "deleted": not dry_run, **_fields(found)},
        lambda: session.out.table(
            ("", "blocks", "bytes"),
            [
                ("pinned", found.pinned_blocks, _bytes(found.pinned_bytes)),
                ("young, kept", found.young_blocks, _bytes(found.young_bytes)),
                ("would go" if dry_run else "deleted", found.loose_blocks, _bytes(found.loose_bytes)),
            ],
            right=("blocks", "bytes"),
        ),
    )


@command(app, "export", needs=Need.STORE, example="cairn store export bafyrei… -o lineage.car")
def export(session: Session, cid: CidText, output: Out = None) -> None:
    """Write a CID and everything it links to as a CAR, which `ipfs dag import` reads."""
    from registry.content.car import write_car

    store = session.store
    found = find_cid(store, cid)
    with session.out.progress("Exporting", None) as done:
        size = write_whole(told(write_car(found, _blocks(store, found)), done), output)
    if output is not None:
        session.out.result({"root": found, "size": size, "file": output})


@command(app, "import", needs=Need.STORE, example="cairn store import lineage.car")
def import_car(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="CAR", help="A CARv1 file; - reads standard input.")],
    pin: Annotated[bool, typer.Option("--pin/--no-pin", help="Pin its root.")] = True,
) -> None:
    """Import the blocks of a CAR into the store, hashing each, and pin its root."""
    from registry.content.car import read_car

    with session.out.progress("Importing", size_of(file)) as done:
        root, blocks = read_car(pieces_of(file, done))
        session.store.put_many(blocks)
    if pin:
        session.store.pin(root)
    session.out.result({"root": root, "pinned": pin})


def find_cid(store: ContentStore, text: str) -> Cid:
    """Parse a CID, or resolve a unique prefix of a pinned one.

    Raises:
        InputError: The text is neither.
    """
    from registry.cli.prefixes import choose
    from registry.content.cid import parse_cid
    from registry.content.copied_cids import copied_cid

    text = copied_cid(text)
    if len(text) >= 59 or not text.startswith("b"):
        return parse_cid(text)
    return choose(text, {str(cid): cid for cid, _ in store.pins()}, "pinned CID")


def _manifest_of(store: ContentStore, data: bytes) -> tuple[Manifest, bool]:
    """Return a block's manifest, or the manifest that it is the head of, and whether it is a head."""
    from registry.content.heads import read_head
    from registry.content.manifest import decode_any
    from registry.errors import FormError

    body = read_head(data)
    try:
        return decode_any(data if body is None else store.get(body)), body is not None
    except FormError as error:
        raise FormError(
            f"expected the block of a manifest, got another DAG-CBOR block: {error}; --raw prints its bytes, and the "
            "root of a bundle is read with `cairn bundle verify` from its CAR file"
        ) from error


def _blob(store: ContentStore, cid: Cid) -> Blob:
    """Return a file's CID with its size, read from its root block."""
    from registry.content.unixfs import parse_node
    from registry.types import Blob, Codec

    data = store.get(cid)
    if cid.codec is Codec.RAW:
        return Blob(cid, len(data))
    return Blob(cid, sum(link.size for link in parse_node(data)))


def _blocks(store: ContentStore, root: Cid) -> Iterator[tuple[Cid, bytes]]:
    from registry.store.blobs import walk_blob
    from registry.store.links import reachable
    from registry.types import Codec

    if root.codec is not Codec.DAG_CBOR:
        yield from walk_blob(store, _blob(store, root))
        return
    for cid in reachable(store.get, root):
        yield cid, store.get(cid)


def _fields(record: object) -> dict[str, object]:
    import dataclasses

    if not dataclasses.is_dataclass(record):
        raise InputError(f"expected a record, got {type(record).__name__}")
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def _bytes(count: int) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count = count / 1000  # type: ignore[assignment]
    return f"{count} B"
