"""Kubo as the reference for CIDs: the fixture `ipfs` runs the real program, offline."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def ipfs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[str], Iterable[bytes]], bytes]:
    """Return a function that runs `ipfs` offline with arguments and standard input, and returns its output."""
    built = _ROOT / ".tools" / "bin" / "ipfs"
    program = str(built) if built.exists() else shutil.which("ipfs")
    if program is None:
        reason = "expected Kubo's ipfs in .tools/bin or on the path (make kubo), got neither"
        if os.environ.get("CAIRN_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    environment = {**os.environ, "IPFS_PATH": str(tmp_path_factory.mktemp("ipfs") / "repo")}
    subprocess.run(
        [program, "init", "--profile=server,unixfs-v1-2025"], env=environment, check=True, capture_output=True
    )

    def run(arguments: list[str], pieces: Iterable[bytes]) -> bytes:
        command = [program, "--offline", *arguments]
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for piece in pieces:
                process.stdin.write(piece)
            process.stdin.close()
            output = process.stdout.read()
        assert process.returncode == 0
        return output

    return run
