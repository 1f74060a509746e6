"""MLflow's client on Cairn's index: models, versions, aliases, scores and files as its own registries have them."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import errno
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.dev.embedded import warp
from registry.rounds.versions import save_arrays
from registry.types import Root
from tests.cli.conftest import World, make_world
from tests.cli.test_cli_questions import play_round
from tests.exports.conftest import HOSTILE
from tests.exports.mlflow_client import code_of, require_plugin, set_environment

require_plugin()

pytestmark = pytest.mark.filterwarnings("ignore:.*get_latest_versions.* is deprecated:FutureWarning")
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "mlflow.md"
FOREIGN = "Two to one"
"""A title that two models have."""
LONG = "m" * 600
"""What metrics' names begin with."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Four versions: a genesis, one that is deprecated, one that replaced it, and a round's, with aliases; and a model
    of somebody else's with the same title."""
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch)
        world = make_world(tmp_path_factory.mktemp("mlflow"), patch)
        done, model = world.done, world.model
        for number, name in enumerate(("old", "foreign", "sound"), 1):
            weights = {"weight": np.full((1, 2), number, np.float32), "bias": np.zeros(1, np.float32)}
            save_arrays(world.folder / f"{name}.safetensors", weights)
        statement = ("--title", FOREIGN, "--source", "x=CC0-1.0")
        (world.folder / "old.toml").write_text(f'title = "{FOREIGN}"\n[metrics]\nmacro_f1 = 0.25\n')
        (world.folder / "long.toml").write_text(f'title = "{FOREIGN}"\n[metrics]\n{LONG}a = 0.5\n{LONG}b = 0.75\n')
        told = ("--statement", "old.toml", "--source", "x=CC0-1.0")
        old = done("model", "publish", model, "old.safetensors", *told, "--account", "a")["version"]
        done("model", "alias", model, "previous", old, "--account", "a")
        done("model", "publish", model, "sound.safetensors", *statement, "--account", "a")
        done("model", "deprecate", f"{model}@{old}", "--reason", "worse", "--account", "a")
        play_round(world)
        score(world)
        done("model", "alias", model, "champion", "head", "--account", "a")
        done("model", "tag", f"{model}@head", "validated", "--account", "a")
        told = ("--statement", "long.toml", "--source", "x=CC0-1.0")
        done("model", "register", "foreign.safetensors", *told, "--account", "b")
        done("index", "sync")
        yield world


def score(world: World) -> None:
    """Have f score the round's result, 0.625."""
    done, model = world.done, world.model
    (world.folder / "hidden.py").write_text("def score(arrays):\n    return 0.625, [1, 0, 1, 1]\n")
    durations = ("--commit-duration", "10m", "--reveal-duration", "10m")
    done("validator", "terms", model, *durations, "--minimum", 1, "--account", "a")
    done("member", "grant", model, done("key", "show", "f")["address"], "--role", "validator", "--account", "a")
    for _ in ("commit", "reveal"):
        done("validator", "once", model, "--task", "hidden.py:score", "--account", "f")
        warp(world.chain.w3, seconds=601)


@pytest.fixture
def client(world: World) -> Iterator[Any]:
    """MLflow's own client, asked by name as any program asks."""
    import mlflow

    mlflow.set_registry_uri(f"cairn:?name=titles:{world.model}")
    yield mlflow.MlflowClient()
    mlflow.set_registry_uri("")


def test_a_model_has_its_owner_its_aliases_and_its_head(world: World, client: Any) -> None:
    model = client.get_registered_model("titles")
    assert (model.name, model.description, model.tags["cairn.model"]) == ("titles", FOREIGN, world.model)
    assert model.aliases == {"champion": "4", "previous": "2"}
    assert [version.version for version in model.latest_versions] == ["4"]
    assert client.get_registered_model(world.model).name == "titles"


def test_versions_are_numbered_as_anchored_with_their_digests(world: World, client: Any) -> None:
    found = client.search_model_versions("name = 'titles'", order_by=["version_number ASC"])
    assert [version.version for version in found] == ["1", "2", "3", "4"]
    shown = world.done("model", "show", world.model)["versions"]
    assert [version.tags["cairn.digest"] for version in found] == [one["version"] for one in shown]
    assert [version.tags.get("cairn.round") for version in found] == [None, None, None, "1"]
    assert [version.tags["cairn.deprecated"] for version in found] == ["false", "true", "false", "false"]
    assert {version.tags["cairn.verdict"] for version in found} == {"asserted"}
    assert {version.status for version in found} == {"READY"}
    newest = client.get_model_version("titles", "4")
    assert (newest.aliases, newest.tags["cairn.tags"]) == (["champion"], "validated")
    assert dict(newest) == dict(client.get_model_version_by_alias("titles", "champion")) == dict(found[-1])


def test_metrics_are_shown(client: Any) -> None:
    version = client.get_model_version("titles", 2)
    assert [(metric.key, metric.value) for metric in version.metrics] == [("macro_f1", 0.25)]
    assert version.tags["cairn.metric.macro_f1"] == "0.25"


def test_metrics_of_long_names_have_a_tag_each(client: Any) -> None:
    (other,) = [model.name for model in client.search_registered_models() if model.name != "titles"]
    version = client.get_model_version(other, 1)
    cut = f"{LONG[:499]}…"
    assert [(metric.key, metric.value) for metric in version.metrics] == [(cut, 0.5), (f"{cut} (2)", 0.75)]
    named = {name: value for name, value in version.tags.items() if name.startswith("cairn.metric.")}
    assert named == {f"cairn.metric.{cut}": "0.5", f"cairn.metric.{cut} (2)": "0.75"}


def test_validators_scores_are_shown(client: Any) -> None:
    tags = client.get_model_version("titles", 4).tags
    assert (tags["cairn.validators"], tags["cairn.validators.median"]) == ("1", "0.625")


def test_what_is_not_final_is_marked_and_neither_named_nor_handed_out(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    contract = world.done("contracts", "show")["contract"]
    with monkeypatch.context() as patch:
        patch.setenv("CAIRN_HOME", str(tmp_path))
        patch.setenv("CAIRN_FINALITY", "100000")
        patch.setenv("CAIRN_CONTRACT", contract)
        world.done("index", "sync")
    store = world.folder / "home" / "store"
    mlflow.set_registry_uri(f"cairn:?home={tmp_path}&store={store}&name=titles:{world.model}")
    client = mlflow.MlflowClient()
    assert {version.status for version in client.search_model_versions()} == {"PENDING_REGISTRATION"}
    model = client.get_registered_model("titles")
    assert (model.aliases, model.latest_versions) == ({}, [])
    assert code_of(lambda: client.get_model_version_by_alias("titles", "champion"))[0] == "RESOURCE_DOES_NOT_EXIST"
    code, said = code_of(lambda: mlflow.artifacts.list_artifacts("models:/titles/4"))
    assert (code, "provisional: block " in said) == ("INVALID_STATE", True)


def test_filters_orders_and_pages_are_those_of_mlflow(world: World, client: Any) -> None:
    assert [m.name for m in client.search_registered_models("name LIKE 'tit%'")] == ["titles"]
    every = client.search_registered_models(order_by=["name DESC"])
    assert [model.name for model in every] == sorted((model.name for model in every), reverse=True)
    assert (len(every), {model.description for model in every}) == (2, {FOREIGN})
    first = client.search_registered_models(max_results=1)
    rest = client.search_registered_models(max_results=1, page_token=first.token)
    assert ([m.name for m in (*first, *rest)], rest.token) == (sorted(m.name for m in every), None)
    deprecated = client.search_model_versions("tags.`cairn.deprecated` = 'true'")
    assert [(version.name, version.version) for version in deprecated] == [("titles", "2")]
    newest = client.search_model_versions("name = 'titles' AND version_number > 2", order_by=["version_number DESC"])
    assert [version.version for version in newest] == ["4", "3"]
    page = client.search_model_versions("name = 'titles'", max_results=3)
    assert len(page) == 3 and len(client.search_model_versions("name = 'titles'", 3, page_token=page.token)) == 1
    for asked in ("name ~ 'x'", "'; DROP TABLE models; --", "digest = 'x'"):
        assert code_of(lambda asked=asked: client.search_model_versions(asked))[0] == "INVALID_PARAMETER_VALUE"
    assert code_of(lambda: client.search_registered_models(max_results=0))[0] == "INVALID_PARAMETER_VALUE"


def token_of(said: object) -> str:
    """A page token as MLflow's own stores make them."""
    return base64.b64encode(json.dumps(said).encode()).decode()


@pytest.mark.parametrize("what", ["registered_models", "model_versions"])
@pytest.mark.parametrize(
    "asked",
    [
        *(
            {"page_token": text}
            for text in ("é", "-1", "1.5", "9" * 19, "\u0661", token_of({"offset": -1}), "A" * 9999)
        ),
        *({"page_token": token_of(said)} for said in ([1], "x", 5, None, {"offset": [1]}, {"offset": 1e999})),
        {"page_token": base64.b64encode(b"[" * 9999).decode()},
        {"filter_string": "name LIKE '" + "%" * 28 + "x'"},
        {"filter_string": "name is null"},
        {"filter_string": "(" * 3000 + "name = 'x'" + ")" * 900},
        {"filter_string": "x" * 5000},
        {"order_by": 5},
        {"order_by": ["x" * 5000]},
    ],
    ids=str,
)
def test_a_malformed_search_is_refused_at_once(asked: dict[str, Any], what: str, client: Any) -> None:
    code, said = code_of(lambda: getattr(client, f"search_{what}")(**asked))
    assert (code, len(said) < 5000) == ("INVALID_PARAMETER_VALUE", True)


def test_a_pattern_has_two_wildcards_at_most(client: Any) -> None:
    assert client.search_registered_models("tags.`cairn.owner` ILIKE '%qq%'") == []
    code, said = code_of(lambda: client.search_registered_models("tags.`cairn.owner` ILIKE '%a%b%'"))
    assert (code, "at most 2 %" in said) == ("INVALID_PARAMETER_VALUE", True)


@pytest.mark.parametrize("number", ["> 1e400", f"= {'9' * 3999}", "!= 'x'"])
def test_a_version_s_number_is_compared_with_numbers(number: str, client: Any) -> None:
    code, said = code_of(lambda: client.search_model_versions(f"version_number {number}"))
    assert (code, "expected" in said, len(said) < 300) == ("INVALID_PARAMETER_VALUE", True, True)


@pytest.mark.parametrize("what", ["4", "latest"])
def test_a_version_s_file_is_fetched_and_is_the_anchored_one(
    what: str, world: World, client: Any, tmp_path: Path
) -> None:
    import mlflow

    world.done("model", "pull", f"{world.model}@round-1", "-o", "one.safetensors")
    got = Path(mlflow.artifacts.download_artifacts(f"models:/titles/{what}", dst_path=str(tmp_path)))
    assert {path.name for path in got.iterdir()} == {"model.safetensors"}
    assert (got / "model.safetensors").read_bytes() == (world.folder / "one.safetensors").read_bytes()


def test_an_alias_names_a_file_too(world: World, client: Any, tmp_path: Path) -> None:
    import mlflow

    path = mlflow.artifacts.download_artifacts("models:/titles@champion/model.safetensors", dst_path=str(tmp_path))
    weights = client.get_model_version_by_alias("titles", "champion").tags
    assert (Path(path).name, Path(path).stat().st_size) == ("model.safetensors", int(weights["cairn.size"]))
    (listed,) = mlflow.artifacts.list_artifacts("models:/titles/4")
    assert (listed.path, listed.is_dir, listed.file_size) == ("model.safetensors", False, int(weights["cairn.size"]))


def test_a_deprecated_version_s_file_is_handed_out_only_if_asked_for(world: World, client: Any, tmp_path: Path) -> None:
    import mlflow

    version = client.get_model_version_by_alias("titles", "previous")
    assert (version.tags["cairn.deprecated"], version.status_message[:22]) == ("true", "deprecated by its owner"[:22])
    code, said = code_of(lambda: mlflow.artifacts.download_artifacts("models:/titles@previous", dst_path=str(tmp_path)))
    assert (code, "deprecated by its owner" in said, list(tmp_path.iterdir())) == ("INVALID_STATE", True, [])
    mlflow.set_registry_uri(f"cairn:?deprecated=yes&name=titles:{world.model}")
    got = mlflow.artifacts.download_artifacts("models:/titles@previous", dst_path=str(tmp_path))
    assert (Path(got) / "model.safetensors").read_bytes() == (world.folder / "old.safetensors").read_bytes()


def test_bytes_that_are_not_the_anchored_ones_are_not_written(world: World, client: Any, tmp_path: Path) -> None:
    import mlflow

    store, out = tmp_path / "store", tmp_path / "out"
    shutil.copytree(world.folder / "home" / "store", store)
    path = world.folder / "sound.safetensors"
    (block,) = (kept for kept in store.rglob("*") if kept.is_file() and kept.read_bytes() == path.read_bytes())
    block.chmod(0o600)
    block.write_bytes(path.read_bytes()[:-1] + b"!")
    mlflow.set_registry_uri(f"cairn:?name=titles:{world.model}&store={store}")
    _, said = code_of(lambda: mlflow.artifacts.download_artifacts("models:/titles/3", dst_path=str(out)))
    assert "model.safetensors" in said
    assert list(out.iterdir()) == []


def test_what_is_not_there_is_said_so(world: World, client: Any) -> None:
    missing = [
        lambda: client.get_registered_model("0x" + "00" * 32),
        lambda: client.get_model_version("titles", "5"),
        lambda: client.get_model_version("titles", "0"),
        lambda: client.get_model_version_by_alias("titles", "challenger"),
    ]
    for call in missing:
        assert code_of(call)[0] == "RESOURCE_DOES_NOT_EXIST"
    for call in (
        lambda: client.get_registered_model(FOREIGN),
        lambda: client.get_registered_model(HOSTILE),
        lambda: client.get_registered_model(world.model[:12]),
        lambda: client.get_model_version("titles", "1e9"),
        lambda: client.get_latest_versions("titles", ["Nowhere" * 99]),
        lambda: client.get_latest_versions("titles", 5),
    ):
        code, said = code_of(call)
        assert (code, len(said) < 400) == ("INVALID_PARAMETER_VALUE", True)
        assert said.isprintable()
    assert client.get_latest_versions("titles", ["Production"]) == []


def test_nothing_is_written(client: Any) -> None:
    from mlflow.store.model_registry.abstract_store import AbstractStore

    from registry.mlflow_registry.read_only_store import ReadOnlyStore

    reads = re.compile(r"_|(search|list|supports)_|get_(?!webhook)")
    names = [name for name in dir(AbstractStore) if not reads.match(name)]
    assert len(names) > 25
    store = client._get_registry_client().store
    assert isinstance(store, ReadOnlyStore)
    for name in names:
        code, said = code_of(lambda name=name: getattr(store, name)("titles"))
        assert (code, said.startswith("Cairn's registry is read-only in MLflow: ")) == ("FEATURE_DISABLED", True), name
    calls = [
        lambda: client.create_registered_model("x"),
        lambda: client.create_model_version("titles", "file:x"),
        lambda: client.set_registered_model_alias("titles", "champion", "1"),
        lambda: client.delete_model_version("titles", "1"),
    ]
    assert {code_of(call)[0] for call in calls} == {"FEATURE_DISABLED"}


def test_a_search_reads_the_manifests_of_what_it_returns(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from registry.mlflow_registry import read_only_store

    every = client.search_model_versions(order_by=["version_number ASC"])
    read: list[int] = []
    page_of = read_only_store.page_of
    monkeypatch.setattr(read_only_store, "page_of", lambda *given: read.append(1) or page_of(*given))
    found = client.search_model_versions("name = 'titles'", max_results=1, order_by=["version_number DESC"])
    assert ([one.version for one in found], len(read)) == (["4"], 1)
    assert dict(found[0].tags) == next(dict(one.tags) for one in every if (one.name, one.version) == ("titles", "4"))
    tagged = client.search_model_versions("tags.`cairn.verdict` = 'asserted'", max_results=1)
    assert (len(tagged), len(read)) == (1, 1 + len(every)), "every version's verdict is asked for"


def test_what_fails_while_a_file_is_written_is_told_and_leaves_nothing(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    from registry.mlflow_registry import version_files

    (tmp_path / "there" / "model.safetensors").mkdir(parents=True)
    fetch = mlflow.artifacts.download_artifacts
    _, said = code_of(lambda: fetch("models:/titles/4", dst_path=str(tmp_path / "there")))
    assert "Is a directory" in said and not list((tmp_path / "there" / "model.safetensors").iterdir())

    def full(*_: Any) -> Any:
        yield b"\0"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model.safetensors")

    monkeypatch.setattr(version_files, "read_version", full)
    (tmp_path / "full").mkdir()
    _, said = code_of(lambda: fetch("models:/titles/4", dst_path=str(tmp_path / "full")))
    assert "No space left on device" in said and list((tmp_path / "full").iterdir()) == []
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["model.safetensors"]


def test_a_file_whose_roots_are_not_the_anchored_ones_is_not_written(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    from registry.mlflow_registry.version_files import VersionFiles

    right = VersionFiles._manifest
    monkeypatch.setattr(
        VersionFiles, "_manifest", lambda *of: dataclasses.replace(right(*of), tensor_root=Root(b"\1" * 32))
    )
    _, said = code_of(lambda: mlflow.artifacts.download_artifacts("models:/titles/4", dst_path=str(tmp_path)))
    assert ("the manifest has tensor root" in said, list(tmp_path.iterdir())) == (True, [])


def test_an_index_that_is_damaged_is_said_so(world: World, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    (found,) = (path for path in (world.folder / "home" / "index").rglob("0x*.sqlite") if path.stem.count(".") == 0)
    with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite")) as copy:
        with contextlib.closing(sqlite3.connect(found)) as db:
            db.backup(copy)
        copy.executescript("PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = CAST(x'ff00' AS TEXT);")
    code, said = code_of(lambda: MlflowClient(registry_uri=f"cairn:{tmp_path}/index.sqlite").search_registered_models())
    assert (code in ("INVALID_STATE", "TEMPORARILY_UNAVAILABLE"), "index" in said) == (True, True)


def test_a_file_is_as_readable_as_others_of_the_user(client: Any, tmp_path: Path) -> None:
    import mlflow

    (tmp_path / "other").touch()
    folder = Path(mlflow.artifacts.download_artifacts("models:/titles/4", dst_path=str(tmp_path)))
    assert (folder / "model.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize(
    "uri",
    [
        "cairn://host/x",
        "cairn:?rpc_url=http://127.0.0.1:1",
        "cairn:?store",
        "cairn:?store=a&store=b",
        "cairn:?name=x:0x12",
        "cairn:?name=0x1:0x" + "ab" * 32,
        "cairn:?name=a:0x" + "ab" * 32 + "&name=b:0x" + "ab" * 32,
        "cairn:?deprecated=no",
        "cairn:?chain_id=x",
        "cairn:#x",
        "cairn:?\u202e",
        "cairn:?store=%00",
    ],
)
def test_a_registry_uri_that_says_nothing_is_refused(uri: str, world: World) -> None:
    from mlflow import MlflowClient

    code, said = code_of(lambda: MlflowClient(registry_uri=uri).search_registered_models())
    assert (code, "expected" in said, said.isprintable()) == ("INVALID_PARAMETER_VALUE", True, True)


def test_a_missing_index_says_what_makes_it(world: World, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    for uri in (f"cairn:{tmp_path}/none.sqlite", f"cairn:?home={tmp_path}", "cairn:?chain_id=1"):
        code, said = code_of(lambda uri=uri: MlflowClient(registry_uri=uri).search_registered_models())
        assert (code, "`cairn index sync`" in said) == ("INVALID_STATE", True)


def test_a_file_s_uri_names_no_place(world: World, client: Any, tmp_path: Path) -> None:
    import mlflow

    source = client.get_model_version("titles", "4").source
    assert re.fullmatch(r"cairn:/0x[0-9a-f]{64}/0x[0-9a-f]{64}", source)
    fetched = Path(mlflow.artifacts.download_artifacts(source, dst_path=str(tmp_path)))
    assert [path.name for path in fetched.iterdir()] == ["model.safetensors"]
    for uri in (f"{source}?store={tmp_path}", f"cairn:/{tmp_path}", f"{source}/../x", source[:-1]):
        code, _ = code_of(lambda uri=uri: mlflow.artifacts.list_artifacts(uri))
        assert code == "INVALID_PARAMETER_VALUE"
    mlflow.set_registry_uri(str(tmp_path))
    assert code_of(lambda: mlflow.artifacts.list_artifacts(source))[0] == "INVALID_PARAMETER_VALUE"


def test_the_page_s_lines_print_what_stands_below_them(
    world: World, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = re.findall(r"```(?:python|text)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(compile(code, str(PAGE), "exec"), {"MODEL": world.model})
    assert capsys.readouterr().out == printed
