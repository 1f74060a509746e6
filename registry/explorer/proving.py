"""Bundles and inclusion proofs for visitors: one of each at a time, bounded in time and size, in unnamed files."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, TypeVar

from registry.bundles.create_bundle import gather_bundle
from registry.bundles.inclusion import create_inclusion_proof
from registry.content.car import write_car
from registry.content.manifest import encode
from registry.content.proof_manifests import InclusionProofManifest
from registry.errors import CairnError, InputError
from registry.ethereum.blocks import Checkpoint
from registry.ethereum.headers import decode_header
from registry.ethereum.node import bound_time
from registry.explorer.verifying import Busy
from registry.store.limited import LimitedStore
from registry.types import Address, Digest, ModelId

if TYPE_CHECKING:
    from registry.chain.client import Client
    from registry.store.base import ContentStore

__all__ = ["MOST_BLOCKS", "HeldFile", "Proof", "Prover", "Unproved"]

T = TypeVar("T")
log = logging.getLogger(__name__)

MOST_BLOCKS = 50_000
"""Blocks from a lineage's beginning to the last one up to which it is bundled for visitors: some 30 MB of headers."""
_PIECE = 1 << 18


class Unproved(CairnError):
    """Node and store did not give a proof."""


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A bundle for one reader, who closes it.

    Attributes:
        size: Bytes.
        anchors: Blocks whose hashes a verifier must trust.
    """

    file: IO[bytes]
    size: int
    anchors: tuple[Checkpoint, ...]
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes; ends early if it is closed meanwhile."""
        at = 0
        while at < self.size:
            with self._reading:  # not closed in between: another file may get its number
                piece = b"" if self.file.closed else os.pread(self.file.fileno(), _PIECE, at)
            if not piece:
                return
            at += len(piece)
            yield piece

    def close(self) -> None:
        """Close it."""
        with self._reading:
            self.file.close()


@dataclass(frozen=True, slots=True)
class Proof:
    """An inclusion or exclusion proof, with the block whose hash a verifier must trust."""

    data: bytes
    anchor: Checkpoint


@dataclass(frozen=True, slots=True)
class _Built:
    file: IO[bytes]
    size: int
    anchors: tuple[Checkpoint, ...]


class Prover:
    """Makes bundles and inclusion proofs; shared by threads.

    Files have no name, so nothing is left behind whichever way the process ends.
    """

    def __init__(
        self,
        client: Client,
        store: ContentStore,
        *,
        seconds: float = 120.0,
        most: int = 64 << 20,
        kept: int = 4,
    ) -> None:
        """Bind to chain and store.

        Args:
            client: Asked for bundles and proofs alone.
            store: Of the lineage's manifests.
            seconds: Time from when no further request is made for a file.
            most: Bytes of a bundle.
            kept: Bundles that are kept, the newest.
        """
        self._client, self._store = client, store
        self._seconds, self._most, self._kept = seconds, most, kept
        self._bundling, self._proving, self._lock = threading.Lock(), threading.Lock(), threading.Lock()
        self._built: OrderedDict[tuple[ModelId, Digest], tuple[int, _Built]] = OrderedDict()

    def bundle(self, model: ModelId, version: Digest, block: int) -> HeldFile:
        """Return the bundle of a version, without the files of its rounds.

        Args:
            model: The model.
            version: The version.
            block: The last final block that the index knows; a bundle made since is given again.

        Raises:
            Busy: Another one is being made.
            InputError: The version is in no final block.
            Unproved: Node or store did not give it, not in time, or it is too large.
        """
        if (found := self._find(model, version, block)) is not None:
            return found
        with _alone(self._bundling, "a bundle"):
            if (found := self._find(model, version, block)) is not None:
                return found
            built = self._made(lambda store: self._written(store, model, version))
            with self._lock:
                self._drop((model, version))
                self._built[model, version] = block, built
                while len(self._built) > self._kept:
                    self._drop(next(iter(self._built)))
                return _held(built)

    def proof(self, model: ModelId, version: Digest, participant: Address) -> Proof:
        """Return the proof that a participant is in a version, or is not.

        Raises:
            Busy: Another one is being made.
            InputError: The version is in no final block, or no round made it.
            Unproved: Node or store did not give it, or not in time.
        """

        def made(store: ContentStore) -> InclusionProofManifest:
            return create_inclusion_proof(self._client, store, model, version, participant)

        with _alone(self._proving, "an inclusion proof"):
            proof = self._made(made)
        assert proof.header is not None  # create_inclusion_proof sets it
        header = decode_header(proof.header)
        return Proof(encode(proof), Checkpoint(header.number, header.hash))

    def close(self) -> None:
        """Forget all bundles."""
        with self._lock:
            for key in list(self._built):
                self._drop(key)

    def _find(self, model: ModelId, version: Digest, block: int) -> HeldFile | None:
        with self._lock:
            found = self._built.get((model, version))
            return _held(found[1]) if found is not None and found[0] == block else None

    def _drop(self, key: tuple[ModelId, Digest]) -> None:
        found = self._built.pop(key, None)
        if found is not None:
            found[1].file.close()

    def _written(self, store: ContentStore, model: ModelId, version: Digest) -> _Built:
        bundle = gather_bundle(self._client, store, model, version)
        with contextlib.ExitStack() as held:
            file = held.enter_context(tempfile.TemporaryFile(prefix="cairn-bundle-"))
            size = 0
            for piece in write_car(bundle.root, bundle.blocks):
                size += len(piece)
                if size > self._most:
                    raise Unproved(f"the bundle is larger than {self._most} bytes: make it by `cairn bundle create`")
                file.write(piece)
            file.flush()
            held.pop_all()
        return _Built(file, size, bundle.anchors)

    def _made(self, make: Callable[[ContentStore], T]) -> T:
        try:
            with bound_time(self._seconds):
                return make(LimitedStore(self._store, self._seconds))
        except (InputError, Unproved):
            raise
        except Exception as error:
            log.warning("a proof was not made: %s: %s", type(error).__name__, error)  # it may name hosts
            raise Unproved(
                f"node and store did not give the proof within {self._seconds:.0f} s ({type(error).__name__}): the "
                "explorer's log says more; the command has no such limit"
            ) from error


@contextlib.contextmanager
def _alone(lock: threading.Lock, what: str) -> Iterator[None]:
    if not lock.acquire(blocking=False):
        raise Busy(f"{what} is being made, which is as many as may be at once: try again later")
    try:
        yield
    finally:
        lock.release()


def _held(built: _Built) -> HeldFile:
    return HeldFile(os.fdopen(os.dup(built.file.fileno()), "rb", buffering=0), built.size, built.anchors)
