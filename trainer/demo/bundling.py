"""The demo's bundle: write the model's lineage with its proofs to one file, and verify that file alone."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from registry.bundles.create_bundle import gather_bundle
from registry.bundles.verify_bundle import verify_bundle
from registry.content.car import write_car
from registry.errors import VerificationFailed
from registry.store.car_store import CarStore
from registry.verification.checks import Finding
from trainer.simulation import Simulation

__all__ = ["bundle_and_verify"]


def bundle_and_verify(console: Console, sim: Simulation, file: Path, folder: Path) -> None:
    """Write the head's bundle and verify it offline against block hashes.

    Args:
        console: Where to print.
        sim: The simulation after its rounds.
        file: The bundle to write.
        folder: Scratch space for verification.

    Raises:
        VerificationFailed: The bundle does not prove the head, or passes against an unknown block hash.
    """
    head = sim.owner.model(sim.model_id).head
    bundle = gather_bundle(sim.owner, sim.store, sim.model_id, head)
    with file.open("wb") as out:
        out.writelines(write_car(bundle.root, bundle.blocks))
    trusted = [point.hash for point in bundle.anchors]
    verdict = verify_bundle(CarStore(file), trusted, folder)
    if not verdict.passed or verdict.manifest.version != head:
        raise VerificationFailed(f"{file}: expected a bundle that proves version 0x{head.hex()}")
    try:
        verify_bundle(CarStore(file), [bytes(32)], folder)
    except VerificationFailed:
        pass
    else:
        raise VerificationFailed(f"{file}: expected nothing to be proved by the hash of no block")
    rounds = sum(1 for one in verdict.versions if one.step.round)
    checks = [check.finding for one in verdict.versions for check in one.checks]
    console.print(
        f"\n[green]bundled[/] all {rounds} rounds into {file.stat().st_size:,} bytes and verified them from that file "
        f"alone: {bundle.events} events, {checks.count(Finding.PASSED)} checks passed, "
        f"{checks.count(Finding.ASSERTED)} asserted (the files are not inside)"
    )
    trust = " ".join(f"--trust 0x{block.hex()}" for block in trusted)
    console.print(f"  cairn bundle verify {file} {trust}", soft_wrap=True)
