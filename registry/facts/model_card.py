"""Hugging Face model card of a version, made of what the chain and the manifests say.

The front matter is JSON values by key, which every YAML reader reads. Texts are their authors': they are escaped, so
that none of them is markup, and stand on one line.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping

from registry.content.manifest import Statement, manifest_cid
from registry.ethereum.keys import to_checksum
from registry.facts.score_facts import ValidatorsFacts
from registry.facts.version_facts import CommitmentOutcome, LineageFacts, VersionFacts
from registry.rounds.scores import VersionScore, figures
from registry.types import Address

__all__ = ["contributor_shares", "model_card", "statement_of"]

_SPDX_ID = re.compile(r"[A-Za-z0-9.+-]+")
_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|~:@-])")


def model_card(
    facts: LineageFacts, *, chain_id: int, contract: Address, also: Mapping[str, object] | None = None
) -> str:
    """Return the card, Markdown with front matter.

    Args:
        facts: The version's lineage.
        chain_id: The chain.
        contract: The contract that anchors it.
        also: Further entries of the front matter, JSON values by key.
    """
    mine = next(version for version in facts.lineage if version.version == facts.version)
    stated = statement_of(facts, mine)
    title = _plain(stated.title) if stated is not None and stated.title else f"Model 0x{facts.model.hex()[:10]}"
    parts = [
        "---\n" + "\n".join([*_front_matter(stated), *_entries(also or {})]) + "\n---",
        f"# {_text(title)}",
        *_warning(mine),
        *_statement(stated),
        *_base(mine),
        _training(facts),
        *_evaluation(facts),
        *_data(facts, stated),
        _anchors(mine, chain_id, contract),
    ]
    return "\n\n".join(parts) + "\n"


def statement_of(facts: LineageFacts, mine: VersionFacts) -> Statement | None:
    """Return a version's statement, or that of its nearest ancestor that has one."""
    by_digest = {version.version: version for version in facts.lineage}
    at: VersionFacts | None = mine
    while at is not None:
        if at.manifest is not None and at.manifest.statement is not None:
            return at.manifest.statement
        at = None if at.parent is None else by_digest.get(at.parent)
    return None


def _front_matter(stated: Statement | None) -> Iterator[str]:
    if stated is not None and stated.licence:
        licence = _plain(stated.licence)
        if _SPDX_ID.fullmatch(licence):
            yield f"license: {_json(licence.lower())}"
        else:
            yield f'license: "other"\nlicense_name: {_json(licence)}'
    if stated is not None and stated.base_model:
        yield f"base_model: {_json(_plain(stated.base_model))}"
    yield f"tags: {_json(['federated-learning', 'cairn'])}"


def _entries(also: Mapping[str, object]) -> Iterator[str]:
    for key, value in also.items():
        yield f"{key}: {_flow(value)}"


def _warning(mine: VersionFacts) -> Iterator[str]:
    if mine.deprecated:
        yield "> **Deprecated:** the model's owner advises against this version."


def _statement(stated: Statement | None) -> Iterator[str]:
    if stated is None:
        return
    if stated.task:
        yield _text(stated.task)
    if stated.intended_use:
        yield f"## Intended use\n\n{_text(stated.intended_use)}"
    if stated.metrics:
        rows = [(_text(name), f"{value:g}") for name, value in sorted(stated.metrics.items())]
        yield f"## Metrics, as its owner states them\n\n{_table(('metric', 'value'), rows)}"


def _base(mine: VersionFacts) -> Iterator[str]:
    """Yield what the version's frozen weights are, which its file does not contain."""
    base = None if mine.manifest is None else mine.manifest.base
    if base is not None:
        rows = [
            ("origin", _text(base.origin) or "not stated"),
            ("licence", _text(base.licence) or "not stated"),
            ("sha256", f"`{base.sha256.hex()}`"),
        ]
        said = "It stands on frozen weights that it does not contain. Origin and licence are as its owner states them."
        yield f"## Base\n\n{said}\n\n{_table(('base', ''), rows)}"


def contributor_shares(facts: LineageFacts) -> dict[Address, float]:
    """Return the mean share of each participant over all rounds of a lineage, largest first."""
    rounds = [version for version in facts.lineage if version.round is not None]
    took = _contributions(rounds)
    shares = {who: sum(told.share for told in held) / len(rounds) for who, held in took.items()}
    return dict(sorted(shares.items(), key=lambda entry: (-entry[1], entry[0])))


def _contributions(rounds: Iterable[VersionFacts]) -> dict[Address, list[CommitmentOutcome]]:
    took: dict[Address, list[CommitmentOutcome]] = {}
    for told in (told for version in rounds for told in version.commitments if told.share):
        took.setdefault(told.participant, []).append(told)
    return took


def _training(facts: LineageFacts) -> str:
    rounds = [version for version in facts.lineage if version.round is not None]
    if not rounds:
        return "## Training\n\nPublished by its owner; no federated round led to it."
    took = _contributions(rounds)
    rows = [
        (f"`{to_checksum(who)}`", str(len(took[who])), str(sum(t.weight for t in took[who])), f"{100 * share:.1f} %")
        for who, share in contributor_shares(facts).items()
    ]
    many = "1 federated round" if len(rounds) == 1 else f"{len(rounds)} federated rounds"
    said = f"{many} led to it. Weights are as each participant declared them; a share is the mean over all rounds."
    unread = sum(version.report is None for version in rounds)
    if unread:
        said += f" The reports of {unread} rounds were not available: who contributed to these is missing here."
    return f"## Training\n\n{said}\n\n{_table(('participant', 'rounds', 'weight', 'share'), rows)}"


def _evaluation(facts: LineageFacts) -> Iterator[str]:
    rows = []
    scores = {version.version: version.score for version in facts.lineage}
    for version in facts.lineage:
        found = version.report.evaluation if version.report is not None else None
        if found is not None and version.parent is not None:
            told = ", ".join(f"{_text(name)} {value:.4g}" for name, value in sorted(figures(found).items()))
            at = f"`{version.parent.hex()[:10]}`"
            many = (str(version.round), at, str(found.updates), str(found.examples))
            rows.append((*many, told or "-", *_spread(scores.get(version.parent))))
    if rows:
        head = ("round", "of its parent", "participants", "examples", "measured", "spread", "worst")
        yield f"## Evaluation, as participants measured it on their own data\n\n{_table(head, rows)}"
    judged = [_judged(version, version.validators) for version in facts.lineage if version.validators is not None]
    if judged:
        table = _table(("round", "version", "median", "of"), judged)
        yield f"## Scores by validators, each on a hidden set\n\n{table}"
    last = next(version for version in facts.lineage if version.version == facts.version)
    if last.round is not None and last.metrics and not _states_metrics(last):
        metrics = [(_text(name), f"{value:.4g}") for name, value in sorted(last.metrics.items())]
        yield f"## Metrics of its round, averaged over contributions\n\n{_table(('metric', 'value'), metrics)}"


def _judged(version: VersionFacts, told: ValidatorsFacts) -> tuple[str, str, str, str]:
    score = "-" if told.score is None else f"{told.score:.4g}"
    return str(version.round), f"`{version.version.hex()[:10]}`", score, str(len(told.scores))


def _spread(score: VersionScore | None) -> tuple[str, str]:
    """Return the spread of a version's score over participants, and the worst."""
    if score is None or score.worst_participant is None:
        return "-", "-"
    return f"{score.spread:.2g}", f"{score.worst:.4g} by `{to_checksum(score.worst_participant)[:10]}`"


def _states_metrics(version: VersionFacts) -> bool:
    return version.manifest is not None and version.manifest.statement is not None


def _data(facts: LineageFacts, stated: Statement | None) -> Iterator[str]:
    if stated is not None and stated.sources:
        rows = sorted({(_text(one.name), _text(one.licence)) for one in stated.sources})
        yield f"## Data, as its owner states it\n\n{_table(('data set', 'licence'), rows)}"
    found = {
        (_text(told.data_set.name), _text(told.data_set.licence), str(told.data_set.records))
        for version in facts.lineage
        for told in version.commitments
        if told.share and told.data_set is not None
    }
    if found:
        head = ("data set", "licence", "records")
        yield f"## Data, as participants state it\n\n{_table(head, sorted(found))}"


def _anchors(mine: VersionFacts, chain_id: int, contract: Address) -> str:
    rows = [
        ("model", f"`0x{mine.model.hex()}`"),
        ("version", f"`{manifest_cid(mine.version)}`"),
        ("round", "none" if mine.round is None else str(mine.round)),
        ("chain id, contract", f"{chain_id}, `{to_checksum(contract)}`"),
        ("block", str(mine.block)),
    ]
    if mine.manifest is not None:
        rows.append(("sha256 of the weights", f"`{mine.manifest.weights.sha256.hex()}`"))
    named, there = f"0x{mine.model.hex()}@{mine.version.hex()}", f"--contract {to_checksum(contract)}"
    calls = (f"verify {named}", f"model pull {named} -o model.safetensors", "verify model.safetensors")
    check = "```console\n" + "\n".join(f"$ cairn {call} {there}" for call in calls) + "\n```"
    how = (
        "Recompute every round, fetch the weights, and check a file, without an account. `--rpc-url` names a node of "
        f"chain {chain_id}, `--store` a content store that has the files:"
    )
    return f"## Provenance\n\n{_table(('anchored', ''), rows)}\n\n{how}\n\n{check}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(text: str) -> str:
    """Return a text on one line, without characters that no reader shows."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _text(text: str) -> str:
    """Return a text as Markdown that shows it as it is."""
    return _MARKS.sub(r"\\\1", html.escape(_plain(text), quote=False))


def _flow(value: object) -> str:
    """Return JSON types as YAML's flow style: as JSON, but a number has a point, without which YAML 1.1 reads text."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_json(name)}: {_flow(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, float):
        digits, e, exponent = repr(value).partition("e")
        return digits + ("" if "." in digits or not e else ".0") + e + exponent
    return _json(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
