"""Commands that did not do what they say: each was tried by somebody who then had to give up."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from registry.chain.contracts import DEPLOYED, artifact
from registry.chain.verify_source import Built, KeptBuilds, build_all
from registry.cli.tools import tool_folders
from registry.dev.anvil_node import find_anvil, start_anvil, stop_anvil
from registry.dev.chains import free_port
from registry.dev.embedded import warp
from registry.errors import BlockNotFound, ContentError
from registry.ethereum.networks import EMBEDDED_CHAIN_ID, network_of
from registry.ethereum.node import connect
from registry.roles.aggregator import AggregatorMemory
from registry.store.base import reported_unavailable
from registry.store.gateway import GatewayStore
from registry.store.kubo import KuboStore
from registry.types import Cid, Codec
from tests.cli.conftest import PASSWORD, World


@pytest.mark.parametrize("open_store", [KuboStore, GatewayStore])
def test_an_update_that_nobody_published_is_hardly_waited_for(silent: str, open_store: Callable[[str], Any]) -> None:
    store, began = open_store(silent), time.monotonic()
    with reported_unavailable(), pytest.raises(ContentError):
        store.get(Cid(Codec.DAG_CBOR, b"\7" * 32))
    assert time.monotonic() - began < 10


def test_what_no_report_calls_unavailable_has_its_whole_time(silent: str) -> None:
    began = time.monotonic()
    with reported_unavailable(False), pytest.raises(BlockNotFound):
        GatewayStore(silent, block_timeout=3.0).get(Cid(Codec.DAG_CBOR, b"\7" * 32))
    assert time.monotonic() - began >= 3


def test_lineage_verification_and_bundle_hurry_for_an_update_reported_unavailable(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from registry.store import base
    from registry.store.local import LocalStore

    model = world.model
    world.done("member", "grant", model, "f", "--role", "participant", "--account", "a")
    world.done("round", "open", model, "--account", "a")
    for name in "bcf":
        _submit(world, name)
    world.done("aggregator", "once", model, "--account", "d")
    for name in "bf":
        world.done("participant", "publish", model, "--account", name)
    closes = world.done("round", "show", model)["deadlines"]["publish_deadline"]
    warp(world.chain.w3, to=closes + 1)  # c never publishes
    for name in "de":
        world.done("aggregator", "once", model, "--account", name)
    warp(world.chain.w3, seconds=3601)
    world.done("round", "finalize", model, "--account", "f")
    (missing,) = (
        entry["digest"]
        for entry in world.done("provenance", "show", model)["lineage"][0]["commitments"]
        if entry["reason"] == "unavailable"
    )
    waited: list[bool] = []
    real = LocalStore._get

    def get(self: LocalStore, cid: Cid) -> bytes:
        if cid.digest.hex() == missing[2:]:
            waited.append(base.block_patience(30.0) < 30)
        return real(self, cid)

    monkeypatch.setattr(LocalStore, "_get", get)
    world.done("provenance", "show", model)
    said = world.run("verify", model, "-q")
    assert said.exit_code == 0
    assert "unavailable: asserted by the attesters" in said.stdout, "-q shows what rests on somebody's word"
    world.done("bundle", "create", model, "-o", "one.car")
    assert len(waited) >= 3
    assert all(waited)


def _submit(world: World, name: str) -> None:
    import numpy as np

    from registry.rounds.versions import save_arrays

    delta = {"weight": np.full((1, 2), 0.5, dtype=np.float32), "bias": np.zeros(1, dtype=np.float32)}
    save_arrays(world.folder / f"{name}.safetensors", delta)
    world.done("participant", "submit", world.model, "--update", f"{name}.safetensors", "--weight", 10,
               "--steps", 3, "--data-set", name, "--account", name)  # fmt: skip


def test_verify_shows_no_zeros_as_anchored(played: World) -> None:
    said = played.run("verify", played.model).stdout
    assert said.count("as anchored") == 5
    assert "0x000000000000" not in said


@pytest.mark.parametrize("option", ["--data-set", "--update"])
def test_descendants_takes_the_id_that_provenance_shows(played: World, option: str) -> None:
    words = played.run("provenance", "show", played.model).stdout.split()
    shown = words[words.index("data" if option == "--data-set" else "update") + 1]
    assert len(shown) == 10
    found = played.done("provenance", "descendants", option, shown)
    assert [entry["round"] for entry in found["versions"]] == [1]
    other = played.run("provenance", "descendants", option, "0000000000")
    assert other.exit_code == 2
    assert f"no {option[2:].replace('-', ' ')} begins with '0000000000': there are " in other.stderr


def test_a_deployment_says_its_gas_and_cost(chain: Any, done: Callable[..., Any]) -> None:
    quoted = done("contracts", "deploy", "--account", "a", "--dry-run")
    made = done("contracts", "deploy", "--account", "a")
    assert 0.8 * quoted["gas"] < made["gas"] <= 1.02 * quoted["gas"]
    assert float(made["cost_ether"]) > 0
    again = done("contracts", "deploy", "--account", "a")
    assert (again["gas"], again["cost_ether"], again["contract"]) == (0, "0", made["contract"])


def test_a_compiled_source_is_kept_by_its_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def build(contract: str, *, solc: Path | None) -> Built:
        compiled.append(contract)
        return Built(artifact(contract).bytecode, artifact(contract).deployed_bytecode, {"x": ((1, 32), (40, 32))})

    monkeypatch.setattr("registry.chain.verify_source.build", build)
    one, other = tmp_path / "solc", tmp_path / "solc-2"
    one.write_bytes(b"compiler")
    other.write_bytes(b"another")
    first = build_all(solc=one, kept=KeptBuilds(tmp_path / "kept"))
    assert build_all(solc=one, kept=KeptBuilds(tmp_path / "kept")) == first
    assert compiled == ["Factory", *DEPLOYED]
    build_all(solc=other, kept=KeptBuilds(tmp_path / "kept"))
    build_all(solc=one, kept=KeptBuilds(tmp_path / "kept", again=True))
    assert len(compiled) == 3 * (1 + len(DEPLOYED))
    for file in (tmp_path / "kept").iterdir():
        file.write_text('{"Cairn": {}}')
    build_all(solc=one, kept=KeptBuilds(tmp_path / "kept"))
    assert len(compiled) == 4 * (1 + len(DEPLOYED)), "a damaged file is compiled again"


@pytest.fixture
def cast_keystore(played: World) -> Iterator[str]:
    """A keystore of account b as `cast wallet import` writes it: without address."""
    keystore = json.loads((played.folder / "keys" / "b").read_text())
    path = played.folder / "keys" / "cast-b"
    path.write_text(json.dumps({name: value for name, value in keystore.items() if name != "address"}))
    yield path.name
    path.unlink()


def test_a_keystore_of_cast_is_found_by_its_name(
    played: World, cast_keystore: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_name = played.done("provenance", "participant", played.model, cast_keystore)
    assert by_name == played.done("provenance", "participant", played.model, "b")
    monkeypatch.delenv("ETH_PASSWORD")
    refused = played.run("provenance", "participant", played.model, cast_keystore)
    assert refused.exit_code == 6
    assert "the keystore 'cast-b' holds no address, so it must be opened: no password: give --pass" in refused.stderr


@pytest.mark.node
def test_a_keystore_that_cast_wrote_opens(
    played: World, find_tool: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cast, keys = find_tool("cast"), played.folder / "keys"
    key = "0x" + (2).to_bytes(32, "big").hex()
    command = (str(cast), "wallet", "import", "from-cast", "--private-key", key, "--keystore-dir", str(keys))
    subprocess.run((*command, "--unsafe-password", PASSWORD), check=True, capture_output=True)
    try:
        assert "address" not in json.loads((keys / "from-cast").read_text())
        by_name = played.done("provenance", "participant", played.model, "from-cast")
        assert by_name == played.done("provenance", "participant", played.model, "b")
    finally:
        (keys / "from-cast").unlink()


@pytest.mark.node
def test_a_warp_moves_a_clock_that_runs_fast(tmp_path: Path, find_tool: Callable[[str], Path]) -> None:
    find_tool("anvil")
    anvil = find_anvil(*tool_folders())
    assert anvil is not None
    node = start_anvil(tmp_path, anvil, port=free_port(), speed=20)
    try:
        w3 = connect(node.url)
        before = w3.eth.get_block("latest")["timestamp"]
        assert warp(w3, seconds=5000) >= before + 5000
        after = w3.eth.get_block("latest")["timestamp"]
        time.sleep(2.5)
        assert after >= before + 5000
        assert w3.eth.get_block("latest")["timestamp"] >= after + 20, "the clock runs on, fast"
    finally:
        stop_anvil(tmp_path)


def test_an_aggregator_s_patience_is_of_its_own_clock_where_the_chain_s_runs_fast() -> None:
    memory = AggregatorMemory()
    assert memory.pace() == 1
    for turn in range(6):
        memory.note_clocks(100.0 + 2 * turn, 5000 + 40 * turn)
        memory.note_clocks(100.1 + 2 * turn, 9**9)  # too soon to tell
    assert memory.pace() == 20
    warped = AggregatorMemory()
    for wall, chain in ((0.0, 0), (2.0, 2), (4.0, 5004), (6.0, 5006)):
        warped.note_clocks(wall, chain)
        assert warped.pace() == 1, "a warp is no pace"


def test_an_aggregator_notes_the_clock_of_a_local_chain_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[int] = []
    monkeypatch.setattr(AggregatorMemory, "note_clocks", lambda self, wall, chain: noted.append(chain))
    world.done("round", "open", world.model, "--account", "a")
    world.done("aggregator", "once", world.model, "--account", "d")
    assert len(noted) == 1
    assert noted[0] >= world.chain.w3.eth.get_block("latest")["timestamp"]
    local = network_of(EMBEDDED_CHAIN_ID)
    monkeypatch.setattr("registry.roles.aggregator.network_of", lambda chain_id: replace(local, local=False))
    world.done("aggregator", "once", world.model, "--account", "d")
    assert len(noted) == 1


def test_a_version_is_found_by_the_time_at_which_it_was_the_head(played: World) -> None:
    versions = played.done("model", "show", played.model)["versions"]
    w3 = played.chain.w3
    times = [datetime.fromtimestamp(w3.eth.get_block(one["block"])["timestamp"], UTC) for one in versions]
    genesis, first = (one["version"] for one in versions)

    def head_at(when: str) -> str:
        return played.done("model", "pull", f"{played.model}@{when}", "-o", played.folder / "then.safetensors")[
            "version"
        ]

    assert head_at(times[1].isoformat()) == first
    assert head_at((times[1] - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")) == genesis
    assert head_at((times[1] + timedelta(days=1)).strftime("%Y-%m-%d")) == first
    for when, said in (("2001-01-01", "it was registered at"), ("2026-13-01", "expected a time such as")):
        result = played.run("model", "pull", f"{played.model}@{when}")
        assert result.exit_code == 2
        assert said in result.stderr
