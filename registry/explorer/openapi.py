"""The OpenAPI schema of the JSON twins, made of the table of pages and the types of their facts."""

from __future__ import annotations

import re
from typing import Any

from registry.explorer.json_schema import Schemas
from registry.explorer.pages import PAGES, Page

__all__ = ["openapi"]

_ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "message": {"type": "string"}},
    "required": ["error", "message"],
    "additionalProperties": False,
}
_FAILURES = {
    "400": "A path or query that names nothing: the message says what was expected and what came.",
    "404": "The index has nothing under this name.",
    "503": "The index or the store cannot be read now.",
}
_PARAMETERS = {
    "model": "Id of a model: 0x and 64 hex digits in lower case.",
    "version": "Digest of a version's manifest: 0x and 64 hex digits in lower case.",
    "digest": "A digest: 0x and 64 hex digits in lower case.",
    "account": "An address: 0x and 40 hex digits in lower case.",
    "number": "A number.",
    "index": "A plan's index, from 0.",
}


_PATTERNS = {
    "model": "^0x[0-9a-f]{64}$",
    "version": "^0x[0-9a-f]{64}$",
    "digest": "^0x[0-9a-f]{64}$",
    "account": "^0x[0-9a-f]{40}$",
    "number": "^(0|[1-9][0-9]{0,17})$",
    "index": "^(0|[1-9][0-9]{0,17})$",
}


def openapi(version: str) -> dict[str, Any]:
    """Return the document.

    Args:
        version: This package's.
    """
    schemas = Schemas()
    schemas.found["Error"] = _ERROR
    paths = {f"{page.path}.json": {"get": _operation(page, schemas)} for page in PAGES}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Cairn explorer",
            "version": version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Models, rounds and versions as the contracts' events and the manifests tell them. Bytes "
            "are 0x and hex digits, times Unix seconds, amounts wei unless a name says otherwise.",
        },
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.found.items()))},
    }


def _operation(page: Page, schemas: Schemas) -> dict[str, Any]:
    parameters = [_parameter(name, "path", _PARAMETERS[name]) for name in re.findall(r"{(\w+)}", page.path)]
    parameters += [_parameter(name, "query", text) for name, text in page.query.items()]
    tag = {"ETag": {"schema": {"type": "string"}, "description": "Changes with the index's head."}}
    failures = {
        code: {"description": text, "content": _json({"$ref": "#/components/schemas/Error"})}
        for code, text in _FAILURES.items()
    }
    return {
        "operationId": page.name,
        "summary": page.summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": page.summary, "headers": tag, "content": _json(schemas.of(page.facts))},
            "304": {"description": "Nothing has changed since the answer with this ETag."},
            **failures,
        },
    }


def _parameter(name: str, place: str, text: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": text,
        "schema": {"type": "string", "pattern": _PATTERNS[name]} if name in _PATTERNS else {"type": "string"},
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
