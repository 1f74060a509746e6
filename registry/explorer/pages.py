"""The table of pages: path, facts, and what gathers them. Routes, JSON twins and the OpenAPI schema follow from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from registry.explorer.model_pages import (
    MembersPage,
    ModelPage,
    ModelsPage,
    RoundsPage,
    VersionsPage,
    members_page,
    model_page,
    models_page,
    rounds_page,
    versions_page,
)
from registry.explorer.people_pages import DataSetPage, ParticipantPage, data_set_page, participant_page
from registry.explorer.plan_page import PlanPage, plan_page
from registry.explorer.reading import Reading
from registry.explorer.round_page import RoundPage, round_page
from registry.explorer.search_page import SearchPage, search_page
from registry.explorer.source_pages import BlockPage, ManifestPage, block_page, manifest_page
from registry.explorer.verification_page import VerificationPage, verification_page
from registry.explorer.version_page import VersionPage, version_page

__all__ = ["PAGES", "Gather", "Page"]

Gather = Callable[[Reading, Mapping[str, str], Mapping[str, str]], object]
"""Returns a page's facts, given what it reads, its path parameters and its query."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page.

    Attributes:
        name: Name of its template, and of its operation in the OpenAPI schema.
        path: Its path; that of its JSON twin ends in .json.
        summary: What it shows.
        facts: The dataclass of its facts.
        gather: Gathers them.
        query: Query parameters that it knows, with what each means.
    """

    name: str
    path: str
    summary: str
    facts: type
    gather: Gather
    query: Mapping[str, str]


_BEFORE = {"before": "Cursor of the previous part; without one the newest are shown."}
_MODEL = "/models/{model}"
PAGES = (
    Page("models", "/models", "Models", ModelsPage, models_page,
         {"after": "Cursor of the previous part; without one the first are shown."}),
    Page("model", _MODEL, "A model", ModelPage, model_page, {}),
    Page("versions", f"{_MODEL}/versions", "A model's versions", VersionsPage, versions_page, _BEFORE),
    Page("rounds", f"{_MODEL}/rounds", "A model's rounds", RoundsPage, rounds_page, _BEFORE),
    Page("members", f"{_MODEL}/members", "A model's members", MembersPage, members_page,
         {"after": "Cursor of the previous part."}),
    Page("version", f"{_MODEL}/versions/{{version}}", "A version", VersionPage, version_page, {}),
    Page("verification", f"{_MODEL}/versions/{{version}}/verification", "A deep verification", VerificationPage,
         verification_page, {}),
    Page("round", f"{_MODEL}/rounds/{{number}}", "A round", RoundPage, round_page,
         {"after": "Number of commitments before the part that is shown."}),
    Page("plan", f"{_MODEL}/plans/{{index}}", "A plan", PlanPage, plan_page, {}),
    Page("participant", "/participants/{account}", "An account", ParticipantPage, participant_page, _BEFORE),
    Page("data-set", "/data-sets/{digest}", "A data set", DataSetPage, data_set_page, {}),
    Page("manifest", "/manifests/{digest}", "A manifest", ManifestPage, manifest_page, {}),
    Page("block", "/blocks/{number}", "A block", BlockPage, block_page, {}),
    Page("search", "/search", "Search", SearchPage, search_page,
         {"q": "Hex digits of an id, digest, sha256 or address, in full or their beginning, or a CID."}),
)  # fmt: skip
