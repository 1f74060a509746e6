"""What stands before every page: headers, the names that are answered to, and that only this site's forms act."""

from __future__ import annotations

import re
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.facts.plain import printable

__all__ = [
    "HEADERS",
    "LIVE_POLICY",
    "PAGE_POLICY",
    "SEARCH_POLICY",
    "WithHeaders",
    "WithNames",
    "attached",
    "from_this_site",
    "is_known",
    "not_of_another_site",
]

_POLICY = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
PAGE_POLICY = f"{_POLICY}; style-src 'self'; img-src 'self'"
SEARCH_POLICY = f"{PAGE_POLICY}; script-src 'self'"
LIVE_POLICY = f"{SEARCH_POLICY}; connect-src 'self'"
"""Of pages that follow the chain."""
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with no-referrer a browser would hide the origin of this site's own forms
    "X-Content-Type-Options": "nosniff",
}


class WithHeaders:
    """Adds the headers that every answer has, and CORS where it is on."""

    def __init__(self, app: ASGIApp, cors: str | None) -> None:
        self._app = app
        self._cors = cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if self._cors is not None and headers.get("content-type", "").startswith("application/json"):
                    headers["Access-Control-Allow-Origin"] = self._cors
                    headers["Access-Control-Expose-Headers"] = "ETag"
                    headers.add_vary_header("Origin")
                headers.setdefault("Cross-Origin-Resource-Policy", "cross-origin" if self._cors else "same-origin")
            await send(message)

        await self._app(scope, receive, with_headers)


class WithNames:
    """Refuses requests for other host names than these."""

    def __init__(self, app: ASGIApp, names: Collection[str] | None) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = Headers(scope=scope).get("host", "")
        if self._names is None or re.sub(r":\d*$", "", named).lower() in self._names:
            await self._app(scope, receive, send)
            return
        said = f"expected a request for {', '.join(self._names)}, got one for {printable(named)[:100]}\n"
        await Response(said, 421, media_type="text/plain")(scope, receive, send)


def from_this_site(request: Request) -> bool:
    """Return whether a form of this site sent a request: its origin is the host that it asks, as only browsers say."""
    said, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin", "null")
    if said is not None and said != "same-origin":
        return False
    if origin != "null":
        scheme, _, host = origin.lower().partition("://")
        return scheme in ("http", "https") and host == request.headers.get("host", "").lower() != ""
    return said is not None


def not_of_another_site(request: Request) -> bool:
    """Return whether a request comes from a page of this site, from an address bar, or from no browser."""
    return request.headers.get("sec-fetch-site", "none") in ("none", "same-origin")


def is_known(request: Request, etag: str) -> bool:
    """Return whether the reader has the answer with this tag."""
    given = request.headers.get("if-none-match", "")
    return etag in (one.strip() for one in given.split(","))


def attached(name: str) -> dict[str, str]:
    """Return the headers of a file that a browser saves under a name and never shows."""
    return {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-cache"}
