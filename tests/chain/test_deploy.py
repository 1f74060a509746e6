"""Deployments are found again, recorded whole, and checked against the source."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from registry.chain.client import Client
from registry.chain.contracts import artifact, standard_input
from registry.chain.deploy import (
    CREATE2_DEPLOYER,
    Deployment,
    code_at,
    create2_address,
    deploy,
    load_deployment,
    quote_deployment,
    save_deployment,
)
from registry.chain.journal import Journal
from registry.chain.local import Embedded, embedded
from registry.chain.networks import EMBEDDED_CHAIN_ID
from registry.chain.records import challenges_of
from registry.chain.source import build, verify_deployment
from registry.chain.testing import DevChain
from registry.chain.transactions import Transactor
from registry.errors import FormError, InputError, VerificationFailed, WrongChain
from registry.types import Address

SOLC = Path(__file__).resolve().parents[2] / "contracts" / "tools" / "solc.js"


def sender(chain: Embedded | DevChain, account: int = 0) -> Transactor:
    return Transactor(chain.w3, chain.signers[account], Journal(None), chain_id=chain.w3.eth.chain_id)


def put(chain: Embedded | DevChain, folder: Path | None = None, account: int = 0) -> Deployment:
    return deploy(chain.w3, sender(chain, account), chain_id=chain.w3.eth.chain_id, folder=folder)


def sent_by(chain: Embedded | DevChain, account: int = 0) -> int:
    return chain.w3.eth.get_transaction_count(chain.w3.to_checksum_address(chain.signers[account].address))


def test_deploying_twice_finds_the_first_by_its_record(chain: Embedded, tmp_path: Path) -> None:
    first = put(chain, tmp_path)
    assert not first.create2
    assert put(chain, tmp_path, account=1) == first
    assert (sent_by(chain, 0), sent_by(chain, 1)) == (1, 0)
    assert Client(chain.w3, first.address).chain_id == EMBEDDED_CHAIN_ID


@pytest.mark.node
def test_deploying_twice_finds_the_first_by_its_address_where_create2_is_to_be_had(anvil: DevChain) -> None:
    first = put(anvil)
    assert first.create2
    assert first.address == create2_address(artifact("Cairn").bytecode)
    anvil.w3.provider.make_request("anvil_mine", [7])  # type: ignore[arg-type]
    again = put(anvil, account=1)
    assert (again.address, again.block, again.tx_hash) == (first.address, first.block, None)
    assert (sent_by(anvil, 0), sent_by(anvil, 1)) == (1, 0)


def test_a_record_of_a_chain_that_began_again_does_not_count(tmp_path: Path) -> None:
    one, other = embedded(1, time=1_700_000_000), embedded(1, time=1_700_000_001)
    first, second = put(one, tmp_path), put(other, tmp_path)
    assert first.genesis != second.genesis
    assert load_deployment(tmp_path, EMBEDDED_CHAIN_ID) == second
    assert sent_by(other) == 1


def test_a_record_of_another_chain_does_not_count_though_the_contract_is_at_its_address(tmp_path: Path) -> None:
    one, other = embedded(1, time=1_700_000_000), embedded(1, time=1_700_000_001)
    first = put(one, tmp_path / "one")
    here = put(other, tmp_path / "other")
    assert here.address == first.address
    assert put(other, tmp_path / "one").genesis == here.genesis != first.genesis


def test_a_record_whose_contract_is_another_does_not_count(chain: Embedded, tmp_path: Path) -> None:
    first = put(chain, tmp_path)
    hook = deploy(
        chain.w3, sender(chain), chain_id=EMBEDDED_CHAIN_ID, contract="AllowListHook", arguments=[b"\x05" * 32]
    )
    save_deployment(tmp_path, replace(first, address=hook.address))
    assert put(chain, tmp_path, account=1).address not in (first.address, hook.address)


def test_records_keep_block_compiler_and_what_else_is_on_the_chain(chain: Embedded, tmp_path: Path) -> None:
    made = put(chain, tmp_path)
    hooks = [
        deploy(
            chain.w3,
            sender(chain),
            chain_id=EMBEDDED_CHAIN_ID,
            folder=tmp_path,
            contract="AllowListHook",
            arguments=[bytes([n]) * 32],
        )
        for n in (1, 2)
    ]
    assert len({hook.address for hook in hooks}) == 2
    record = json.loads((tmp_path / f"{EMBEDDED_CHAIN_ID}.json").read_text())
    assert len(record) == 3
    assert record["Cairn"]["block"] == made.block == 1
    assert record["Cairn"]["compiler"]["settings"] == artifact("Cairn").compiler["settings"]
    assert load_deployment(tmp_path, EMBEDDED_CHAIN_ID) == made
    assert load_deployment(tmp_path, 5) is None
    assert [file.name for file in tmp_path.iterdir()] == [f"{EMBEDDED_CHAIN_ID}.json"]


@pytest.mark.parametrize("text", ["", "[]", '{"Cairn": {}}', '{"Cairn": {"address": "0x12"}}', '{"Cairn": 7}'])
def test_a_record_that_cannot_be_read_is_an_error_and_is_not_overwritten(
    chain: Embedded, tmp_path: Path, text: str
) -> None:
    path = tmp_path / f"{EMBEDDED_CHAIN_ID}.json"
    path.write_text(text)
    with pytest.raises(FormError, match="deployment record"):
        put(chain, tmp_path)
    assert path.read_text() == text
    assert sent_by(chain) == 0


def test_a_quote_deploys_nothing(chain: Embedded) -> None:
    quote = quote_deployment(chain.w3, sender(chain))
    assert 1_000_000 < quote.gas < 10_000_000  # it makes its Challenges too
    assert sent_by(chain) == 0


def test_arguments_that_do_not_fit_are_refused(chain: Embedded) -> None:
    for arguments, said in (
        ([], "takes 1 constructor arguments, got 0"),
        ([b"\1" * 32, 1], "takes 1 constructor arguments, got 2"),
        ([b"\1" * 33], "argument|constructor"),
        ([5], "argument|constructor"),
    ):
        with pytest.raises(InputError, match=said):
            deploy(chain.w3, sender(chain), chain_id=EMBEDDED_CHAIN_ID, contract="AllowListHook", arguments=arguments)
    with pytest.raises(InputError, match="no contract named"):
        deploy(chain.w3, sender(chain), chain_id=EMBEDDED_CHAIN_ID, contract="../types")


def test_artifacts_are_of_the_sources_beside_them() -> None:
    assert artifact("Cairn").source in standard_input()["sources"]
    shipped, settings = artifact("Cairn").compiler["settings"], standard_input()["settings"]
    assert all(settings[name] == shipped[name] for name in ("evmVersion", "optimizer", "viaIR"))
    assert settings["evmVersion"] == "prague"


@pytest.mark.slow
def test_what_is_deployed_is_rebuilt_from_source_immutables_and_all(
    chain: Embedded, find_tool: Callable[[str], Path]
) -> None:
    find_tool("node")
    made = put(chain)
    verified = verify_deployment(chain.w3, made.address, chain_id=EMBEDDED_CHAIN_ID, solc=SOLC)
    assert verified.code_hash == made.code_hash
    assert verified.immutables["_cachedThis"] == made.address.rjust(32, b"\0")
    with pytest.raises(VerificationFailed, match=r"_cachedChainId|_cachedDomainSeparator"):
        verify_deployment(chain.w3, made.address, chain_id=1, solc=SOLC)
    partner = Address(verified.immutables["CHALLENGES"][12:])
    checked = verify_deployment(chain.w3, partner, chain_id=EMBEDDED_CHAIN_ID, contract="Challenges", solc=SOLC)
    assert checked.immutables == {"CAIRN": made.address.rjust(32, b"\0")}
    root = b"\x05" * 32
    hook = deploy(chain.w3, sender(chain), chain_id=EMBEDDED_CHAIN_ID, contract="AllowListHook", arguments=[root])
    checked = verify_deployment(chain.w3, hook.address, chain_id=EMBEDDED_CHAIN_ID, contract="AllowListHook", solc=SOLC)
    assert checked.immutables == {"root": root}
    with pytest.raises(VerificationFailed, match="bytes of code"):
        verify_deployment(chain.w3, hook.address, chain_id=EMBEDDED_CHAIN_ID, solc=SOLC)
    with pytest.raises(WrongChain, match="no contract there"):
        verify_deployment(chain.w3, Address(b"\x01" * 20), chain_id=EMBEDDED_CHAIN_ID, solc=SOLC)


@pytest.mark.node
@pytest.mark.slow
def test_one_changed_byte_of_code_is_found(anvil: DevChain, find_tool: Callable[[str], Path]) -> None:
    find_tool("node")
    made = put(anvil)
    code = bytearray(code_at(anvil.w3, made.address))
    code[100] ^= 1
    anvil.w3.provider.make_request("anvil_setCode", [anvil.w3.to_checksum_address(made.address), "0x" + code.hex()])  # type: ignore[arg-type]
    with pytest.raises(VerificationFailed, match="differs from byte 100"):
        verify_deployment(anvil.w3, made.address, chain_id=31337, solc=SOLC)


@pytest.mark.node
@pytest.mark.slow
def test_challenges_of_other_code_are_found_with_their_cairn(anvil: DevChain, find_tool: Callable[[str], Path]) -> None:
    find_tool("node")
    made = put(anvil)
    partner = anvil.w3.to_checksum_address(challenges_of(made.address))
    code = bytearray(code_at(anvil.w3, challenges_of(made.address)))
    assert verify_deployment(anvil.w3, made.address, chain_id=31337, solc=SOLC)
    code[200] ^= 1
    anvil.w3.provider.make_request("anvil_setCode", [partner, "0x" + code.hex()])  # type: ignore[arg-type]
    with pytest.raises(VerificationFailed, match="differs from byte 200"):
        verify_deployment(anvil.w3, made.address, chain_id=31337, solc=SOLC)


def test_a_missing_or_other_compiler_is_an_error() -> None:
    with pytest.raises(InputError, match="solc"):
        build("Cairn", solc=Path("/nonexistent/solc"))


def test_the_create2_deployer_is_the_usual_one() -> None:
    assert CREATE2_DEPLOYER.hex() == "4e59b44847b379578588920ca78fbf26c0b4956c"
