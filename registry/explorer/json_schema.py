"""JSON schemas of facts, from the types of their dataclasses: what `registry.facts.plain` writes."""

from __future__ import annotations

import dataclasses
import enum
import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from registry.types import Cid

__all__ = ["Schemas"]

_HEX = {"type": "string", "pattern": "^0x([0-9a-f]{2})*$"}
_PLAIN: dict[object, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bytes: _HEX,
    types.NoneType: {"type": "null"},
    Cid: {"type": "string", "pattern": "^b[a-z2-7]+$"},
}


class Schemas:
    """Schemas of dataclasses by class name, as an OpenAPI document holds them.

    Args:
        where: Prefix of references to them.
    """

    def __init__(self, where: str = "#/components/schemas/") -> None:
        self.found: dict[str, dict[str, Any]] = {}
        self._where = where

    def of(self, kind: Any) -> dict[str, Any]:
        """Return the schema of a type; that of a dataclass is a reference to `found`.

        Raises:
            TypeError: Facts have no values of this type.
        """
        kind = getattr(kind, "__supertype__", kind)  # a NewType
        origin, inside = get_origin(kind), get_args(kind)
        if origin is Annotated:
            return self.of(inside[0])
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.of(one) for one in inside]}
        if origin is tuple:
            return self._list(inside)
        if origin in (Mapping, dict):
            return {"type": "object", "additionalProperties": self.of(inside[1])}
        if kind in _PLAIN:
            return _PLAIN[kind]
        if isinstance(kind, type) and issubclass(kind, enum.Flag):
            return {"type": "array", "items": {"enum": [str(one.name).lower() for one in kind]}}
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return {"enum": [one.name.lower() for one in kind]}
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            return self._object(kind)
        raise TypeError(f"expected a type of facts, got {kind!r}")

    def _list(self, inside: tuple[Any, ...]) -> dict[str, Any]:
        if inside[1:] == (...,):
            return {"type": "array", "items": self.of(inside[0])}
        items = [self.of(one) for one in inside]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}

    def _object(self, kind: type) -> dict[str, Any]:
        name = kind.__name__
        if name not in self.found:
            self.found[name] = {}  # so that a type may hold itself
            told = get_type_hints(kind, include_extras=True)
            names = [field.name for field in dataclasses.fields(kind)]
            self.found[name] = {
                "type": "object",
                "description": (kind.__doc__ or "").strip(),
                "properties": {field: self.of(told[field]) for field in names},
                "required": names,
                "additionalProperties": False,
            }
        return {"$ref": f"{self._where}{name}"}
