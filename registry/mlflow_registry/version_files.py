"""MLflow's artifact repository of a version: its weights, checked against what the chain anchors before they are there.

The URI names a model and a version alone. Where they are read from is the registry URI's to say, so a URI that a
stranger stored cannot make a server read other files or hosts.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

import mlflow
from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import FEATURE_DISABLED
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from registry.content.manifest import VersionManifest
from registry.durable import whole_file
from registry.errors import BlockNotFound, InputError, VerificationFailed
from registry.explorer.reading import NotThere
from registry.explorer.version_page import entry_of
from registry.mlflow_registry.mlflow_errors import reported_to_mlflow
from registry.mlflow_registry.registered_models import obstacle, page_of
from registry.mlflow_registry.registry_uri import open_shelf, parse_registry_uri
from registry.rounds.versions import read_version

__all__ = ["FILE_NAME", "VersionFiles"]

FILE_NAME = "model.safetensors"
_ROOT = re.compile(r"cairn:/(0x[0-9a-f]{64})(?:/(0x[0-9a-f]{64}))?/?", re.ASCII)


class VersionFiles(ArtifactRepository):
    """The files of one version: `model.safetensors`.

    Args:
        artifact_uri: `cairn:/MODEL/VERSION`, or `cairn:/MODEL` if paths begin with the version, as MLflow splits URIs.
        tracking_uri: Not used.
        registry_uri: Names index and store; by default MLflow's.

    Raises:
        MlflowException: A URI is malformed, or the registry's is none of Cairn's.
    """

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        with reported_to_mlflow():
            named = _ROOT.fullmatch(artifact_uri)
            if named is None:
                raise InputError(f"expected cairn:/MODEL/VERSION, each 0x and 64 hex digits, got {artifact_uri!r:.200}")
            self._root = tuple(part for part in named.groups() if part is not None)
            self._uri = parse_registry_uri(registry_uri or mlflow.get_registry_uri())
            self._shelf = open_shelf(self._uri)

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """Return the files under a path: one in a version."""
        with reported_to_mlflow():
            model, version, *file = self._parts(path)
            weights = self._manifest(model, version).weights
        return [] if file else [FileInfo(f"{path}/{FILE_NAME}" if path else FILE_NAME, False, weights.size)]

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        with reported_to_mlflow():
            model, version, *file = self._parts(remote_file_path)
            if file != [FILE_NAME]:
                raise NotThere(f"expected {FILE_NAME}, the one file of a version, got {remote_file_path!r:.100}")
            pieces = read_version(self._shelf.store, self._manifest(model, version))
            with whole_file(Path(local_path)) as partial, partial.open("wb") as written:
                for piece in pieces:
                    written.write(piece)
                written.flush()

    def _parts(self, path: str | None) -> tuple[str, ...]:
        """Return model, version, and the file if the path names one."""
        parts = (*self._root, *(part for part in str(path or "").split("/") if part))
        if not 2 <= len(parts) <= 3 or parts[2:] not in ((), (FILE_NAME,)):
            raise NotThere(f"expected a version, and {FILE_NAME} in it, got {path!r:.100}")
        return parts

    def _manifest(self, model: str, version: str) -> VersionManifest:
        """Return a version's manifest, if its file may be handed out."""
        with self._shelf.reading() as reading:
            entry = entry_of(reading, reading.model(model), version)
            page = page_of(reading, entry)
        why = obstacle(page, entry, deprecated=self._uri.deprecated)
        if why:
            raise VerificationFailed(f"version {version[:12]} of model {model[:12]}: {why}")
        if page.facts.manifest is None:
            raise BlockNotFound(f"the manifest of version {version[:12]} is unavailable")
        return page.facts.manifest

    def log_artifact(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()

    def log_artifacts(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()

    def delete_artifacts(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()


def _refuse() -> NoReturn:
    told = "Cairn's registry is read-only in MLflow: rounds make versions, and `cairn model publish`"
    raise MlflowException(told, error_code=FEATURE_DISABLED)
