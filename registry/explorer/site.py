"""The explorer as an ASGI application: pages, their JSON twins, files of versions, style sheet and script.

Every answer carries a strict Content-Security-Policy: nothing inline, nothing from elsewhere. Templates escape every
value, and show characters that steer a reader as escapes.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from anyio import CapacityLimiter
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from registry.errors import CairnError, IndexUnusable, InputError
from registry.explorer.apart import apart
from registry.explorer.downloads import Downloads
from registry.explorer.drawings import branches, score_plot, time_line
from registry.explorer.export_files import ELSEWHERE, KINDS
from registry.explorer.guards import (
    HEADERS,
    LIVE_POLICY,
    PAGE_POLICY,
    SEARCH_POLICY,
    WithHeaders,
    WithNames,
    attached,
    from_this_site,
    is_known,
)
from registry.explorer.kept import Kept
from registry.explorer.live import Live
from registry.explorer.openapi import openapi
from registry.explorer.pages import PAGES, Page
from registry.explorer.proving import Unproved
from registry.explorer.reading import NotThere, Shelf, hex_of
from registry.explorer.search_page import SearchPage
from registry.explorer.source_pages import manifest_bytes
from registry.explorer.traffic import WithTraffic
from registry.explorer.verifying import Busy
from registry.explorer.version_page import card_of, entry_of, file_of
from registry.explorer.words import FILTERS
from registry.exports.formats import FORMATS
from registry.facts.plain import encoded, plain, printable
from registry.store.blobs import open_blob
from registry.types import Digest

__all__ = ["site"]

log = logging.getLogger(__name__)

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_SHARED = ("style.css", "search.js", "live.js", "icon.svg")
_POLICIES = {"search": SEARCH_POLICY, "round": LIVE_POLICY, "model": LIVE_POLICY, "verification": LIVE_POLICY}
"""By page; others run no script."""
_FILE_THREADS = 8
"""Threads that wait for blocks of files, of all files together: pages have others."""
_MOST_QUERY = 500
"""Characters of a query that are read."""
Answer = Callable[[Request], Response]


def site(
    shelf: Shelf,
    *,
    cors: str | None = None,
    names: Collection[str] | None = None,
    closing: threading.Event | None = None,
) -> Starlette:
    """Return the application.

    Args:
        shelf: What its pages read.
        cors: Origin whose scripts may read the JSON, or `*`; None for no other.
        names: Host names under which it answers; None for any.
        closing: Set when the server ends, with which open streams end.
    """
    made, live = _Site(shelf), Live(shelf, closing or threading.Event())
    files = Downloads(shelf, made.tag)
    version = "/models/{model}/versions/{version}"
    routes = [Route("/", lambda request: RedirectResponse("/models", 307), name="first")]
    for page in PAGES:
        routes.append(Route(f"{page.path}.json", made.twin(page), name=f"{page.name}.json"))
        routes.append(Route(page.path, made.page(page), name=page.name))
    routes += [
        Route(f"{version}/card.md", made.card),
        Route(f"{version}/{{file}}.safetensors", made.file),
        Route(f"{version}/exports/{{form}}", files.export),
        Route(f"{version}/bundle.car", files.bundle),
        Route(f"{version}/proofs/{{account}}.inclusion", files.proof),
        Route("/manifests/{digest}/block.cbor", made.block, name="block.cbor"),
        Route(f"{version}/verification/{{act}}", made.verify, methods=["POST"]),
        Route("/live", live.stream),
        Route("/openapi.json", made.schema),
        Route("/static/{name}", made.static),
    ]
    handlers: Mapping[Any, Any] = {CairnError: made.failed, HTTPException: made.refused, Exception: made.broken}
    return Starlette(
        routes=routes,
        exception_handlers=handlers,
        middleware=[
            Middleware(WithTraffic, shelf.traffic),
            Middleware(WithHeaders, cors),
            Middleware(WithNames, names),
        ],
    )


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    kind: str


class _Site:
    """Endpoints over one shelf."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._kept = Kept()
        self._files = CapacityLimiter(_FILE_THREADS)
        self._version = version("cairn-registry")
        self._static, names = _static_files()
        self._schema = encoded(openapi(self._version)).encode()
        self._release = hashlib.sha256(f"{self._version} {sorted(names.values())}".encode()).digest()
        self._templates = Environment(
            loader=PackageLoader("registry.explorer", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_shown,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(FILTERS)
        self._templates.tests["zero"] = lambda value: not any(value)
        self._templates.globals.update(
            static=names,
            score_plot=score_plot,
            time_line=time_line,
            branches=branches,
            pretty=_pretty,
            exports={form: FORMATS[form].says for form in KINDS},
            elsewhere=ELSEWHERE,
        )

    # Pages --------------------------------------------------------------------------------------------------------

    def page(self, page: Page) -> Answer:
        """Return the endpoint of a page."""

        policy = _POLICIES.get(page.name, PAGE_POLICY)

        def answer(request: Request) -> Response:
            headers = {
                "ETag": self._etag(page, request),
                "Cache-Control": "no-cache",
                "Content-Security-Policy": policy,
            }
            if is_known(request, headers["ETag"]):
                return Response(status_code=304, headers=headers)  # a browser replaces its policy by this answer's
            if (kept := self._kept.find(headers["ETag"])) is not None:
                return Response(kept, media_type="text/html", headers=headers)
            elsewhere = f"303 {headers['ETag']}"
            if (place := self._kept.find(elsewhere)) is not None:
                return RedirectResponse(place.decode(), 303)
            facts = self._gathered(page, request)
            still = self._etag(page, request) == headers["ETag"]
            if isinstance(facts, SearchPage) and len(facts.hits) == 1:
                if still:
                    self._kept.keep(elsewhere, facts.hits[0].page.encode())
                return RedirectResponse(facts.hits[0].page, 303)
            query = f"?{request.url.query}" if request.url.query else ""
            shown = self._templates.get_template(f"{page.name}.html")
            text = shown.render(
                page=facts,
                as_of=facts.as_of,
                twin=f"{request.url.path}.json{query}",
                title=page.summary,
                offered=self._shelf.verifier is not None,
                proves=self._shelf.prover is not None,
            )
            if still:
                self._kept.keep(headers["ETag"], text.encode())
            else:
                del headers["ETag"]  # the state moved meanwhile, and may move back
            return Response(text, media_type="text/html", headers=headers)

        return answer

    def twin(self, page: Page) -> Answer:
        """Return the endpoint of a page's JSON twin."""

        def answer(request: Request) -> Response:
            headers = {"ETag": self._etag(page, request), "Cache-Control": "no-cache"}
            if is_known(request, headers["ETag"]):
                return Response(status_code=304, headers=headers)
            body = self._kept.find(headers["ETag"])
            if body is None:
                body = (encoded(plain(self._gathered(page, request))) + "\n").encode()
                if self._etag(page, request) == headers["ETag"]:
                    self._kept.keep(headers["ETag"], body)
                else:
                    del headers["ETag"]
            return Response(body, media_type="application/json", headers=headers)

        return answer

    def _gathered(self, page: Page, request: Request) -> Any:
        query = _query_of(request, page)
        with self._shelf.reading() as reading:
            return page.gather(reading, request.path_params, query)

    def _etag(self, page: Page, request: Request) -> str:
        return self.tag(request, jobs=page.name == "verification")

    def tag(self, request: Request, *, jobs: bool = False) -> str:
        """Return the tag of an address in the present state: another one, head, finality or release gives another."""
        named = repr((request.scope["path"], request.scope["query_string"])).encode()  # all that decides an answer
        state = self._shelf.state(jobs=jobs)
        return f'W/"{hashlib.sha256(self._release + state + named).hexdigest()[:32]}"'

    # Files --------------------------------------------------------------------------------------------------------

    def card(self, request: Request) -> Response:
        """Answer with a version's model card."""
        with self._shelf.reading() as reading:
            text = card_of(reading, request.path_params)
        return Response(text, media_type="text/markdown", headers=attached("README.md"))

    def file(self, request: Request) -> Response:
        """Answer with a file of a version, each block verified by the store as it is sent."""
        with self._shelf.reading() as reading:
            blob = file_of(reading, request.path_params)
        headers = {**attached(f"{request.path_params['file']}.safetensors"), "Content-Length": str(blob.size)}
        if request.method == "HEAD":
            return Response(media_type="application/octet-stream", headers=headers)
        pieces = apart(open_blob(self._shelf.store, blob), self._files)
        return StreamingResponse(pieces, media_type="application/octet-stream", headers=headers)

    def block(self, request: Request) -> Response:
        """Answer with a manifest's bytes."""
        text = request.path_params["digest"]
        with self._shelf.reading() as reading:
            data = manifest_bytes(reading, Digest(hex_of(text, 32, "manifest's digest")))
        return Response(data, media_type="application/vnd.ipld.dag-cbor", headers=attached(f"{text}.cbor"))

    def schema(self, request: Request) -> Response:
        """Answer with the OpenAPI schema."""
        return Response(self._schema, media_type="application/json", headers={"Cache-Control": "no-cache"})

    def static(self, request: Request) -> Response:
        """Answer with the style sheet, the script or the icon."""
        found = self._static.get(request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        return Response(
            found.data, media_type=found.kind, headers={"Cache-Control": "public, max-age=31536000, immutable"}
        )

    # Acts ---------------------------------------------------------------------------------------------------------

    def verify(self, request: Request) -> Response:
        """Start or stop the verification of a version, and lead to its page.

        Raises:
            HTTPException: It is no form of this site, or no such act.
            Busy: As many wait as may.
        """
        if not from_this_site(request):
            raise HTTPException(403)
        path, verifier = request.path_params, self._shelf.verifier
        act = {} if verifier is None else {"start": verifier.start, "stop": verifier.stop}
        if path["act"] not in act:
            raise HTTPException(404)
        with self._shelf.reading() as reading:
            entry = entry_of(reading, reading.model(path["model"]), path["version"])
        act[path["act"]](entry.model_id, entry.digest)
        return RedirectResponse(request.url.path.removesuffix(f"/{path['act']}"), 303)

    # Errors -------------------------------------------------------------------------------------------------------

    def failed(self, request: Request, error: CairnError) -> Response:
        """Answer to an error that Cairn raises: what was expected, and what came."""
        name = type(error).__name__
        if isinstance(error, Busy | Unproved):
            return self._error(request, 503, name, str(error), {"Retry-After": "10"})
        if isinstance(error, IndexUnusable) or not isinstance(error, InputError):
            log.warning("%s: %s: %s", request.url.path, name, error)  # it may name files and hosts
            return self._error(request, 503, name, "index or store cannot be read now: the explorer's log says why")
        return self._error(request, 404 if isinstance(error, NotThere) else 400, name, str(error))

    def refused(self, request: Request, error: HTTPException) -> Response:
        """Answer to an address or a method that there is not."""
        told = {
            404: "there is no such page",
            403: "expected a form of this site",
            405: "expected the method GET or HEAD",
        }
        said = told.get(error.status_code, "the request is malformed")
        return self._error(request, error.status_code, "HTTPException", f"{said}: {request.method} {request.url.path}")

    def broken(self, request: Request, error: Exception) -> Response:
        """Answer to an error that nobody expected; the log has it."""
        log.error("%s: %s", request.url.path, type(error).__name__)
        return self._error(request, 500, "Unexpected", "an unexpected error: a bug, which the explorer's log shows")

    def _error(
        self, request: Request, code: int, name: str, message: str, more: Mapping[str, str] | None = None
    ) -> Response:
        line = printable(" ".join(message.split()))
        headers = {**HEADERS, "Cache-Control": "no-store", **(more or {})}
        if request.url.path.endswith(".json"):
            text = encoded({"error": name, "message": line}) + "\n"
            return Response(text, code, media_type="application/json", headers=headers)
        text = self._templates.get_template("error.html").render(code=code, message=line, title="Error")
        return Response(text, code, media_type="text/html", headers={**headers, "Content-Security-Policy": PAGE_POLICY})


def _static_files() -> tuple[dict[str, _File], dict[str, str]]:
    """Return the files by their served name, which names their content, and those names by the files' own."""
    served, names = {}, {}
    for name in _SHARED:
        data = (files("registry.explorer") / "static" / name).read_bytes()
        stem, _, ending = name.partition(".")
        names[name] = f"{stem}.{hashlib.sha256(data).hexdigest()[:16]}.{ending}"
        served[names[name]] = _File(data, _TYPES[ending])
    return served, names


def _query_of(request: Request, page: Page) -> dict[str, str]:
    """Return the query parameters that a page knows.

    Raises:
        InputError: One is given twice, or is too long.
    """
    found = {}
    for name in page.query:
        given = request.query_params.getlist(name)
        if len(given) > 1 or any(len(value) > _MOST_QUERY for value in given):
            raise InputError(f"expected {name} at most once, of at most {_MOST_QUERY} characters")
        if given:
            found[name] = given[0]
    return found


def _shown(value: object) -> object:
    """Return what a template shows of a value: text with characters that steer a reader as escapes."""
    return value if isinstance(value, Markup) else printable(str(value))


def _pretty(value: object) -> Markup:
    """Return facts as indented JSON, escaped."""
    return Markup.escape(encoded(plain(value), indent=2))
