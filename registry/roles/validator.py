"""A validator: score each result on a hidden set of its own, commit to the score, and reveal it in its window.

What it committed to is on its disk before it is on chain, so a validator that is stopped anywhere reveals what it
committed. The hidden set is the user's: it is read by the user's function alone, and nothing of it leaves it but the
score and a salted root.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from registry.chain.contract_hashes import roots_hash
from registry.chain.validator_scores import ScoredResult, Scores
from registry.durable import write_whole
from registry.errors import FormError
from registry.ethereum.node import chain_time
from registry.rounds.onchain import attested_result, final_phase, read_round
from registry.rounds.predictions import Measured, Score, measure
from registry.store.base import ContentStore
from registry.types import ModelId, Phase, Role, Root

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["advance", "kept_score", "secret_for"]

_SECRET_BYTES = 32


def advance(
    client: Client,
    store: ContentStore,
    folder: Path,
    model_id: ModelId,
    score: Score,
    *,
    say: Callable[[str], None] = lambda said: None,
) -> str:
    """Take the validator's next step, if there is any; return what was done.

    It is of the model's last two rounds, or of earlier ones that it has begun to score. Idempotent: a loop around it is
    a validator.

    Args:
        client: The chain, with the validator's signer.
        store: Holds the results' versions.
        folder: The validator's folder: its secret, and what it committed to.
        model_id: The model.
        score: Evaluates a version on the hidden set.
        say: Called with a line when an evaluation begins.
    """
    number = client.model(model_id).rounds
    for each in (number, number - 1, *_begun(client, folder, model_id, number - 1)):
        done = _step(client, store, folder, model_id, each, score, say) if each > 0 else ""
        if done:
            return done
    return ""


def _begun(client: Client, folder: Path, model_id: ModelId, before: int) -> Iterator[int]:
    """Yield the rounds before one of which a score is kept, the last first, up to one whose reveals are over."""
    named = (file.name.split("-")[1] for file in folder.glob(f"{model_id.hex()[:16]}-*-*.json"))
    for number in sorted({int(name) for name in named if name.isdecimal()}, reverse=True):
        if number < before:
            of = ScoredResult(model_id, number, client.round(model_id, number).result_hash)
            scoring = Scores(client).scoring(of)
            if scoring.commitments and chain_time(client.w3) >= scoring.reveal_deadline:
                return
            yield number


def _step(
    client: Client,
    store: ContentStore,
    folder: Path,
    model_id: ModelId,
    number: int,
    score: Score,
    say: Callable[[str], None],
) -> str:
    result_hash = client.round(model_id, number).result_hash
    if not any(result_hash):
        return ""
    of, scores = ScoredResult(model_id, number, result_hash), Scores(client)
    scoring, now = scores.scoring(of), chain_time(client.w3)
    committed = scores.committed_score(of, client.account)
    kept = kept_score(folder, of)
    if scoring.commitments and now >= scoring.commit_deadline:
        if now >= scoring.reveal_deadline or kept is None or not any(committed):
            return ""
        if scores.score_commitment(of, client.account, kept.score, kept.root) != committed:
            return ""  # of another folder: whoever has that one reveals it
        scores.reveal_score(of, kept.score, kept.root)
        return f"round {number}: revealed the score {kept.score / 1e6:.6f}"
    if any(committed) or not _may_score(client, scores, model_id, number):
        return ""
    if kept is None:
        say(f"round {number}: evaluating its result")
        kept = _measured(client, store, folder, of, score)
        if kept is None:
            return ""
    scores.commit_score(of, scores.score_commitment(of, client.account, kept.score, kept.root))
    return f"round {number}: committed to a score"


def _may_score(client: Client, scores: Scores, model_id: ModelId, number: int) -> bool:
    if not client.member(model_id, client.account).roles & Role.VALIDATOR:
        return False
    if not scores.score_terms(model_id).minimum:
        return False
    return final_phase(client, model_id, number) in (Phase.CHALLENGE, Phase.FINAL)


def _measured(client: Client, store: ContentStore, folder: Path, of: ScoredResult, score: Score) -> Measured | None:
    """Evaluate a result's version and keep the outcome; None if the node lacks the result's attestation."""
    result = attested_result(client, read_round(client, of.model_id, of.number), of.result_hash)
    if result is None:
        return None
    found = measure(store, result.version_digest, score, secret_for(folder), roots=roots_hash(result.roots))
    said = {"score": found.score, "root": found.root.hex(), "predictions": [p.hex() for p in found.predictions]}
    write_whole(_place(folder, of), json.dumps(said).encode())
    return found


def kept_score(folder: Path, of: ScoredResult) -> Measured | None:
    """Return what a validator measured of a result; None if nothing is kept.

    Raises:
        FormError: The file is damaged.
    """
    path = _place(folder, of)
    try:
        said = json.loads(path.read_bytes())
        predictions = tuple(bytes.fromhex(each) for each in said["predictions"])
        return Measured(int(said["score"]), Root(bytes.fromhex(said["root"])), predictions)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise FormError(f"{path}: expected a score that was committed to, got something else ({error})") from None


def secret_for(folder: Path) -> bytes:
    """Return a validator's secret, drawn once.

    Raises:
        FormError: Its file is damaged.
    """
    path = folder / "secret"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, secrets.token_bytes(_SECRET_BYTES))
    found = path.read_bytes()
    if len(found) != _SECRET_BYTES:
        raise FormError(f"{path}: expected {_SECRET_BYTES} bytes, got {len(found)}")
    return found


def _place(folder: Path, of: ScoredResult) -> Path:
    return folder / f"{of.model_id.hex()[:16]}-{of.number}-{of.result_hash.hex()[:16]}.json"
