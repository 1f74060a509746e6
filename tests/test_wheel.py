"""The wheel builds, is complete, and runs outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's contents in a folder of their own."""
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "benchmarks/", "contracts/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(made), str(source)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = made.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(made / "site")
    return made / "site"


def run(unpacked: Path, folder: Path, *arguments: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CAIRN", "ETH", "IPFS"))}
    environment |= {"PYTHONPATH": str(unpacked), "HOME": str(folder)}
    script = "import sys, trainer.cli; print(trainer.cli.__file__, file=sys.stderr); sys.exit(trainer.cli.main())"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], env=environment, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(unpacked) in done.stderr
    return done.stdout


@pytest.mark.slow
def test_wheel_holds_the_contracts_their_source_and_the_pages(unpacked: Path) -> None:
    artifacts = unpacked / "registry" / "chain" / "artifacts"
    assert {path.name for path in artifacts.iterdir()} >= {"Cairn.json", "AllowListHook.json", "standard_input.json"}
    assert not (unpacked / "tests").exists()
    assert (unpacked / "registry" / "py.typed").exists()
    site = unpacked / "registry" / "explorer"
    assert (site / "templates" / "base.html").exists() and (site / "static" / "style.css").exists()


@pytest.mark.slow
def test_wheel_runs_a_round_without_the_checkout(unpacked: Path, tmp_path: Path) -> None:
    (tmp_path / "hello").write_text("hello")
    assert run(unpacked, tmp_path, "cid", "hello").startswith("bafkrei")
    assert "round" in run(unpacked, tmp_path, "simulate", "--rounds", "1")
