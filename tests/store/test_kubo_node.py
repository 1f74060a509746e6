"""Private Kubo nodes: configuration, start, discovery and stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry.dev.kubo_node import KuboNode, find_ipfs, init_node, node_alive, start_node, stop_node
from registry.errors import InputError, StoreUnavailable

pytestmark = pytest.mark.node


def test_a_node_knows_nobody_and_tells_nobody(kubo: KuboNode) -> None:
    config = json.loads((kubo.repo / "config").read_text())
    assert config["Bootstrap"] == []
    assert config["Routing"]["Type"] == "none"
    assert config["Swarm"]["AddrFilters"] == []
    assert config["AutoConf"] == {"Enabled": False}
    assert not config["Discovery"]["MDNS"]["Enabled"]
    assert config["Plugins"]["Plugins"]["telemetry"] == {"Config": {"Mode": "off"}}
    assert config["Import"]["UnixFSChunker"] == "size-1048576"
    assert all("/127.0.0.1/" in address for address in config["Addresses"]["Swarm"])
    assert '"auto"' not in (kubo.repo / "config").read_text()


def test_the_key_of_a_node_is_readable_by_its_owner_alone(kubo: KuboNode) -> None:
    assert (kubo.repo / "config").stat().st_mode & 0o077 == 0


def test_a_running_node_is_found_by_its_repo(kubo: KuboNode) -> None:
    assert node_alive(kubo.repo) == kubo


def test_a_node_stops_and_stopping_it_again_is_no_error(ipfs_program: Path, tmp_path: Path) -> None:
    init_node(tmp_path, ipfs_program)
    start_node(tmp_path, ipfs_program)
    stop_node(tmp_path)
    assert node_alive(tmp_path) is None
    stop_node(tmp_path)


def test_initialising_again_keeps_the_node_s_name_and_changes_its_ports(ipfs_program: Path, tmp_path: Path) -> None:
    init_node(tmp_path, ipfs_program)
    first = json.loads((tmp_path / "config").read_text())
    init_node(tmp_path, ipfs_program, api_port=5999)
    second = json.loads((tmp_path / "config").read_text())
    assert first["Identity"] == second["Identity"]
    assert second["Addresses"]["API"] == "/ip4/127.0.0.1/tcp/5999"


def test_a_repo_that_was_not_initialised_is_refused(ipfs_program: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="init_node first"):
        start_node(tmp_path, ipfs_program)


def test_a_daemon_that_does_not_start_is_told_with_its_last_words(ipfs_program: Path, tmp_path: Path) -> None:
    init_node(tmp_path, ipfs_program)
    config = json.loads((tmp_path / "config").read_text())
    config["Addresses"]["API"] = "/ip4/203.0.113.1/tcp/1"  # an address of no machine
    (tmp_path / "config").write_text(json.dumps(config))
    with pytest.raises(StoreUnavailable, match=r"203\.0\.113\.1"):
        start_node(tmp_path, ipfs_program)
    assert node_alive(tmp_path) is None


def test_a_pid_that_belongs_to_somebody_else_is_left_alone(tmp_path: Path) -> None:
    import os

    (tmp_path / "daemon.pid").write_text(str(os.getpid()))
    assert node_alive(tmp_path) is None
    stop_node(tmp_path)


def test_the_program_is_looked_for_in_the_folders_named_first(tmp_path: Path) -> None:
    fake = tmp_path / "ipfs"
    fake.write_text("#!/bin/sh\n")
    assert find_ipfs(tmp_path) != fake
    fake.chmod(0o755)
    assert find_ipfs(tmp_path) == fake
