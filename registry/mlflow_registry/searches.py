"""MLflow's filters, orders and pages for callers that nobody trusts: bounded, with one error for what is malformed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlflow.entities.model_registry.model_version_stages import get_canonical_stage
from mlflow.prompt.registry_utils import add_prompt_filter_string
from mlflow.store.entities.paged_list import PagedList
from mlflow.utils.search_utils import SearchModelUtils, SearchModelVersionUtils

from registry.errors import InputError
from registry.explorer.reading import number_of
from registry.mlflow_registry.mlflow_errors import reported_to_mlflow

__all__ = ["Utils", "most_of", "page_of_found", "parsed_filter", "selected", "stages_of"]

Utils = type[SearchModelUtils] | type[SearchModelVersionUtils]
_LONGEST = 4000
"""Characters of a filter, and of an order."""
_WILDCARDS = 2
"""Of one pattern: MLflow makes each `%` a `.*`, and such an expression takes time to the power of their number."""


def parsed_filter(utils: Utils, text: str | None) -> tuple[str, list[dict[str, Any]]]:
    """Return a filter that leaves prompts out, and its clauses.

    Raises:
        MlflowException: It is malformed, too long, or has a pattern that could take forever.
    """
    with _malformed("filter", text):
        if text is not None and (not isinstance(text, str) or len(text) > _LONGEST):
            raise InputError(f"filter: expected a text of at most {_LONGEST} characters, got {text!r:.100}")
        wanted = add_prompt_filter_string(text, is_prompt=False)
        clauses = utils.parse_search_filter(wanted)
        for value in (clause["value"] for clause in clauses if clause["comparator"].upper().endswith("LIKE")):
            if str(value).count("%") > _WILDCARDS:
                raise InputError(f"filter: expected at most {_WILDCARDS} % in a pattern, got {value!r:.100}")
        return wanted, clauses


def selected(utils: Utils, every: Sequence[Any], wanted: str, order_by: list[str] | None) -> list[Any]:
    """Return what a filter holds for, in order.

    Raises:
        MlflowException: An order is malformed, or the filter compares with what is no number.
    """
    with _malformed("filter or order", order_by):
        if len(str(order_by)) > _LONGEST:
            raise InputError(f"order: expected at most {_LONGEST} characters, got {order_by!r:.100}")
        found: list[Any] = utils.sort(utils.filter(every, wanted), order_by)
        return found


def most_of(max_results: int | None, threshold: int) -> int:
    """Return how many results a page has.

    Raises:
        MlflowException: It is no number from 1 to the threshold.
    """
    with reported_to_mlflow():
        if isinstance(max_results, bool) or not isinstance(max_results, int) or not 1 <= max_results <= threshold:
            raise InputError(f"max_results: expected a whole number from 1 to {threshold}, got {max_results!r:.100}")
        return max_results


def page_of_found(found: Sequence[Any], most: int, token: str | None) -> PagedList:
    """Return a page; its token is the number of results before the next one.

    Raises:
        MlflowException: The token is none.
    """
    with reported_to_mlflow():
        start = number_of(str(token), "page_token") if token else 0
    end = start + most
    return PagedList(found[start:end], str(end) if end < len(found) else None)


def stages_of(stages: Sequence[str] | None) -> set[str]:
    """Return the stages that a caller asks for; without any, the one that Cairn's versions have, `None`.

    Raises:
        MlflowException: MLflow knows no such stage.
    """
    with _malformed("stages", stages):
        return {get_canonical_stage(str(stage)[:100]) for stage in stages or ("None",)}


@contextmanager
def _malformed(what: str, given: object) -> Iterator[None]:
    """Raise MlflowException for what MLflow's parsers trip over."""
    with reported_to_mlflow():
        try:
            yield
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise InputError(f"{what}: expected what MLflow's documentation describes, got {given!r:.100}") from error
