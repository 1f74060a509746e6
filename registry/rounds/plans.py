"""Plans: manifest, rule bytes compiled from it, and the part that is anchored on chain."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from registry.chain.contract_structs import Plan
from registry.content.manifest import PlanManifest, ServerRule, digest_of
from registry.content.segments import Segment, segments_of, segments_root
from registry.content.tensors import TensorHeader, encode_header, packed_layout, update_layout
from registry.errors import CairnError, FormError, InputError, UnknownRule, VerificationFailed
from registry.ethereum.hashing import keccak
from registry.rounds.versions import load_version_manifest, read_header
from registry.rules.encoding import RuleSet, Shape, encode_rules
from registry.rules.program import analyse
from registry.rules.program import decode as decode_program
from registry.rules.program import encode as encode_program
from registry.rules.server_programs import compile_rule, with_defaults
from registry.rules.step import step_exponent
from registry.rules.table import UNIFORM, called, packing_of, rules_of
from registry.store.base import ContentStore
from registry.store.manifests import get_manifest, put_manifest
from registry.types import ModelId, Root, SegmentKind

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = [
    "add_plan",
    "anchored_plan",
    "check_plan",
    "fitted",
    "load_plan",
    "plan_rules",
    "plan_segments",
    "publish_plan",
    "server_rule",
    "with_statistics",
]

_STATISTICS = {"running_mean": int(SegmentKind.BUFFER), "running_var": int(SegmentKind.NON_NEGATIVE)}
"""Kinds of the tensors of normalization layers, by the last part of their names."""
_OWN = ("digest", "rules_hash")
"""Fields of an anchored plan that are not copied from the manifest."""


def server_rule(name: str, parameters: Mapping[str, float], grid_bits: int) -> ServerRule:
    """Return a built-in server rule, compiled; parameters that are left out take the rule's defaults.

    Raises:
        InputError: There is no such rule, or its parameters are invalid.
    """
    given = with_defaults(name, parameters)
    program = compile_rule(name, given, grid_bits)
    return ServerRule(name, given, encode_program(program))


def fitted(manifest: PlanManifest, parent: TensorHeader) -> PlanManifest:
    """Return the plan fitted to versions with this header: values, header and segments are set."""
    values, packing = update_layout(parent).data_bytes // 4, packing_of(manifest)
    header = update_layout(parent) if packing is None else packed_layout(packing.rows(values), packing.row_bytes)
    return replace(
        manifest,
        values=values,
        header=hashlib.sha256(encode_header(header.specs)).digest(),
        segments=segments_root(segments_of(parent, manifest.scales, _kinds(manifest))),
    )


def with_statistics(manifest: PlanManifest, parent: TensorHeader) -> PlanManifest:
    """Return the plan with the running statistics of normalization layers as buffers, where it says nothing of them.

    They are known by name: `running_mean` and, never negative, `running_var`. As parameters they would take the server
    rule's step, which makes variances negative at rates above 1.
    """
    found = {
        spec.name: _STATISTICS[last]
        for spec in parent.specs
        if spec.dtype == "F32" and (last := spec.name.rpartition(".")[2]) in _STATISTICS
    }
    return replace(manifest, buffers={**found, **manifest.buffers})


def plan_segments(manifest: PlanManifest, parent: TensorHeader) -> tuple[Segment, ...]:
    """Return the segments of a round's parent under a plan.

    Raises:
        InputError: The plan does not fit the parent: honest aggregators do not attest under it.
    """
    segments = segments_of(parent, manifest.scales, _kinds(manifest))
    found = fitted(manifest, parent)
    for name in ("values", "header", "segments"):
        said, real = getattr(manifest, name), getattr(found, name)
        if said != real:
            shown = [value.hex() if isinstance(value, bytes) else value for value in (real, said)]
            raise InputError(f"plan: expected {name} {shown[0]} as the parent has, got {shown[1]}")
    return segments


def plan_rules(manifest: PlanManifest) -> RuleSet:
    """Return the rules of a plan's manifest, after all checks that need no parent.

    Raises:
        UnknownRule: It has rules of a later release.
        FormError, InputError: The program is malformed, is not what its name compiles to, or may leave its range; or a
            scale puts a step out of range.
    """
    rules = rules_of(manifest)
    combine = rules.combine
    formula, least = combine.rule.least(combine.parameters)
    if manifest.min_contributions < least:
        raise FormError(
            f"plan: combine rule {called(combine.rule)} needs n >= {formula} contributions (see its paper): expected "
            f"min_contributions of {least} or more, got {manifest.min_contributions}"
        )
    program = decode_program(manifest.server.program)
    analyse(program)
    if manifest.server.name is not None:
        named = compile_rule(manifest.server.name, dict(manifest.server.parameters), manifest.grid_bits)
        if named != program:
            raise FormError(f"plan: expected the program that {manifest.server.name} compiles to, got another")
    for scale in {0, *manifest.scales.values()}:
        for fraction_bits in (0, program.fraction_bits):
            step_exponent(scale, manifest.grid_bits, fraction_bits)
    return RuleSet(
        combine_rule=manifest.combine_rule,
        shape=Shape[combine.rule.shape.NAME.upper()],
        update_form=manifest.update_form,
        uniform=combine.weights == UNIFORM,
        grid_bits=manifest.grid_bits,
        values=manifest.values,
        header=manifest.header,
        segments=Root(manifest.segments),
        parameters=rules.encoded,
        program=program,
    )


def add_plan(store: ContentStore, manifest: PlanManifest) -> tuple[Plan, bytes]:
    """Store and pin a plan's manifest; return the arguments of `Client.set_plan`: anchored plan and rule bytes."""
    rules = encode_rules(plan_rules(manifest))
    put_manifest(store, manifest)
    return anchored_plan(manifest, rules), rules


def anchored_plan(manifest: PlanManifest, rules: bytes) -> Plan:
    """Return the on-chain part of a plan with these rule bytes."""
    fields = {name: getattr(manifest, name) for name in Plan.__dataclass_fields__ if name not in _OWN}
    return Plan(digest=digest_of(manifest), rules_hash=keccak(rules), **fields)


def publish_plan(client: Client, store: ContentStore, model_id: ModelId, manifest: PlanManifest) -> PlanManifest:
    """Publish a plan, fitted to a model's head, and make it the model's standing plan; return it as it stands.

    Running statistics that it does not name become buffers, as `with_statistics` says.

    Raises:
        FormError: It does not fit the head.
        ContractError: The sender does not own the model, or a term is refused.
    """
    head = load_version_manifest(store, client.model(model_id).head)
    header = read_header(store, head.weights.blob)
    plan = fitted(with_statistics(manifest, header), header)
    client.set_plan(model_id, *add_plan(store, plan))
    return plan


def load_plan(store: ContentStore, plan: Plan) -> PlanManifest:
    """Fetch the manifest of an anchored plan.

    Raises:
        VerificationFailed: It differs from the anchored plan.
    """
    manifest = get_manifest(store, plan.digest, PlanManifest)
    check_plan(manifest, plan)
    return manifest


def check_plan(manifest: PlanManifest, plan: Plan) -> None:
    """Check a plan manifest against the anchored plan.

    Rules of a later release pass unchecked, since their rule bytes are unknown: such a plan can be displayed, but
    `plan_rules` raises on it.

    Raises:
        VerificationFailed: They differ.
    """
    for name in plan.__dataclass_fields__:
        if name in ("digest", "rules_hash"):
            continue
        said, anchored = getattr(manifest, name), getattr(plan, name)
        if said != anchored:
            raise VerificationFailed(f"plan: the manifest has {name} {said!r}, the chain {anchored!r}")
    try:
        rules = plan_rules(manifest)
    except UnknownRule:
        return
    except CairnError as error:
        raise VerificationFailed(str(error)) from error
    rules_hash = keccak(encode_rules(rules))
    if rules_hash != plan.rules_hash:
        raise VerificationFailed(
            f"plan: the manifest's rules hash to 0x{rules_hash.hex()}, the chain has 0x{plan.rules_hash.hex()}"
        )


def _kinds(manifest: PlanManifest) -> dict[str, SegmentKind]:
    return {name: SegmentKind(kind) for name, kind in manifest.buffers.items()}
