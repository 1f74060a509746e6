"""Precedence of settings: flags, environment, cairn.toml, defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from registry.cli.settings import Settings, config_files, resolve
from registry.errors import InputError


def settled(tmp_path: Path, toml: str = "", flags: Mapping[str, str | None] | None = None, **environ: str) -> Settings:
    file = tmp_path / "cairn.toml"
    file.write_text(toml)
    return resolve(flags or {}, environ, (file,))


def test_a_flag_goes_before_everything(tmp_path: Path) -> None:
    found = settled(tmp_path, 'contract = "file"', {"contract": "flag"}, CAIRN_CONTRACT="environment")
    assert (found["contract"], found.chosen["contract"].source) == ("flag", "flag --contract")


def test_the_environment_goes_before_a_file(tmp_path: Path) -> None:
    found = settled(tmp_path, 'contract = "file"', CAIRN_CONTRACT="environment")
    assert (found["contract"], found.chosen["contract"].source) == ("environment", "environment CAIRN_CONTRACT")


def test_a_file_goes_before_the_default(tmp_path: Path) -> None:
    found = settled(tmp_path, 'rpc_url = "http://file"')
    assert (found["rpc_url"], found.chosen["rpc_url"].source) == ("http://file", str(tmp_path / "cairn.toml"))


def test_the_default_counts_last(tmp_path: Path) -> None:
    found = settled(tmp_path)
    assert (found["rpc_url"], found.chosen["rpc_url"].source) == ("http://127.0.0.1:8545", "default")


def test_an_empty_variable_says_nothing(tmp_path: Path) -> None:
    assert settled(tmp_path, 'contract = "file"', CAIRN_CONTRACT="")["contract"] == "file"


def test_relative_paths_in_a_file_are_relative_to_it(tmp_path: Path) -> None:
    found = settled(tmp_path, 'home = "state"\nstore = ["blocks", "kubo:http://127.0.0.1:5001"]')
    assert found["home"] == str(tmp_path / "state")
    assert found["store"] == f"{tmp_path / 'blocks'}+kubo:http://127.0.0.1:5001"


def test_a_keystore_flag_goes_before_the_account_of_a_file(tmp_path: Path) -> None:
    found = settled(tmp_path, 'account = "owner"', {"keystore": "other.json"})
    assert (found["keystore"], found["account"]) == ("other.json", None)


def test_an_account_flag_goes_before_the_keystore_of_the_environment(tmp_path: Path) -> None:
    found = settled(tmp_path, "", {"account": "owner"}, ETH_KEYSTORE="other.json")
    assert (found["keystore"], found["account"]) == (None, "owner")


def test_an_account_flag_goes_before_the_address_of_the_environment(tmp_path: Path) -> None:
    assert settled(tmp_path, "", {"account": "owner"}, ETH_FROM="0x" + "11" * 20)["from"] is None
    kept = settled(tmp_path, "", {"keystore": "folder"}, ETH_FROM="0x" + "11" * 20)
    assert kept["from"] == "0x" + "11" * 20, "which says whose keystore of the folder"


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("rpc-url = 1", "did you mean 'rpc_url'"),
        ("zzz = 1", "there are home"),
        ("rpc_url = true", "expected text or a whole number"),
        ("rpc_url = [1]", "expected text or a whole number"),
        ("rpc_url", "expected TOML"),
    ],
)
def test_a_bad_file_is_refused_with_its_name(tmp_path: Path, toml: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        settled(tmp_path, toml)
    assert str(tmp_path / "cairn.toml") in str(caught.value)


def test_a_missing_setting_names_every_way_to_give_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--contract or CAIRN_CONTRACT or `contract = …` in cairn.toml"):
        settled(tmp_path).need("contract")


def test_a_number_that_is_none_names_its_source(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"chain_id \(environment CAIRN_CHAIN_ID\): expected a whole number"):
        settled(tmp_path, CAIRN_CHAIN_ID="main").number("chain_id")


def test_the_nearest_file_counts_and_a_local_network_only_where_there_is_none(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    (inner / ".localnet").mkdir(parents=True)
    (tmp_path / "a" / "cairn.toml").touch()
    (inner / ".localnet" / "cairn.toml").touch()
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "none")}
    assert config_files(inner, environ) == (inner / ".localnet" / "cairn.toml",)
    assert config_files(tmp_path / "a", environ) == (tmp_path / "a" / "cairn.toml",)
    (inner / "cairn.toml").touch()
    assert config_files(inner, environ) == (inner / "cairn.toml",)


def test_cairn_config_counts_instead_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "cairn.toml").touch()
    (tmp_path / "other.toml").touch()
    assert config_files(tmp_path, {"CAIRN_CONFIG": str(tmp_path / "other.toml")}) == (tmp_path / "other.toml",)
    with pytest.raises(InputError, match="CAIRN_CONFIG"):
        config_files(tmp_path, {"CAIRN_CONFIG": str(tmp_path / "gone.toml")})


def test_doctor_shows_what_won_and_hides_what_an_url_may_hide(cairn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAIRN_CONTRACT", "0x" + "11" * 20)
    result = cairn("doctor", "--rpc-url", "http://user:hidden@127.0.0.1:1/secret-token?key=hush")
    assert result.exit_code == 5
    assert "environment CAIRN_CONTRACT" in result.stdout
    assert "flag --rpc-url" in result.stdout
    assert not [word for word in ("hidden", "secret-token", "hush") if word in result.output]
