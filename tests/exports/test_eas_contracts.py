"""EAS's own contracts on anvil: they register the schema, and take and keep the data that an export attests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from web3.exceptions import Web3Exception
from web3.types import TxReceipt

from registry.dev.chains import anvil_chain
from registry.exports.eas_attestation import SCHEMA, Attesting, attestation, read_attestation, schema_uid
from registry.exports.version_record import VersionRecord
from registry.types import Address
from tests.exports.test_export_folders import eas_sdk

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "node_modules" / "@ethereum-attestation-service" / "eas-contracts" / "artifacts" / "contracts"
NOBODY, NONE = "0x" + "00" * 20, bytes(32)


@dataclass(frozen=True)
class Eas:
    """EAS on a chain of its own, with the chain id of the exported version."""

    w3: Any
    schemas: Any
    contract: Any
    signers: Any

    def send(self, call: Any) -> TxReceipt:
        receipt: TxReceipt = self.w3.eth.wait_for_transaction_receipt(call.transact())
        assert receipt["status"] == 1
        return receipt


def deployed(w3: Any, name: str, *arguments: str) -> Any:
    """Deploy a contract as EAS's package ships it."""
    artifact = json.loads((ARTIFACTS / f"{name}.sol" / f"{name}.json").read_text())
    made = w3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"]).constructor(*arguments).transact()
    address = w3.eth.wait_for_transaction_receipt(made)["contractAddress"]
    return w3.eth.contract(address, abi=artifact["abi"])


@pytest.fixture(scope="module")
def eas(record: VersionRecord, find_tool: Callable[[str], Path]) -> Iterator[Eas]:
    find_tool("hardhat")  # the packages of package-lock.json are installed
    with anvil_chain(find_tool("anvil"), "--chain-id", str(record.exported.chain_id)) as chain:
        chain.w3.eth.default_account = chain.w3.eth.accounts[0]
        schemas = deployed(chain.w3, "SchemaRegistry")
        yield Eas(chain.w3, schemas, deployed(chain.w3, "EAS", schemas.address), chain.signers)


def request_of(message: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """Return the request to attest on chain what a message attests off chain."""
    data = {
        "recipient": message["recipient"],
        "expirationTime": int(message["expirationTime"]),
        "revocable": message["revocable"],
        "refUID": message["refUID"],
        "data": message["data"],
        "value": 0,
    }
    return {"schema": message["schema"], "data": data, **changed}


@pytest.mark.node
def test_eas_s_contracts_take_the_schema_and_the_attested_data(eas: Eas, record: VersionRecord, tmp_path: Path) -> None:
    contract = eas.contract
    by = Attesting(eas.signers[0], Address(bytes.fromhex(contract.address[2:])), contract.functions.version().call(), 7)
    path = tmp_path / "attestation.json"
    path.write_bytes(attestation(record, by))
    assert eas_sdk(path) == [True, "0x" + schema_uid().hex()]
    message = json.loads(path.read_bytes())["sig"]["message"]
    with pytest.raises(Web3Exception):  # no such schema yet
        contract.functions.attest(request_of(message)).transact()

    eas.send(eas.schemas.functions.register(SCHEMA, NOBODY, True))
    assert eas.schemas.functions.getSchema(schema_uid()).call() == (schema_uid(), NOBODY, True, SCHEMA)

    (event,) = contract.events.Attested().process_receipt(eas.send(contract.functions.attest(request_of(message))))
    kept = contract.functions.getAttestation(event["args"]["uid"]).call()
    assert (kept[1], "0x" + kept[9].hex()) == (schema_uid(), message["data"])
    told = {"sig": {"message": {"schema": "0x" + kept[1].hex(), "data": "0x" + kept[9].hex()}}}
    assert read_attestation(json.dumps(told).encode()) == record.exported


@pytest.mark.node
def test_eas_s_contract_anchors_and_revokes_the_off_chain_attestation(
    eas: Eas, record: VersionRecord, tmp_path: Path
) -> None:
    contract = eas.contract
    by = Attesting(eas.signers[0], Address(bytes.fromhex(contract.address[2:])), contract.functions.version().call(), 7)
    path = tmp_path / "attestation.json"
    path.write_bytes(attestation(record, by))
    assert eas_sdk(path) == [True, "0x" + schema_uid().hex()]  # which also recomputes the uid
    uid = bytes.fromhex(json.loads(path.read_bytes())["sig"]["uid"][2:])
    assert contract.functions.getTimestamp(uid).call() == 0
    eas.send(contract.functions.timestamp(uid))
    assert contract.functions.getTimestamp(uid).call() == eas.w3.eth.get_block("latest")["timestamp"]
    eas.send(contract.functions.revokeOffchain(uid))
    signer = eas.w3.eth.default_account
    assert bytes.fromhex(signer[2:]) == eas.signers[0].address
    assert contract.functions.getRevokeOffchain(signer, uid).call() == eas.w3.eth.get_block("latest")["timestamp"]
