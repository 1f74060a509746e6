"""Sections of a report, and their HTML: every text is escaped here, so no section can hold markup."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["OPEN", "Block", "Commands", "Paragraph", "Picture", "ReportPart", "ReportTable", "page"]

OPEN = "Open: "
"""How a paragraph begins that says what the registry does not know."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --open: #8a4b00; --paper: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9ba7b4; --line: #3d444d; --open: #f0b35e; --paper: #0d1117; }
}
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem; font: 1rem/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--paper); overflow-wrap: anywhere; unicode-bidi: isolate; }
h1 { font-size: 1.7rem; line-height: 1.25; }
h2 { font-size: 1.3rem; margin: 2.2rem 0 .5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; }
p { margin: .4rem 0; } .open { color: var(--open); } .open::before { content: "\\25CB\\00A0"; }
div { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .875rem; margin: .6rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line);
  unicode-bidi: isolate; min-width: 4rem; }
th { color: var(--soft); font-weight: 600; overflow-wrap: normal; }
tr { break-inside: avoid; } h2, h3 { break-after: avoid; }
pre { font-size: .8rem; white-space: pre-wrap; padding: .6rem; border: 1px solid var(--line); }
img { max-width: 100%; background: #fff; }
@media print {
  :root { --ink: #000; --soft: #444; --line: #bbb; --open: #8a4b00; --paper: #fff; }
  body { max-width: none; }
}
"""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph; one that begins with `OPEN` is marked as open."""

    text: str


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A table of text."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Commands:
    """Commands, a line each."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG, shown as an image, in which nothing runs; `says` stands for it where it is not seen."""

    svg: str
    says: str


Block = Paragraph | ReportTable | Commands | Picture


@dataclass(frozen=True, slots=True)
class ReportPart:
    """A heading with what stands below it; `level` is 2 or 3."""

    level: int
    heading: str
    blocks: tuple[Block, ...] = ()


def page(title: str, parts: Iterable[ReportPart], *, name: str, tab: str) -> str:
    """Return a self-contained page, which may load nothing and run nothing.

    Args:
        title: Its heading.
        parts: Its sections.
        name: The version's URN, for those who read the page by program.
        tab: The document's title.
    """
    style = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'none'"
    head = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_text(policy)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta name="cairn-version" content="{_text(name)}">',
        f"<title>{_text(tab)}</title><style>{_STYLE}</style></head>",
        f"<body><main><h1>{_text(title)}</h1>",
    ]
    return "\n".join([*head, *(line for part in parts for line in _part(part)), "</main></body></html>\n"])


def _part(part: ReportPart) -> Iterator[str]:
    yield f"<h{part.level}>{_text(part.heading)}</h{part.level}>"
    for block in part.blocks:
        yield _block(block)


def _block(block: Block) -> str:
    match block:
        case Paragraph(text):
            mark = ' class="open"' if text.startswith(OPEN) else ""
            return f"<p{mark}>{_text(text)}</p>"
        case Commands(lines):
            return f"<pre>{_text(chr(10).join(lines))}</pre>"
        case Picture(svg, says):
            data = base64.b64encode(svg.encode()).decode()
            return f'<p><img alt="{_text(says)}" src="data:image/svg+xml;base64,{data}"></p>'
        case ReportTable(head, rows):
            top = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in head)
            body = "".join(f"<tr>{_cells(row)}</tr>" for row in rows)
            return f'<div tabindex="0"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _cells(row: Sequence[str]) -> str:
    return "".join(f"<td>{_text(cell)}</td>" for cell in row)


def _text(text: str) -> str:
    return html.escape(text, quote=True)
