"""Chromium on the explorer's pages: what it complains of, axe's findings, and pictures compared with approved ones."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

__all__ = ["AXE", "Watched", "axe_violations", "chromium", "differs", "overflow", "require_picture", "watched"]

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
APPROVED = Path(__file__).parent / "pictures"
_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--font-render-hinting=none")
_CELL, _CLEAR, _MOST = 8, 24, 0.01
"""Side of a compared cell, pixels; difference of its mean colour that counts, of 255; share of cells that may."""


@dataclass(frozen=True)
class Watched:
    """A page of the browser, and what went wrong on it: console errors, uncaught ones, dialogs, foreign requests."""

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def open(self, path: str) -> int:
        """Go to a path of the site; return its status."""
        answer = self.page.goto(self.base + path)
        assert answer is not None
        return answer.status


@contextlib.contextmanager
def chromium(program: Path) -> Iterator[Browser]:
    """Run a headless Chromium."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(program), args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def watched(browser: Browser, base: str, **options: Any) -> Iterator[Watched]:
    """Open a page in a context of its own; fail at the end if it complained."""
    context: BrowserContext = browser.new_context(**options)
    found = Watched(context.new_page(), base)
    found.page.on("console", lambda said: found.complaints.append(said.text) if said.type == "error" else None)
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))

    def asked(request: Any) -> None:
        found.requests.append((request.method, request.url))
        if urlsplit(request.url)[:2] != urlsplit(base)[:2]:
            found.complaints.append(f"a request to {request.url}")

    def spoke(dialog: Any) -> None:
        found.complaints.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    found.page.on("request", asked)
    found.page.on("dialog", spoke)
    try:
        yield found
        if found.complaints:
            pytest.fail("\n".join(found.complaints))
    finally:
        context.close()


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    found = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert isinstance(found, int)
    return found


def axe_violations(page: Page) -> list[str]:
    """Return what axe finds wrong on a page."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations)")
    return [f"{one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]


def require_picture(page: Page, name: str) -> None:
    """Compare a page with its approved picture; with CAIRN_APPROVE=1 approve it as it is."""
    taken = Image.open(io.BytesIO(page.screenshot(full_page=True, animations="disabled"))).convert("RGB")
    path = APPROVED / f"{name}.webp"
    if os.environ.get("CAIRN_APPROVE") == "1":
        path.parent.mkdir(exist_ok=True)
        taken.save(path, quality=8, method=6)
        return
    with Image.open(path) as approved:
        said = differs(taken, approved.convert("RGB"))
    if said:
        kept = Path(os.environ.get("TMPDIR", "/tmp")) / f"cairn-{name}.png"
        taken.save(kept)
        pytest.fail(f"{path.name}: {said}; it is now {kept}; CAIRN_APPROVE=1 approves it")


def differs(taken: Image.Image, approved: Image.Image) -> str:
    """Return how two pictures differ beyond what another font's rendering does; empty if they do not."""
    if taken.width != approved.width or abs(taken.height - approved.height) > 0.03 * approved.height:
        return f"expected {approved.size} pixels, got {taken.size}"
    size = approved.width // _CELL, min(taken.height, approved.height) // _CELL
    area = (0, 0, size[0] * _CELL, size[1] * _CELL)
    one, other = (np.asarray(each.crop(area).resize(size, Image.Resampling.BOX), int) for each in (taken, approved))
    share = float((np.abs(one - other).max(2) > _CLEAR).mean())
    return f"{share:.1%} of it differs" if share > _MOST else ""
