"""Plans: the manifest that says everything, and what of it stands on chain."""

from __future__ import annotations

from contextlib import suppress

from registry.chain.records import Plan
from registry.content.manifest import PlanManifest, decode, digest_of, encode, manifest_cid
from registry.errors import UnknownRule, VerificationFailed
from registry.rules.table import rules_of
from registry.store.base import ContentStore
from registry.types import Address, Digest

__all__ = ["add_plan", "check_plan", "load_plan"]


def add_plan(store: ContentStore, manifest: PlanManifest) -> Plan:
    """Put a plan's manifest into the store and pin it; return what `Client.set_plan` anchors of it.

    Raises:
        UnknownRule: It has rules that this release does not know.
        FormError: A rule does not get what it takes.
    """
    rules_of(manifest)
    cid = manifest_cid(digest_of(manifest))
    store.put(cid, encode(manifest))
    store.pin(cid, recursive=False)
    fields = {name: getattr(manifest, name) for name in Plan.__dataclass_fields__ if name not in ("digest", "hook")}
    return Plan(digest=Digest(cid.digest), hook=Address(manifest.hook or bytes(20)), **fields)


def load_plan(store: ContentStore, plan: Plan) -> PlanManifest:
    """Fetch the manifest of an anchored plan.

    Rules of a later release are let pass: such a plan can be shown, and `rules_of` refuses to compute by it.

    Raises:
        VerificationFailed: It says other than the chain.
        FormError: A rule of this release does not get what it takes.
    """
    manifest = decode(store.get(manifest_cid(plan.digest)), PlanManifest)
    check_plan(manifest, plan)
    with suppress(UnknownRule):
        rules_of(manifest)
    return manifest


def check_plan(manifest: PlanManifest, plan: Plan) -> None:
    """Compare a plan manifest with what the chain holds of it.

    Raises:
        VerificationFailed: They differ.
    """
    for name in plan.__dataclass_fields__:
        if name == "digest":
            continue
        said, anchored = getattr(manifest, name), getattr(plan, name)
        if name == "hook":
            said = said or bytes(20)
        if said != anchored:
            raise VerificationFailed(f"plan: the manifest has {name} {said!r}, the chain {anchored!r}")
