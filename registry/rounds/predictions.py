"""Scores of versions on a validator's hidden set: millionths, and the salted root of its predictions.

The root commits to the predictions without showing any: leaf i is salt ‖ prediction with
salt = HMAC-SHA256(secret, version ‖ uint64 i) (RFC 2104). Whoever is given a salt and its Merkle path can check one
prediction, and learns none of the others. The hidden set itself is in no leaf.
"""

from __future__ import annotations

import hmac
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from registry.chain.contract_hashes import roots_hash
from registry.chain.validator_scores import SCORE_ONE
from registry.content.merkle import MerkleTree, counted_root, leaf_hash, merkle_tree
from registry.errors import InputError, VerificationFailed
from registry.rounds.versions import load_version_manifest, read_arrays, roots_of
from registry.store.base import ContentStore
from registry.types import Digest, Root

__all__ = ["Measured", "Score", "measure", "prediction_salt", "prediction_tree"]

Score = Callable[[Mapping[str, Any]], tuple[float, Sequence[int | str | bytes]]]
"""Takes a version's tensors, numpy arrays by name; returns the score, 0 to 1, and a prediction for each hidden case."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A version's score on a hidden set.

    Attributes:
        score: In millionths, rounded half to even.
        root: Counted Merkle root of the salted predictions.
        predictions: One for each hidden case, as bytes.
    """

    score: int
    root: Root
    predictions: tuple[bytes, ...]


def measure(
    store: ContentStore, version: Digest, score: Score, secret: bytes, *, roots: bytes | None = None
) -> Measured:
    """Score a version on a hidden set.

    Args:
        store: Holds the version; every block is verified.
        version: Digest of its head.
        score: The validator's function.
        secret: The validator's secret, for the salts.
        roots: Anchored hash of the version's roots, which its manifest must have; None asks nothing.

    Raises:
        VerificationFailed: The manifest has other roots.
        InputError: The function returns something else than a score and predictions.
        ContentError: The version is unavailable.
    """
    manifest = load_version_manifest(store, version)
    if roots is not None and roots_hash(roots_of(manifest)) != roots:
        raise VerificationFailed(f"version 0x{version.hex()[:10]}: its manifest has other roots than were attested")
    returned = score(read_arrays(store, manifest))
    try:
        value, given = returned
        predictions = tuple(_as_bytes(prediction) for prediction in given)
        number = float(value)
    except (TypeError, ValueError):
        raise InputError("score: expected a number of 0 to 1 and a list of whole numbers, texts or bytes") from None
    if not math.isfinite(number) or not 0 <= number <= 1 or not predictions:
        raise InputError(f"score: expected 0 to 1 and one prediction or more, got {number} and {len(predictions)}")
    root = counted_root(len(predictions), prediction_tree(predictions, secret, version).root)
    return Measured(round(number * SCORE_ONE), root, predictions)


def prediction_salt(secret: bytes, version: Digest, index: int) -> bytes:
    """Return the salt of a prediction, 32 bytes."""
    return hmac.digest(secret, version + index.to_bytes(8, "big"), "sha256")


def prediction_tree(predictions: Sequence[bytes], secret: bytes, version: Digest) -> MerkleTree:
    """Return the tree over salted predictions."""
    salted = (prediction_salt(secret, version, i) + prediction for i, prediction in enumerate(predictions))
    return merkle_tree(map(leaf_hash, salted))


def _as_bytes(prediction: Any) -> bytes:
    if isinstance(prediction, bytes):
        return prediction
    return (prediction if isinstance(prediction, str) else str(operator.index(prediction))).encode()
