"""Deployment: idempotent, recorded atomically, and verified against the source."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from eth_abi.abi import encode

from registry.chain.client import Client
from registry.chain.contract_hashes import addresses_of
from registry.chain.contracts import DEPLOYED, artifact, encode_call, standard_input
from registry.chain.deploy import (
    CREATE2_DEPLOYER,
    code_at,
    code_hashes,
    creation_call,
    deploy,
    deploy_contract,
    deployment_gas,
    predicted,
)
from registry.chain.deployments import Deployment, load_deployment, save_deployment
from registry.chain.journal import Journal
from registry.chain.sending import Call, SentReceipt, Until
from registry.chain.transactions import Transactor
from registry.chain.verify_source import build, verify_contract, verify_deployment
from registry.dev.chains import DevChain, anvil_chain
from registry.dev.embedded import Embedded, embedded
from registry.errors import ContractError, FormError, InputError, VerificationFailed, WrongChain
from registry.ethereum.networks import EMBEDDED_CHAIN_ID
from registry.types import Address

ALL = ("Factory", *DEPLOYED)
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
    assert (sent_by(chain, 0), sent_by(chain, 1)) == (len(ALL), 0)
    assert Client(chain.w3, first.address).chain_id == EMBEDDED_CHAIN_ID


@pytest.mark.node
def test_deploying_twice_finds_the_first_by_its_address_where_create2_is_to_be_had(anvil: DevChain) -> None:
    first = put(anvil)
    assert first.create2
    assert first.address == predicted(anvil.w3, chain_id=31337)["Cairn"]
    anvil.w3.provider.make_request("anvil_mine", [7])  # type: ignore[arg-type]
    again = put(anvil, account=1)
    assert (again.address, again.block, again.tx_hash) == (first.address, first.block, None)
    assert (sent_by(anvil, 0), sent_by(anvil, 1)) == (len(ALL), 0)


def test_a_record_of_a_chain_that_began_again_does_not_count(tmp_path: Path) -> None:
    one, other = embedded(1, time=1_700_000_000), embedded(1, time=1_700_000_001)
    first, second = put(one, tmp_path), put(other, tmp_path)
    assert first.genesis != second.genesis
    assert load_deployment(tmp_path, EMBEDDED_CHAIN_ID) == second
    assert sent_by(other) == len(ALL)


def test_a_record_of_another_chain_does_not_count_though_the_contract_is_at_its_address(tmp_path: Path) -> None:
    one, other = embedded(1, time=1_700_000_000), embedded(1, time=1_700_000_001)
    first = put(one, tmp_path / "one")
    here = put(other, tmp_path / "other")
    assert here.address == first.address
    assert put(other, tmp_path / "one").genesis == here.genesis != first.genesis


def test_a_record_whose_contract_is_another_does_not_count(chain: Embedded, tmp_path: Path) -> None:
    first = put(chain, tmp_path)
    hook = deploy_contract(chain.w3, sender(chain), "AllowListHook", [b"\x05" * 32], chain_id=EMBEDDED_CHAIN_ID)
    save_deployment(tmp_path, replace(first, address=hook.address))
    assert put(chain, tmp_path, account=1) == replace(first, tx_hash=None), "found by its factory's record"
    save_deployment(tmp_path, replace(first, address=hook.address))
    arguments = encode(["bytes32[]"], [code_hashes()])
    factory = load_deployment(tmp_path, EMBEDDED_CHAIN_ID, "Factory", arguments=arguments)
    assert factory is not None
    save_deployment(tmp_path, replace(factory, address=hook.address))
    assert put(chain, tmp_path, account=1).address not in (first.address, hook.address)


def test_records_keep_block_compiler_and_what_else_is_on_the_chain(chain: Embedded, tmp_path: Path) -> None:
    made = put(chain, tmp_path)
    hooks = [
        deploy_contract(
            chain.w3,
            sender(chain),
            "AllowListHook",
            [bytes([n]) * 32],
            chain_id=EMBEDDED_CHAIN_ID,
            folder=tmp_path,
        )
        for n in (1, 2)
    ]
    assert len({hook.address for hook in hooks}) == 2
    record = json.loads((tmp_path / f"{EMBEDDED_CHAIN_ID}.json").read_text())
    assert len(record) == len(ALL) + 2
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


def test_what_deploying_would_take_is_about_what_it_takes(chain: Embedded, tmp_path: Path) -> None:
    said = deployment_gas(chain.w3, chain_id=EMBEDDED_CHAIN_ID)
    assert list(said) == list(ALL)
    assert sent_by(chain) == 0
    put(chain, tmp_path)
    blocks = range(1, chain.w3.eth.block_number + 1)
    used = [chain.w3.eth.get_block(number)["gasUsed"] for number in blocks]
    for name, gas in zip(("Factory", *reversed(DEPLOYED)), used, strict=True):
        assert gas <= said[name] <= gas + 70_000, name
    assert deployment_gas(chain.w3, chain_id=EMBEDDED_CHAIN_ID, folder=tmp_path) == {}


def test_arguments_that_do_not_fit_are_refused(chain: Embedded) -> None:
    for arguments, said in (
        ([], "takes 1 constructor arguments, got 0"),
        ([b"\1" * 32, 1], "takes 1 constructor arguments, got 2"),
        ([b"\1" * 33], "argument|constructor"),
        ([5], "argument|constructor"),
    ):
        with pytest.raises(InputError, match=said):
            deploy_contract(chain.w3, sender(chain), "AllowListHook", arguments, chain_id=EMBEDDED_CHAIN_ID)
    with pytest.raises(InputError, match="no contract named"):
        deploy_contract(chain.w3, sender(chain), "../types", chain_id=EMBEDDED_CHAIN_ID)


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
    verified = verify_deployment(chain.w3, made.address, solc=SOLC)
    assert set(verified) == set(ALL)
    assert verified["Cairn"].code_hash == made.code_hash
    there = {name: one.address.rjust(32, b"\0") for name, one in verified.items()}
    named = {n.upper(): there[n] for n in ("Factory", "Challenges", "Court", "Rules")}
    own = {name: verified["Cairn"].immutables[name] for name in ("_chainId", "_domain")}
    assert verified["Cairn"].immutables == named | own
    assert own["_chainId"] == EMBEDDED_CHAIN_ID.to_bytes(32, "big")
    assert verified["Challenges"].immutables == {n.upper(): there[n] for n in ("Cairn", "Court", "Rules")}
    assert verified["Court"].immutables == {n.upper(): there[n] for n in ("Cairn", "Challenges", "Selections", "Rules")}
    assert verified["Selections"].immutables == {n.upper(): there[n] for n in ("Cairn", "Court", "Rules")}
    assert verified["Scores"].immutables == {"CAIRN": there["Cairn"]}
    root = b"\x05" * 32
    hook = deploy_contract(chain.w3, sender(chain), "AllowListHook", [root], chain_id=EMBEDDED_CHAIN_ID)
    assert verify_contract(chain.w3, hook.address, "AllowListHook", build("AllowListHook", solc=SOLC)).immutables == {
        "root": root
    }
    with pytest.raises(VerificationFailed, match="bytes of code"):
        verify_deployment(chain.w3, hook.address, solc=SOLC)
    with pytest.raises(WrongChain, match="no contract there"):
        verify_deployment(chain.w3, Address(b"\x01" * 20), solc=SOLC)


def set_code(chain: DevChain, address: Address, code: bytes) -> None:
    chain.w3.provider.make_request("anvil_setCode", [chain.w3.to_checksum_address(address), "0x" + code.hex()])  # type: ignore[arg-type]


@pytest.mark.node
@pytest.mark.slow
def test_one_changed_byte_of_any_contract_is_found(anvil: DevChain, find_tool: Callable[[str], Path]) -> None:
    find_tool("node")
    made = put(anvil)
    assert verify_deployment(anvil.w3, made.address, solc=SOLC)
    for name, address in predicted(anvil.w3, chain_id=31337).items():
        right = code_at(anvil.w3, address)
        code = bytearray(right)
        code[100] ^= 1
        set_code(anvil, address, bytes(code))
        with pytest.raises(VerificationFailed, match=f"{name}: the code differs from byte 100"):
            verify_deployment(anvil.w3, made.address, solc=SOLC)
        set_code(anvil, address, right)
    assert verify_deployment(anvil.w3, made.address, solc=SOLC)


@pytest.mark.node
@pytest.mark.slow
def test_a_contract_that_names_another_partner_is_found(anvil: DevChain, find_tool: Callable[[str], Path]) -> None:
    """The source's code throughout, and a stranger's address in it: in whichever contract, whomever it stands for."""
    find_tool("node")
    made = put(anvil)
    stranger = Address(b"\x66" * 20)
    there = predicted(anvil.w3, chain_id=31337)
    for name in DEPLOYED:
        right, immutables = code_at(anvil.w3, there[name]), build(name, solc=SOLC).immutables
        for partner, places in immutables.items():
            code = bytearray(right)
            for start, length in places:
                code[start : start + length] = stranger.rjust(length, b"\0")
            set_code(anvil, there[name], bytes(code))
            with pytest.raises(VerificationFailed, match=f"{name}: immutable {partner}|where its factory 0x66"):
                verify_deployment(anvil.w3, made.address, solc=SOLC)
        set_code(anvil, there[name], right)
    assert verify_deployment(anvil.w3, made.address, solc=SOLC)


def test_a_missing_or_other_compiler_is_an_error() -> None:
    with pytest.raises(InputError, match="solc"):
        build("Cairn", solc=Path("/nonexistent/solc"))


def test_the_create2_deployer_is_the_usual_one() -> None:
    assert CREATE2_DEPLOYER.hex() == "4e59b44847b379578588920ca78fbf26c0b4956c"


# Broken off, and gone on with -----------------------------------------------------------------------------------------


class Killed(Exception):
    """The process is gone."""


class Mortal:
    """Sends so many transactions and dies: before the next one is sent, or before its receipt is read."""

    def __init__(self, transactor: Transactor, lives: int, *, sends: bool) -> None:
        self._transactor, self._lives, self._sends = transactor, lives, sends

    def send(self, call: Call, until: Until = "final") -> SentReceipt:
        if self._lives:
            self._lives -= 1
            return self._transactor.send(call, until)
        if self._sends:
            self._transactor.submit(call)
        raise Killed


@pytest.mark.node
@pytest.mark.parametrize("sends", [False, True])
def test_a_deployment_that_was_killed_is_gone_on_with_by_somebody_else(anvil: DevChain, sends: bool) -> None:
    """After each transaction, and in each: without a record or a journal, whoever continues makes what is missing."""
    chain_id = 31337
    there = predicted(anvil.w3, chain_id=chain_id)
    for lives in range(len(ALL)):
        snapshot = anvil.w3.provider.make_request("evm_snapshot", [])["result"]  # type: ignore[arg-type]
        with pytest.raises(Killed):
            deploy(anvil.w3, Mortal(sender(anvil), lives, sends=sends), chain_id=chain_id)  # type: ignore[arg-type]
        assert len(deployment_gas(anvil.w3, chain_id=chain_id)) == len(ALL) - lives - sends
        made = put(anvil, account=1)
        assert made.address == there["Cairn"]
        assert (sent_by(anvil, 0), sent_by(anvil, 1)) == (lives + sends, len(ALL) - lives - sends)
        assert Client(anvil.w3, made.address).partners() == there
        anvil.w3.provider.make_request("evm_revert", [snapshot])  # type: ignore[arg-type]


@pytest.mark.parametrize("sends", [False, True])
@pytest.mark.parametrize("lives", range(len(ALL)))
def test_where_create2_is_not_to_be_had_the_journal_and_the_record_go_on(
    tmp_path: Path, lives: int, sends: bool
) -> None:
    chain = embedded(2)
    transactor = sender(chain)
    with pytest.raises(Killed):
        deploy(chain.w3, Mortal(transactor, lives, sends=sends), chain_id=EMBEDDED_CHAIN_ID, folder=tmp_path)  # type: ignore[arg-type]
    other = transactor if lives == 0 else sender(chain, 1)  # the factory's address is recorded once it is there
    made = deploy(chain.w3, other, chain_id=EMBEDDED_CHAIN_ID, folder=tmp_path)
    assert sent_by(chain, 0) + sent_by(chain, 1) == len(ALL)
    assert Client(chain.w3, made.address).partners()["Cairn"] == made.address


class Overtaken:
    """Somebody else deploys the same between the look and the transaction."""

    def __init__(self, chain: DevChain) -> None:
        self._chain = chain

    def send(self, call: Call, until: Until = "final") -> SentReceipt:
        sender(self._chain, 1).send(call, until)
        return sender(self._chain, 0).send(call, until)


@pytest.mark.node
def test_two_who_deploy_at_once_end_with_the_same_contracts(anvil: DevChain) -> None:
    made = deploy(anvil.w3, Overtaken(anvil), chain_id=31337)  # type: ignore[arg-type]
    assert made.address == predicted(anvil.w3, chain_id=31337)["Cairn"]
    assert sent_by(anvil, 1) == len(ALL)
    assert Client(anvil.w3, made.address).partners()["Cairn"] == made.address


@pytest.mark.node
def test_each_contract_deploys_under_a_block_gas_limit_of_11_500_000(find_tool: Callable[[str], Path]) -> None:
    with anvil_chain(find_tool("anvil"), "--gas-limit", "11500000") as small:
        made = put(small)
        blocks = [small.w3.eth.get_block(number) for number in range(1, small.w3.eth.block_number + 1)]
        assert [len(block["transactions"]) for block in blocks] == [1] * len(ALL)
        assert all(block["gasLimit"] <= 11_500_000 for block in blocks)
        assert Client(small.w3, made.address).partners()["Cairn"] == made.address


# Nobody between -------------------------------------------------------------------------------------------------------


def test_a_cairn_without_a_factory_cannot_be_made(chain: Embedded) -> None:
    with pytest.raises(ContractError):
        sender(chain).send(creation_call("Cairn", create2=False))


def test_nobody_puts_other_code_in_a_place(chain: Embedded) -> None:
    mallory = sender(chain, 1)
    factory = deploy_contract(chain.w3, mallory, "Factory", [code_hashes()], chain_id=EMBEDDED_CHAIN_ID).address
    for place, name in enumerate(DEPLOYED):
        code = artifact("AllowListHook").bytecode + bytes(32)
        data = encode_call("Factory", "deploy", (place, code))
        with pytest.raises(ContractError, match="OtherCode"):
            mallory.send(Call(to=factory, data=data, key=name))
    data = encode_call("Factory", "deploy", (0, artifact("Cairn").bytecode))
    with pytest.raises(ContractError, match="NotDeployed"):
        mallory.send(Call(to=factory, data=data, key="early"))


def test_a_factory_of_another_list_makes_another_deployment(chain: Embedded) -> None:
    """With one partner's code replaced, nothing has an address that it has beside the right one."""
    hashes = code_hashes()
    factory = Address(b"\x77" * 20)
    right = addresses_of(factory, hashes)
    for place in range(len(DEPLOYED)):
        other = addresses_of(factory, [*hashes[:place], b"\x01" * 32, *hashes[place + 1 :]])
        assert not set(right) & set(other)
