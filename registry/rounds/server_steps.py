"""Server optimizer step: computes the next version's file and state from parent, state and aggregate.

Files are streamed: memory is a few pieces, independent of the model's size. Coordinates are the version's F32 values,
in file order; the state file holds all states of a coordinate, then those of the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from registry.content.manifest import StateFile, VersionManifest
from registry.content.merkle import TensorRootHasher, state_rows
from registry.content.segments import Segment
from registry.content.tensors import TensorHeader, encode_header, layout
from registry.content.unixfs import blob_of
from registry.errors import FormError, VerificationFailed
from registry.rounds.admission import UpdateForm
from registry.rounds.versions import read_header, read_version
from registry.rules.encoding import RoundScalars, RuleSet, state_layout
from registry.rules.grid import F32, grid_integers
from registry.rules.interpreter import I64, initial_states, replay
from registry.rules.program import SCALAR_BOUNDS
from registry.rules.step import buffer_step, server_step, step_exponent
from registry.store.base import ContentStore
from registry.store.blobs import file_pieces, open_blob
from registry.types import SegmentKind

__all__ = [
    "PieceReader",
    "continues",
    "describe_state",
    "next_version",
    "read_states",
    "state_header",
    "step_number",
    "stepped_values",
]

_PIECE = 1 << 18
"""Coordinates per piece."""


def continues(parent: VersionManifest, rules: RuleSet) -> bool:
    """Return whether these rules continue from the parent's state; if not, the initial state applies.

    The initial state also applies if the state claims more steps than programs are proved for.
    """
    kept = parent.state
    if kept is None or not rules.program.states:
        return False
    return kept.layout == state_layout(rules) and kept.step < SCALAR_BOUNDS["step"].high


def step_number(parent: VersionManifest, rules: RuleSet) -> int:
    """Return the number of the server step on a parent, starting at 1."""
    return 1 + (parent.state.step if parent.state is not None and continues(parent, rules) else 0)


def state_header(rules: RuleSet) -> TensorHeader:
    """Return the header of a state file."""
    return layout({"state": ("I64", (rules.values, len(rules.program.states)))})


def next_version(
    store: ContentStore,
    parent: VersionManifest,
    form: UpdateForm,
    aggregate: Path,
    scalars: RoundScalars,
    state: Path | None,
) -> Iterator[bytes]:
    """Yield the next version's file: the parent's, with the server step applied to every F32 value.

    Args:
        store: Store with the parent and its state.
        parent: The parent version.
        form: Form of the round's updates.
        aggregate: The round's aggregate, a safetensors file.
        scalars: The round's scalars.
        state: Output path of the next state; None under rules without state.

    Raises:
        VerificationFailed: The parent's file or state does not match its manifest, and so the chain. An owner can
            anchor such a version; whoever attests a version built on it could not show its leaves.
    """
    header = read_header(store, parent.weights.blob)
    source = PieceReader(read_version(store, parent))
    yield source.read(header.header_bytes)
    begin, end = header.range_of("F32")
    yield from source.pieces(begin)
    with aggregate.open("rb") as deltas:
        deltas.seek(form.dense.header_bytes)
        if state is None:
            yield from _stepped(source, deltas, form, scalars, None, None)
        else:
            with state.open("wb") as out:
                out.write(encode_header(state_header(form.rules).specs))
                yield from _stepped(source, deltas, form, scalars, read_states(store, parent, form), out)
    yield from source.pieces(header.data_bytes - end)
    source.finish()


def _stepped(
    source: PieceReader,
    deltas: BinaryIO,
    form: UpdateForm,
    scalars: RoundScalars,
    states: Iterator[I64] | None,
    out: BinaryIO | None,
) -> Iterator[bytes]:
    for segment, count in _pieces(form.segments):
        weights = np.frombuffer(source.read(4 * count), dtype="<f4")
        delta = np.frombuffer(deltas.read(4 * count), dtype="<f4")
        q = grid_integers(delta, form.grid_bits).astype(np.int64)
        before = next(states) if states is not None else np.empty((count, 0), dtype=np.int64)
        stepped, after = _step(weights, q, before, segment, form.rules, scalars)
        if out is not None:
            out.write(after.astype("<i8").tobytes())
        yield stepped.tobytes()
    if states is not None and next(states, None) is not None:
        raise FormError("a state goes on after its coordinates")


def _step(
    weights: F32, q: I64, states: I64, segment: Segment, rules: RuleSet, scalars: RoundScalars
) -> tuple[F32, I64]:
    """Apply the server step to coordinates of one segment.

    Args:
        weights: (n,), float32, of the parent.
        q: (n,), int64, grid integers of the aggregate.
        states: (n, S), int64, before the step.
        segment: The segment that contains the coordinates.
        rules: The round's rules.
        scalars: The round's scalars.
    """
    if segment.kind is not SegmentKind.PARAMETER:
        exponent = step_exponent(segment.exponent, rules.grid_bits, 0)
        return buffer_step(weights, q, exponent, non_negative=segment.kind is SegmentKind.NON_NEGATIVE), states
    d, after = replay(rules.program, q, states, scalars)
    return server_step(weights, d, step_exponent(segment.exponent, rules.grid_bits, rules.program.fraction_bits)), after


def stepped_values(
    form: UpdateForm, scalars: RoundScalars, first: int, weights: F32, delta: F32, states: I64
) -> tuple[F32, I64]:
    """Apply the server step to consecutive coordinates, which may span several segments.

    Args:
        form: Form of the round's updates.
        scalars: The round's scalars.
        first: Index of the first of n coordinates.
        weights: (n,), float32, of the parent.
        delta: (n,), float32, of the aggregate.
        states: (n, S), int64, before the step.

    Returns:
        Weights of the next version, (n,), float32, and its states, (n, S), int64.
    """
    made, after = np.empty_like(weights), np.empty_like(states)
    q = grid_integers(delta, form.grid_bits).astype(np.int64)
    for segment in form.segments:
        begin, end = max(segment.first - first, 0), min(segment.first + segment.length - first, len(weights))
        if begin < end:
            at = slice(begin, end)
            made[at], after[at] = _step(weights[at], q[at], states[at], segment, form.rules, scalars)
    return made, after


def _pieces(segments: tuple[Segment, ...]) -> Iterator[tuple[Segment, int]]:
    for segment in segments:
        for begin in range(0, segment.length, _PIECE):
            yield segment, min(_PIECE, segment.length - begin)


def read_states(store: ContentStore, parent: VersionManifest, form: UpdateForm) -> Iterator[I64]:
    """Yield the states before the step, piece by piece; at the end verify them against their root.

    Raises:
        VerificationFailed: The parent's state does not match its manifest.
    """
    rules = form.rules
    if parent.state is None or not continues(parent, rules):
        for _, count in _pieces(form.segments):
            yield initial_states(rules.program, count)
        return
    width = len(rules.program.states)
    expected = state_header(rules)
    if parent.state.size != expected.file_bytes:
        raise VerificationFailed(f"state: expected {expected.file_bytes} bytes, got {parent.state.size}")
    source = PieceReader(open_blob(store, parent.state.blob))
    if source.read(expected.header_bytes) != encode_header(expected.specs):
        raise VerificationFailed("state: expected the header that the plan gives, got another")
    hasher = TensorRootHasher(0, state_rows(width))
    for _, count in _pieces(form.segments):
        data = source.read(8 * width * count)
        hasher.update(data)
        yield np.frombuffer(data, dtype="<i8").reshape(count, width)
    source.finish()
    if hasher.digest() != parent.state.root:
        raise VerificationFailed(
            f"state: the manifest has root 0x{parent.state.root.hex()}, its file 0x{hasher.digest().hex()}"
        )


def describe_state(path: Path, rules: RuleSet, step: int) -> StateFile:
    """Return the manifest entry of a state file."""
    rows = state_rows(len(rules.program.states))
    blob = blob_of(file_pieces(path))
    hasher, skip = TensorRootHasher(0, rows), state_header(rules).header_bytes
    for piece in file_pieces(path):
        hasher.update(memoryview(piece)[skip:])
        skip = max(0, skip - len(piece))
    return StateFile(blob.cid, blob.size, hasher.digest(), state_layout(rules), step)


class PieceReader:
    """Buffered reader with exact reads from a stream of pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read(self, count: int) -> bytes:
        """Return exactly count bytes.

        Raises:
            FormError: The stream ends early.
        """
        parts = []
        while count:
            if not self._rest:
                piece = next(self._pieces, None)
                if piece is None:
                    raise FormError("a blob ended before its tensors did")
                self._rest = memoryview(piece)
            part, self._rest = self._rest[:count], self._rest[count:]
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def pieces(self, count: int) -> Iterator[bytes]:
        """Yield the next count bytes, piece by piece."""
        while count:
            part = self.read(min(count, 4 * _PIECE))
            count -= len(part)
            yield part

    def finish(self) -> None:
        """Read to the end of the stream, where a verifying stream raises if its checks fail."""
        if self._rest:
            raise FormError("a blob goes on after its tensors")
        for _ in self._pieces:
            raise FormError("a blob goes on after its tensors")
