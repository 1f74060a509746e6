"""Print a report to PDF by Chromium, where it is installed; the page may load nothing and run nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from registry.errors import InputError

__all__ = ["PROGRAMS", "find_chromium", "print_pdf"]

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_SECONDS = 120
_FLAGS = (
    "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--no-pdf-header-footer",
    "--disable-extensions", "--proxy-server=127.0.0.1:9",
)  # fmt: skip


def find_chromium() -> str:
    """Return the path of Chromium.

    Raises:
        InputError: It is not installed.
    """
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        raise InputError(f"a PDF needs {' or '.join(PROGRAMS)} on the path, found none; --as html needs nothing")
    return found


def print_pdf(page: bytes) -> bytes:
    """Return a page as PDF.

    Raises:
        InputError: Chromium is not installed, or writes no PDF in time.
    """
    program = find_chromium()
    with tempfile.TemporaryDirectory(prefix="cairn-pdf-") as name:
        folder = Path(name)
        (folder / "report.html").write_bytes(page)
        out = folder / "report.pdf"
        root = ("--no-sandbox",) if os.geteuid() == 0 else ()  # Chromium refuses its sandbox to root
        command = [program, *_FLAGS, *root, f"--user-data-dir={folder / 'profile'}", f"--print-to-pdf={out}"]
        try:
            done = subprocess.run(
                [*command, (folder / "report.html").as_uri()], capture_output=True, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise InputError(f"{program}: expected a PDF within {_SECONDS} s, got none") from None
        if done.returncode or not out.is_file():
            raise InputError(f"{program}: expected a PDF, got exit code {done.returncode}")
        return out.read_bytes()
