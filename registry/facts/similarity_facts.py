"""How alike the updates of a round are: cosines of all pairs and with the aggregate, and clusters of participants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING

from registry.content.manifest import Reason
from registry.errors import ContentError, FormError
from registry.ethereum.keys import to_checksum
from registry.rounds.admission import judge, judge_blob
from registry.rounds.aggregation import gram_matrix, in_form, leaves_of_blob
from registry.rounds.reports import found_report
from registry.rules.similarity import clusters, cosine
from registry.store.blobs import open_blob
from registry.types import Blob

if TYPE_CHECKING:
    from registry.chain.contract_structs import Result
    from registry.rounds.loaded_round import LoadedRound
    from registry.rules.gram import Matrix
    from registry.store.base import ContentStore

__all__ = ["JOINED", "RoundSimilarity", "SimilarityFacts", "round_similarity"]

JOINED = Fraction(0)
"""Least cosine of two updates that puts their participants into one cluster: none that turn away from each other."""


@dataclass(frozen=True, slots=True)
class SimilarityFacts:
    """A participant's update beside the others of its round.

    Attributes:
        participant: EIP-55 address.
        norm: Its Euclidean norm, in grid steps of the finest tensor, rounded down; buffers left out.
        score: Contribution score: its cosine with the attested aggregate, -1..1. None if either is zero or the
            aggregate is unavailable.
        cluster: Its cluster's number, from 1; None for an update of zeros.
        cosines: Cosines with the updates of all participants of the list, in its order; None beside one of zeros.
    """

    participant: str
    norm: int
    score: float | None
    cluster: int | None
    cosines: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class RoundSimilarity:
    """The updates of a round, side by side.

    Attributes:
        joined: Least cosine of two updates that joins their clusters.
        clusters: Number of clusters.
        similarity: The participants whose updates were read, in the order of commitments.
        unread: EIP-55 addresses of those whose update is unavailable, or not of the round's form.
    """

    joined: float
    clusters: int
    similarity: tuple[SimilarityFacts, ...]
    unread: tuple[str, ...]


def round_similarity(
    store: ContentStore,
    round: LoadedRound,
    result: Result | None,
    folder: Path,
    *,
    joined: Fraction = JOINED,
    progress: Callable[[int], None] = lambda done: None,
) -> RoundSimilarity:
    """Read each update of a round twice, and compute the inner products of all pairs exactly.

    Args:
        store: Has the updates, or can fetch them.
        round: The round.
        result: The result with a quorum, whose aggregate the updates are compared with; None if there is none.
        folder: For scratch files.
        joined: Least cosine of two updates that joins their clusters, -1..1.
        progress: Called with the number of bytes read since its last call.

    Raises:
        InputError: There is no room for scratch files.
    """
    blobs, read, unread = list[Blob](), list[str](), list[str]()
    for commitment in round.record.commitments:
        verdict = judge(store, round.record, round.form, commitment)
        who = to_checksum(commitment.participant)
        if verdict.admitted and verdict.manifest is not None:
            blobs.append(verdict.manifest.delta.blob)
            read.append(who)
        else:
            unread.append(who)
        progress(round.form.size)
    count = len(blobs)
    aggregate = _aggregate(store, round, result)
    if aggregate is not None:
        blobs.append(aggregate)
    form = round.form
    gram: Matrix = []
    if count:
        forms = [form] * count + [form.aggregate] * (len(blobs) - count)
        readers = [in_form(leaves_of_blob(store, blob), of) for blob, of in zip(blobs, forms, strict=True)]
        gram = gram_matrix(
            readers, form.aggregate.header, form.aggregate.size,
            grid_bits=form.grid_bits, segments=form.segments, folder=folder,
        )  # fmt: skip
    numbers = clusters([row[:count] for row in gram[:count]], joined)
    facts = tuple(
        SimilarityFacts(
            who,
            isqrt(gram[k][k]),
            None if aggregate is None else cosine(gram, k, count),
            None if (number := numbers[k]) is None else number + 1,
            tuple(cosine(gram, k, j) for j in range(count)),
        )
        for k, who in enumerate(read)
    )
    found = max((number + 1 for number in numbers if number is not None), default=0)
    return RoundSimilarity(float(joined), found, facts, tuple(unread))


def _aggregate(store: ContentStore, round: LoadedRound, result: Result | None) -> Blob | None:
    """Return the blob of the attested aggregate; None if it is unavailable or another."""
    report = None
    if result is not None:
        report = found_report(store, result.report_digest, len(round.record.commitments))
    if result is None or report is None:
        return None
    blob = report.manifest.aggregate.blob
    try:
        reason, _ = judge_blob(open_blob(store, blob), round.form.aggregate, result.aggregate_root)
    except (ContentError, FormError):
        return None
    return blob if reason == Reason.ADMITTED else None
