"""Plans: the manifest that says everything, and what of it stands on chain."""

from __future__ import annotations

from registry.chain.records import Plan
from registry.content.manifest import PlanManifest, decode, digest_of, encode, manifest_cid
from registry.errors import VerificationFailed
from registry.store.base import ContentStore
from registry.types import Address, Digest

__all__ = ["add_plan", "check_plan", "load_plan"]


def add_plan(store: ContentStore, manifest: PlanManifest) -> Plan:
    """Put a plan's manifest into the store and pin it; return what `Client.set_plan` anchors of it."""
    cid = manifest_cid(digest_of(manifest))
    store.put(cid, encode(manifest))
    store.pin(cid, recursive=False)
    fields = {name: getattr(manifest, name) for name in Plan.__dataclass_fields__ if name not in ("digest", "hook")}
    return Plan(digest=Digest(cid.digest), hook=Address(manifest.hook or bytes(20)), **fields)


def load_plan(store: ContentStore, plan: Plan) -> PlanManifest:
    """Fetch the manifest of an anchored plan.

    Raises:
        VerificationFailed: It says other than the chain.
    """
    manifest = decode(store.get(manifest_cid(plan.digest)), PlanManifest)
    check_plan(manifest, plan)
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
