"""Cairn without torch: settings, contract and store, provenance and verification. `docs/library.md` shows how."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from registry.chain.client import Client
    from registry.chain.contract_structs import Grant
    from registry.cli.command import Need, run_script
    from registry.cli.finding import find_account, find_model, find_version
    from registry.cli.session import Session
    from registry.cli.verified_file import read_verified
    from registry.content.manifest import DataSetManifest
    from registry.errors import CairnError, VerificationFailed
    from registry.lineage.provenance import read_lineage
    from registry.rounds.data_sets import read_data_set
    from registry.rounds.evaluations import confusion_counts
    from registry.rounds.plans import publish_plan
    from registry.rounds.versions import load_version_manifest
    from registry.rules.program import StateBounds
    from registry.rules.tracing import divide, isqrt, maximum, minimum, server_program, sign
    from registry.store.uri import open_store
    from registry.types import Role
    from registry.verification.verify import verify_version

__all__ = [
    "CairnError",
    "Client",
    "DataSetManifest",
    "Grant",
    "Need",
    "Role",
    "Session",
    "StateBounds",
    "VerificationFailed",
    "confusion_counts",
    "divide",
    "find_account",
    "find_model",
    "find_version",
    "isqrt",
    "load_version_manifest",
    "maximum",
    "minimum",
    "open_store",
    "publish_plan",
    "read_data_set",
    "read_lineage",
    "read_verified",
    "run_script",
    "server_program",
    "sign",
    "verify_version",
]

_PLACES = {
    "CairnError": "registry.errors",
    "Client": "registry.chain.client",
    "DataSetManifest": "registry.content.manifest",
    "Grant": "registry.chain.contract_structs",
    "Need": "registry.cli.command",
    "Role": "registry.types",
    "Session": "registry.cli.session",
    "StateBounds": "registry.rules.program",
    "VerificationFailed": "registry.errors",
    "confusion_counts": "registry.rounds.evaluations",
    "divide": "registry.rules.tracing",
    "find_account": "registry.cli.finding",
    "find_model": "registry.cli.finding",
    "find_version": "registry.cli.finding",
    "isqrt": "registry.rules.tracing",
    "load_version_manifest": "registry.rounds.versions",
    "maximum": "registry.rules.tracing",
    "minimum": "registry.rules.tracing",
    "open_store": "registry.store.uri",
    "publish_plan": "registry.rounds.plans",
    "read_data_set": "registry.rounds.data_sets",
    "read_lineage": "registry.lineage.provenance",
    "read_verified": "registry.cli.verified_file",
    "run_script": "registry.cli.command",
    "server_program": "registry.rules.tracing",
    "sign": "registry.rules.tracing",
    "verify_version": "registry.verification.verify",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: `import registry` itself loads nothing."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
