"""Files of a version that are made when a visitor asks: exports, bundles and inclusion proofs."""

from __future__ import annotations

import threading
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from registry.errors import InputError
from registry.explorer.export_files import MOST_VERSIONS, export_of, lineage_in_model
from registry.explorer.guards import attached, is_known, not_of_another_site
from registry.explorer.proving import MOST_BLOCKS, HeldFile, Prover
from registry.explorer.reading import NotThere, Shelf, hex_of
from registry.explorer.verifying import Busy
from registry.explorer.version_page import entry_of
from registry.index.entries import VersionEntry
from registry.types import Address

__all__ = ["Downloads"]

_EXPORTS_AT_ONCE = 2


class Downloads:
    """Endpoints over one shelf."""

    def __init__(self, shelf: Shelf, tag: Callable[[Request], str]) -> None:
        """Bind to a shelf.

        Args:
            shelf: What is read.
            tag: Returns the ETag of an address in the present state.
        """
        self._shelf, self._tag = shelf, tag
        self._free = threading.Semaphore(_EXPORTS_AT_ONCE)

    def export(self, request: Request) -> Response:
        """Answer with a version's export in a format."""
        headers = {"ETag": self._tag(request), "Cache-Control": "no-cache"}
        if is_known(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        if not self._free.acquire(blocking=False):
            raise Busy(f"{_EXPORTS_AT_ONCE} exports are being made, which is as many as may be: try again later")
        try:
            with self._shelf.reading() as reading:
                model = reading.model(request.path_params["model"])
                entry = entry_of(reading, model, request.path_params["version"])
                made = export_of(reading, entry, request.path_params["form"])
        finally:
            self._free.release()
        return Response(made.data, media_type=made.kind, headers={**headers, **attached(made.name)})

    def bundle(self, request: Request) -> Response:
        """Answer with a version's bundle; a question for its head alone has none made."""
        prover = self._prover(request)
        headers = {"ETag": self._tag(request), "Cache-Control": "no-cache"}
        if is_known(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        entry, block = self._bounded(request)
        kind = "application/vnd.ipld.car"
        if request.method == "HEAD":
            return _head(kind, {**headers, **attached("bundle.car")})
        held = prover.bundle(entry.model_id, entry.digest, block)
        name = f"bundle-block-{held.anchors[-1].number}.car"
        anchors = ", ".join(f"{one.number}:0x{one.hash.hex()}" for one in held.anchors)
        return _Sent(held, kind, {**headers, **attached(name), "Cairn-Anchors": anchors})

    def proof(self, request: Request) -> Response:
        """Answer with the proof that an account is in a version, or is not; none is made for a head alone."""
        prover = self._prover(request)
        participant = Address(hex_of(request.path_params["account"], 20, "participant's address"))
        headers = {"ETag": self._tag(request), "Cache-Control": "no-cache"}
        if is_known(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        kind, name = "application/vnd.ipld.dag-cbor", f"0x{participant.hex()}.inclusion"
        entry, _ = self._bounded(request)
        if request.method == "HEAD":
            return _head(kind, {**headers, **attached(name)})
        made = prover.proof(entry.model_id, entry.digest, participant)
        anchor = f"{made.anchor.number}:0x{made.anchor.hash.hex()}"
        return Response(made.data, media_type=kind, headers={**headers, **attached(name), "Cairn-Anchors": anchor})

    def _prover(self, request: Request) -> Prover:
        """Return what proves.

        Raises:
            HTTPException: A page of another site has a browser ask.
            NotThere: This explorer proves nothing.
        """
        if not not_of_another_site(request):
            raise HTTPException(403)
        if self._shelf.prover is None:
            raise NotThere("this explorer makes no bundles and proofs: the version's page shows the command")
        return self._shelf.prover

    def _bounded(self, request: Request) -> tuple[VersionEntry, int]:
        """Return the version and the last final block, if its lineage is short enough to have the node prove it.

        Raises:
            NotThere: There is no such version.
            InputError: Its lineage is too long.
        """
        path = request.path_params
        with self._shelf.reading() as reading:
            entry = entry_of(reading, reading.model(path["model"]), path["version"])
            if "account" in path and not entry.number:
                raise InputError(f"version {path['version']}: expected one that a round made, got one of its owner's")
            lineage = lineage_in_model(reading, entry)
            block = reading.as_of.block if reading.as_of.final is None else reading.as_of.final
        span = block - min(one.at.block for one in lineage)
        if "account" not in path and (len(lineage) > MOST_VERSIONS or span > MOST_BLOCKS):
            raise InputError(
                f"expected a lineage of at most {MOST_VERSIONS} versions within {MOST_BLOCKS} blocks, got "
                f"{len(lineage)} within {span}: "
                f"cairn bundle create 0x{entry.model_id.hex()}@0x{entry.digest.hex()} -o model.car"
            )
        return entry, block


class _Sent(StreamingResponse):
    """Sends a file, and closes it even if the reader leaves."""

    def __init__(self, held: HeldFile, kind: str, headers: dict[str, str]) -> None:
        super().__init__(held.pieces(), media_type=kind, headers={**headers, "Content-Length": str(held.size)})
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._held.close()


def _head(kind: str, headers: dict[str, str]) -> Response:
    found = Response(media_type=kind, headers=headers)
    del found.headers["Content-Length"]
    return found
