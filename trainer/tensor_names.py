"""Match a module's tensor names to a version's, which may differ by wrappers' prefixes and by ties.

`torch.compile` puts `_orig_mod.` into names, `DataParallel` puts `module.` before them, and PEFT puts
`base_model.model.` before them, `base_layer` and the adapter's name `default` into them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from registry.errors import InputError

__all__ = ["listed", "patterns_for", "require_once", "require_same", "stored_names", "without_wrappers"]

_COMPONENTS = re.compile(r"(?<![^.])(?:_orig_mod|base_layer)\.")
_ADAPTER = re.compile(r"(?<![^.])(lora_\w+)\.default(?![^.])")
_MOST_LISTED = 5
"""Most tensors that a message names."""
_PREFIX = re.compile(r"\A(?:module\.|base_model\.model\.)+")


def without_wrappers(name: str) -> str:
    """Return a tensor's name without what wrappers put into it."""
    return _PREFIX.sub("", _ADAPTER.sub(r"\1", _COMPONENTS.sub("", name)))


def stored_names(
    tensors: Collection[str], tied: Mapping[str, str], stored: Collection[str], aliases: Mapping[str, str]
) -> dict[str, str]:
    """Return the name under which a version stores each of a module's tensors.

    A name stands for itself first; else the name that is the same without wrappers' parts, if there is exactly one.

    Args:
        tensors: Names of the module's tensors, tied ones once.
        tied: The module's further names of tied tensors: alias -> name.
        stored: Names of the version's stored tensors.
        aliases: The version's further names of tied tensors: alias -> name.

    Returns:
        Module's name -> stored name, without the tensors that the version lacks.

    Raises:
        InputError: The module ties tensors that the version stores apart.
    """
    known = {**{name: name for name in stored}, **aliases}
    bare: dict[str, set[str]] = {}
    for each, place in known.items():
        bare.setdefault(without_wrappers(each), set()).add(place)
    names = Counter(map(without_wrappers, (*tensors, *tied)))
    found: dict[str, str] = {}
    for name, group in _groups(tensors, tied).items():
        targets: dict[str, str] = {}
        for one in group:
            short = without_wrappers(one)
            alike = bare.get(short, set()) if names[short] == 1 else set()
            target = known.get(one) or (next(iter(alike)) if len(alike) == 1 else None)
            if target is not None:
                targets.setdefault(target, one)
        if len(targets) > 1:
            first, second = sorted(targets)[:2]
            raise InputError(
                f"{targets[second]}: the module ties it to {targets[first]}, but the version stores {first} and "
                f"{second} apart: expected both tied, or neither"
            )
        found.update((name, each) for each in targets)
    return found


def require_once(stored: Mapping[str, str]) -> None:
    """Refuse a module in which training would change a tied tensor of the version in two places.

    Raises:
        InputError: The version ties tensors that the module holds apart.
    """
    first: dict[str, str] = {}
    for name, target in stored.items():
        if first.setdefault(target, name) != name:
            raise InputError(
                f"{name}: the version ties it to {first[target]}, the module holds both apart: tie them in the module "
                "(its tie_weights, or one parameter for both), or publish a version that stores both"
            )


def _groups(tensors: Iterable[str], tied: Mapping[str, str]) -> dict[str, list[str]]:
    groups = {name: [name] for name in tensors}
    for alias, name in tied.items():
        groups[name].append(alias)
    return groups


def listed(names: Sequence[str]) -> str:
    """Return tensors' names for a message."""
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more


def patterns_for(names: Sequence[str]) -> tuple[str, ...]:
    """Return patterns for tensors' names, one for each of the module's parts that they are in."""
    return tuple(dict.fromkeys(f"{name.partition('.')[0]}.*" if "." in name else name for name in names))


def require_same(missing: Sequence[str], unknown: Sequence[str]) -> None:
    """Refuse a module whose shared tensors are not the version's, and say how they come to be.

    Args:
        missing: Tensors of the module that the version lacks.
        unknown: Tensors of the version that the module lacks.

    Raises:
        InputError: There are some.
    """
    said = []
    if missing:
        said.append(
            f"the version lacks {listed(missing)}, which the module has: what only this site has is "
            f"private={patterns_for(missing)} in the Task; what all share belongs into a published version"
        )
    if unknown:
        said.append(f"the module lacks {listed(unknown)}, which the version has: make the module that it was made of")
    if said:
        raise InputError("; ".join(said))
