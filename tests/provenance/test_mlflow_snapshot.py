"""MLflow's client on a snapshot: participants' scores, hostile words, a deprecated version, records that disagree."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.exports.mlflow_client import code_of, require_plugin, set_environment

require_plugin()

from explorer_world import World  # noqa: E402

pytestmark = pytest.mark.xdist_group("explorer")  # one process makes the world for all


@pytest.fixture(scope="module")
def snapshot(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the world's snapshot, which these tests may change."""
    folder = tmp_path_factory.mktemp("mlflow") / "snapshot"
    shutil.copytree(world.folder, folder)
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch)
        yield folder


@pytest.fixture
def client(snapshot: Path, world: World) -> Iterator[Any]:
    import mlflow

    mlflow.set_registry_uri(f"cairn:{snapshot}?name=linear:0x{world.simulation.model_id.hex()}")
    yield mlflow.MlflowClient()
    mlflow.set_registry_uri("")


def test_participants_scores_are_shown(client: Any) -> None:
    versions = client.search_model_versions("name = 'linear'", order_by=["version_number ASC"])
    assert [version.version for version in versions] == ["1", "2", "3"]
    told = [
        [version.tags.get(f"cairn.score{part}") for part in ("", ".metric", ".worst", ".participants")]
        for version in versions
    ]
    assert told == [["0.65", "accuracy", "0.6", "2"], ["0.65", "accuracy", "0.6", "2"], [None] * 4]
    (best,) = client.search_model_versions("tags.`cairn.score` = '0.65' AND tags.`cairn.deprecated` = 'false'")
    assert (best.name, best.version) == ("linear", "1")


def test_times_are_those_of_the_blocks(client: Any, world: World) -> None:
    version = client.get_model_version("linear", "3")
    block = world.simulation.owner.w3.eth.get_block(int(version.tags["cairn.block"]))
    assert version.creation_timestamp == block["timestamp"] * 1000


def test_strangers_words_stand_on_one_line_and_steer_nobody(client: Any, world: World) -> None:
    hostile = client.get_registered_model(f"0x{world.hostile.hex()}")
    version = client.get_model_version(hostile.name, 1)
    note = client.get_model_version_by_alias("linear", "production").tags["cairn.note.1"]
    assert "<script>" in hostile.description and "<script>" in note
    said = [hostile.description, *hostile.tags.values(), *version.tags, *version.tags.values(), note]
    assert [text for text in said if not text.isprintable() or len(text) > 520] == []
    assert [metric.value for metric in version.metrics] == [1e308]
    assert client.search_registered_models("name LIKE '%script%'") == []


def test_a_snapshot_has_no_files_to_hand_out(client: Any, tmp_path: Path) -> None:
    import mlflow

    code, said = code_of(lambda: mlflow.artifacts.download_artifacts("models:/linear/3", dst_path=str(tmp_path)))
    assert (code, "model.safetensors" in said, list(tmp_path.iterdir())) == ("TEMPORARILY_UNAVAILABLE", True, [])


def test_a_store_beside_a_snapshot_is_refused(snapshot: Path, client: Any) -> None:
    from mlflow import MlflowClient

    other = MlflowClient(registry_uri=f"cairn:{snapshot}?store=elsewhere")
    assert code_of(other.search_registered_models)[0] == "INVALID_PARAMETER_VALUE"


def test_a_version_whose_records_disagree_is_marked_and_not_handed_out(
    snapshot: Path, client: Any, world: World, tmp_path: Path
) -> None:
    import mlflow

    folder = tmp_path / "snapshot"
    shutil.copytree(snapshot, folder)
    with sqlite3.connect(folder / "index.sqlite") as db:
        db.execute("UPDATE versions SET tensor_root = ? WHERE round IS NULL", (b"\1" * 32,))
    mlflow.set_registry_uri(f"cairn:{folder}?name=linear:0x{world.simulation.model_id.hex()}")
    version = mlflow.MlflowClient().get_model_version("linear", 1)
    assert (version.status, version.tags["cairn.verdict"]) == ("FAILED_REGISTRATION", "failed")
    assert version.status_message.startswith("a check fails: ")
    code, said = code_of(lambda: mlflow.artifacts.list_artifacts("models:/linear/1"))
    assert (code, "a check fails: " in said) == ("INVALID_STATE", True)


def test_what_is_no_index_is_said_so(tmp_path: Path, snapshot: Path) -> None:
    from mlflow import MlflowClient

    (tmp_path / "text.sqlite").write_text("no index " * 99)
    for place in (tmp_path, tmp_path / "text.sqlite"):
        client = MlflowClient(registry_uri=f"cairn:{place}")
        code, said = code_of(lambda client=client: client.search_registered_models())
        assert (code in ("INVALID_STATE", "INVALID_PARAMETER_VALUE"), "index" in said) == (True, True)
