"""The record that all exports are made of: a version's facts, and what was checked of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from registry.content.manifest import Statement, VersionManifest
from registry.errors import BlockNotFound, VerificationFailed
from registry.exports.exported_version import ExportedVersion
from registry.facts.model_card import contributor_shares, statement_of
from registry.facts.plain import printable
from registry.facts.verification_facts import VerificationFacts, without_places
from registry.facts.version_facts import LineageFacts, VersionFacts
from registry.types import Address
from registry.verification.checks import Check, Finding

__all__ = ["VersionRecord", "line", "version_record"]


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """A version as exports state it.

    Attributes:
        exported: Its name.
        facts: Its lineage, as chain and manifests claim.
        mine: Its own facts.
        manifest: Its manifest.
        statement: What its owner states, or the owner of its nearest ancestor; None if nobody does.
        shares: Mean share of the total weight over all rounds, by participant, largest first.
        checks: What was checked of it and of its ancestors in the model, genesis first.
        picture: Its lineage as SVG.
    """

    exported: ExportedVersion
    facts: LineageFacts
    mine: VersionFacts
    manifest: VersionManifest
    statement: Statement | None
    shares: tuple[tuple[Address, float], ...]
    checks: tuple[VerificationFacts, ...]
    picture: str

    @property
    def title(self) -> str:
        """The stated title on one line, else the model's id in short."""
        said = line(self.statement.title) if self.statement is not None else ""
        return said or f"Model 0x{self.exported.model.hex()[:10]}"

    @property
    def finding(self) -> Finding:
        """The worst finding of all checks."""
        return max((check.finding for _, check in self.named_checks()), key=list(Finding).index)

    def named_checks(self) -> Iterator[tuple[str, Check]]:
        """Yield each check with what it is of: genesis, or a round."""
        for one in self.checks:
            about = f"round {one.round}" if one.round is not None else f"version 0x{one.version.hex()[:10]}"
            for check in one.checks:
                yield about, check

    def said_checks(self) -> list[str]:
        """Return each check as a line: `passed  round 1: quorum: …`."""
        return [f"{c.finding.value}: {about}: {c.name}: {line(c.evidence)}" for about, c in self.named_checks()]


def version_record(
    exported: ExportedVersion, facts: LineageFacts, checks: Sequence[VerificationFacts], picture: str
) -> VersionRecord:
    """Return the record of a version.

    Raises:
        BlockNotFound: The version's manifest is unavailable.
        VerificationFailed: A check failed: nothing is exported of a version that disagrees with the chain. Or nothing
            was checked.
    """
    mine = next(version for version in facts.lineage if version.version == facts.version)
    if mine.manifest is None:
        raise BlockNotFound(f"the manifest of version 0x{mine.version.hex()[:10]} is unavailable")
    shares = tuple(contributor_shares(facts).items())
    checked = tuple(replace(one, checks=tuple(map(without_places, one.checks))) for one in checks)
    if checked:
        checked = (*_ancestors_elsewhere(facts, checked), *checked)
    record = VersionRecord(exported, facts, mine, mine.manifest, statement_of(facts, mine), shares, checked, picture)
    failed = [(about, check) for about, check in record.named_checks() if check.finding is Finding.FAILED]
    if failed or not any(True for _ in record.named_checks()):
        about, check = failed[0] if failed else ("version", Check("checks", Finding.FAILED, "none was carried out"))
        raise VerificationFailed(f"{about}: {check.name}: {check.evidence}; nothing is exported")
    return record


def _ancestors_elsewhere(facts: LineageFacts, checked: Sequence[VerificationFacts]) -> Iterator[VerificationFacts]:
    """Yield what stands in for ancestors that were not verified: those in other models, and those in none."""
    known = {one.version for one in checked}
    for version in reversed(facts.lineage):
        if version.version not in known:
            said = Check("ancestor", Finding.ASSERTED, f"of model 0x{version.model.hex()}: verify it there")
            yield VerificationFacts(version.version, None, True, False, (said,))
    for parent in facts.unknown_parents:
        said = Check("ancestor", Finding.ASSERTED, "in no model of this contract: nothing of it is known")
        yield VerificationFacts(parent, None, True, False, (said,))


def line(text: str) -> str:
    """Return a stranger's text on one line, characters that no reader shows or that move others as escapes."""
    return printable(" ".join(text.split()))
