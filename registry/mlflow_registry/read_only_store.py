"""MLflow's model registry store on Cairn's index, read-only: `mlflow.set_registry_uri("cairn:…")`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import FEATURE_DISABLED
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry import (
    SEARCH_MODEL_VERSION_MAX_RESULTS_THRESHOLD,
    SEARCH_REGISTERED_MODEL_MAX_RESULTS_THRESHOLD,
)
from mlflow.store.model_registry.abstract_store import AbstractStore
from mlflow.utils.search_utils import SearchModelUtils, SearchModelVersionUtils

from registry.explorer.reading import Reading, number_of
from registry.mlflow_registry.mlflow_entities import model_version, registered_model
from registry.mlflow_registry.mlflow_errors import reported_to_mlflow
from registry.mlflow_registry.registered_models import (
    NamedModel,
    NumberedVersion,
    final_head,
    named_model,
    named_models,
    numbered_versions,
    page_of,
    version_by_alias,
    version_by_number,
)
from registry.mlflow_registry.registry_uri import open_shelf, parse_registry_uri
from registry.mlflow_registry.searches import most_of, page_of_found, parsed_filter, selected, stages_of

__all__ = ["ReadOnlyStore"]

_NO_PROMPTS = "Cairn keeps models alone, no prompts"
_WATCH = "`cairn watch MODEL --webhook URL` calls webhooks"


def _refusing(instead: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise MlflowException(f"Cairn's registry is read-only in MLflow: {instead}", error_code=FEATURE_DISABLED)

    return refuse


class ReadOnlyStore(AbstractStore):
    """The models of one index. Nothing is written to index, store or chain; no node is asked.

    Args:
        store_uri: `cairn:…`, see `registry.mlflow_registry.registry_uri`.
        tracking_uri: Not used.

    Raises:
        MlflowException: The URI is malformed, or names no index.
    """

    def __init__(self, store_uri: str | None = None, tracking_uri: str | None = None) -> None:
        super().__init__(store_uri, tracking_uri)
        with reported_to_mlflow():
            self._uri = parse_registry_uri(store_uri or "")
            self._shelf = open_shelf(self._uri)

    @contextmanager
    def _reading(self) -> Iterator[Reading]:
        with reported_to_mlflow(), self._shelf.reading() as reading:
            yield reading

    @contextmanager
    def _model(self, name: str) -> Iterator[tuple[Reading, NamedModel]]:
        with self._reading() as reading:
            yield reading, named_model(reading, self._uri.names, str(name))

    # Models -----------------------------------------------------------------------------------------------------------

    def get_registered_model(self, name: str) -> RegisteredModel:
        """Return a model."""
        with self._model(name) as (reading, model):
            return _registered(reading, model)

    def search_registered_models(
        self,
        filter_string: str | None = None,
        max_results: int | None = None,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList:
        """Return a page of the models that a filter holds for."""
        most = most_of(max_results, SEARCH_REGISTERED_MODEL_MAX_RESULTS_THRESHOLD)
        wanted, _ = parsed_filter(SearchModelUtils, filter_string)
        with self._reading() as reading:
            models = [_registered(reading, model) for model in named_models(reading, self._uri.names)]
        return page_of_found(selected(SearchModelUtils, models, wanted, order_by), most, page_token)

    # Versions ---------------------------------------------------------------------------------------------------------

    def get_model_version(self, name: str, version: str | int) -> ModelVersion:
        """Return a version by number."""
        with self._model(name) as (reading, model):
            return _as_text(_told(reading, model, version_by_number(reading, model, _number(version))))

    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        """Return the version that an alias names in the last final block."""
        with self._model(name) as (reading, model):
            return _as_text(_told(reading, model, version_by_alias(reading, model, str(alias))))

    def get_latest_versions(self, name: str, stages: Sequence[str] | None = None) -> list[ModelVersion]:
        """Return the version that is the model's head in the last final block. Cairn has no stages but `None`."""
        with self._model(name) as (reading, model):
            asked, head = stages_of(stages), final_head(reading, model)
            return [_as_text(_told(reading, model, head))] if head is not None and "None" in asked else []

    def get_model_version_download_uri(self, name: str, version: str | int) -> str:
        """Return where MLflow fetches a version's file from; `version_files` checks it then."""
        source: str = self.get_model_version(name, version).source
        return source

    def search_model_versions(
        self,
        filter_string: str | None = None,
        max_results: int | None = None,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList:
        """Return a page of the versions that a filter holds for."""
        most = most_of(max_results, SEARCH_MODEL_VERSION_MAX_RESULTS_THRESHOLD)
        wanted, clauses = parsed_filter(SearchModelVersionUtils, filter_string)
        names = [
            clause["value"]
            for clause in clauses
            if (clause["type"], clause["key"], clause["comparator"]) == ("attribute", "name", "=")
        ]
        asks_tags = any(clause["type"] == "tag" and not clause["key"].startswith("mlflow.") for clause in clauses)
        with self._reading() as reading:
            numbered = {
                (model.name, version.number): (model, version)
                for model in named_models(reading, self._uri.names)
                if all(model.name == name for name in names)
                for version in numbered_versions(reading, model)
            }
            # Manifests are read for the versions that are returned, or for all where their tags are asked for.
            make = _told if asks_tags else _in_brief
            versions = [make(reading, model, version) for model, version in numbered.values()]
            page = page_of_found(selected(SearchModelVersionUtils, versions, wanted, order_by), most, page_token)
            if not asks_tags:
                page = PagedList([_told(reading, *numbered[one.name, one.version]) for one in page], page.token)
        return PagedList([_as_text(version) for version in page], page.token)

    # What is not there, and what is refused ---------------------------------------------------------------------------

    def list_webhooks(self, max_results: int | None = None, page_token: str | None = None) -> PagedList:
        """Return no webhooks."""
        return PagedList([], None)

    def list_webhooks_by_event(
        self, event: object, max_results: int | None = None, page_token: str | None = None
    ) -> PagedList:
        """Return no webhooks."""
        return PagedList([], None)

    create_registered_model = _refusing("`cairn model register` registers a model")
    update_registered_model = _refusing("a title stands in an owner's statement: `cairn model publish --title`")
    rename_registered_model = _refusing("a model's name is its id; name=WORD:0xID in the registry URI calls it WORD")
    delete_registered_model = _refusing("what is anchored stays; `cairn model deprecate` marks a version")
    set_registered_model_tag = delete_registered_model_tag = _refusing("`cairn model tag` tags a version")
    create_model_version = copy_model_version = _refusing("rounds make versions, and `cairn model publish`")
    update_model_version = _refusing("`cairn model note` adds a note to a version")
    transition_model_version_stage = _refusing("it has no stages: `cairn model alias` names a version")
    delete_model_version = _refusing("what is anchored stays; `cairn model deprecate` marks a version")
    set_model_version_tag = delete_model_version_tag = _refusing("`cairn model tag` tags a version")
    set_registered_model_alias = delete_registered_model_alias = _refusing("`cairn model alias` names a version")
    create_prompt = create_prompt_version = delete_prompt = delete_prompt_version = _refusing(_NO_PROMPTS)
    set_prompt_tag = delete_prompt_tag = set_prompt_alias = delete_prompt_alias = _refusing(_NO_PROMPTS)
    set_prompt_version_tag = delete_prompt_version_tag = link_prompts_to_trace = _refusing(_NO_PROMPTS)
    link_prompt_version_to_model = link_prompt_version_to_run = _refusing(_NO_PROMPTS)
    create_webhook = get_webhook = update_webhook = delete_webhook = test_webhook = _refusing(_WATCH)


def _registered(reading: Reading, model: NamedModel) -> RegisteredModel:
    numbers = {bytes(one.entry.digest): one.number for one in numbered_versions(reading, model)}
    head = final_head(reading, model)
    latest = None if head is None else _as_text(model_version(reading, model, head))
    return registered_model(reading, model, numbers, latest)


def _told(reading: Reading, model: NamedModel, version: NumberedVersion) -> ModelVersion:
    return model_version(reading, model, version, page_of(reading, version.entry))


def _in_brief(reading: Reading, model: NamedModel, version: NumberedVersion) -> ModelVersion:
    return model_version(reading, model, version)


def _as_text(version: ModelVersion) -> ModelVersion:
    """Have a version's number as text, as MLflow's entity declares it."""
    version._version = str(version.version)
    return version


def _number(version: str | int) -> int:
    return number_of(str(version), "version")
