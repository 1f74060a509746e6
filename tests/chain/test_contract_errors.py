"""Custom errors: every reachable one is triggered, and every one is decoded, displayed and journalled."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from registry.chain import calls, contract_errors
from registry.chain.challenges import Challenges
from registry.chain.client import Client
from registry.chain.contract_structs import Counted, Grant, SignedUpdate, Target
from registry.chain.contracts import abi_type, artifact, encode_call
from registry.chain.custom_error import CustomError
from registry.chain.reverts import decode_error
from registry.chain.sending import Call
from registry.content.merkle import counted_root
from registry.dev.chains import EXAMPLE_RULES, example_plan, example_result
from registry.dev.embedded import warp
from registry.errors import ContractError
from registry.ethereum.hashing import keccak
from registry.ethereum.keys import to_checksum
from registry.ethereum.node import NodeRefused, asking
from registry.rules.program import Opcode, Operation, Program, encode
from registry.types import Address, Digest, ModelId, Phase, Role, Root

GENESIS, ROOT = Digest(b"\x11" * 32), Root(b"\x12" * 32)
D, R, NOBODY = Digest(b"\x21" * 32), Root(b"\x22" * 32), Address(b"\x99" * 20)
ZERO = bytes(32)
CUSTOM = [
    entry
    for contract in ("Cairn", "Rules")
    for entry in artifact(contract).abi
    if entry["type"] == "error" and hasattr(contract_errors, entry["name"])
]


@dataclasses.dataclass
class Stage:
    """A model at some point of its life: owner, two participants, an aggregator, a stranger."""

    owner: Client
    first: Client
    second: Client
    aggregator: Client
    stranger: Client
    model: ModelId

    def plan(self, **changed: Any) -> Stage:
        self.owner.set_plan(self.model, example_plan(**changed), EXAMPLE_RULES)
        return self

    def opened(self, **changed: Any) -> Stage:
        self.plan(**changed).owner.open_round(self.model)
        return self

    def committed(self, **changed: Any) -> Stage:
        self.opened(**changed)
        self.first.commit_update(self.model, 1, D, R, 10, 2)
        self.second.commit_update(self.model, 1, D, R, 20, 2)
        return self

    def ended(self, **changed: Any) -> Stage:
        self.committed(**changed)
        self.owner.end_commits(self.model, 1, [self.first.account, self.second.account])
        return self

    def end_by_number(self) -> object:
        return self.owner.end_commits(self.model, 1, [])

    def attested(self, **changed: Any) -> Stage:
        self.ended(**changed)
        return self.attest()

    def attest(self, **changed: Any) -> Stage:
        self.aggregator.attest_result(self.model, 1, example_result(**changed), self.running)
        return self

    def finalized(self) -> Stage:
        self.attested().at(self.owner.round(self.model, 1).challenge_deadline)
        self.owner.finalize_round(self.model, 1, example_result())
        return self

    def at(self, time: int) -> Stage:
        warp(self.owner.w3, to=time)
        return self

    @property
    def running(self) -> bytes:
        return self.owner.round(self.model, 1).running_hash


@pytest.fixture
def stage(clients: tuple[Client, ...]) -> Stage:
    owner = clients[0]
    model = owner.model_id(owner.account, GENESIS)
    owner.register_model(GENESIS, ROOT, ROOT)
    participants = [Grant(clients[i].account, Role.PARTICIPANT) for i in (1, 2)]
    owner.grant_roles_batch(model, [*participants, Grant(clients[3].account, Role.AGGREGATOR)])
    return Stage(*clients[:5], model=model)


def late(s: Stage) -> Stage:
    return s.at(s.owner.round(s.model, 1).publish_deadline)


def enough(commitments: int, least: int = 30) -> dict[str, int]:
    return {"enough_commitments": commitments, "least_commit_duration": least}


def ascending(s: Stage) -> list[Address]:
    return sorted([s.first.account, s.second.account])


COUNTED = Counted(7, b"\x66" * 32)
MISCOUNTED = counted_root(COUNTED.count, COUNTED.inner)


def void_result(s: Stage) -> Call:
    data = encode_call("Cairn", "voidResult", (s.model, 1, 2))
    return Call(to=s.owner.address, data=data, key="void")


def ruled(s: Stage, rules: bytes) -> object:
    return s.owner.set_plan(s.model, example_plan(rules_hash=keccak(rules)), rules)


def stepped(s: Stage, parameter: int, operation: Operation) -> object:
    """A server step of a program that `analyse` would refuse."""
    rules = EXAMPLE_RULES[:-5] + encode(Program((), 0, (parameter,), (operation,), 6, ()))
    data = encode_call("Rules", "serverStep", (rules, 1, (), (1, 1, 1, 0)))
    return s.owner.send(Call(to=s.owner.partners()["Rules"], data=data, key="step"))


def convicted(s: Stage) -> Stage:
    """A round whose one result says two contributions and roots seven."""
    s.ended().attest(contributions_root=MISCOUNTED)
    target = Target(s.model, 1, example_result(contributions_root=MISCOUNTED))
    Challenges(s.stranger).convict_count(target, COUNTED)
    return s


def attested_again(s: Stage) -> None:
    s.owner.grant_roles(s.model, s.second.account, Role.AGGREGATOR)
    s.second.attest_result(s.model, 1, example_result(contributions_root=MISCOUNTED), s.running)


def signed(s: Stage, valid_until: int) -> SignedUpdate:
    return SignedUpdate(s.first.account, D, R, 1, 2, valid_until, signature=b"\x01" * 65)


def relayed_with_little_gas(s: Stage) -> None:
    call = calls.commit_updates_for(s.owner.address, s.model, 1, [signed(s, 2**64 - 1)])
    transaction = {"to": to_checksum(call.to or b""), "data": "0x" + call.data.hex(), "gas": 200_000}
    try:
        with asking("eth_call"):
            s.owner.w3.eth.call(transaction)  # type: ignore[arg-type]
    except NodeRefused as error:
        raise decode_error(error.data or b"") from error


def lapsed(s: Stage) -> Stage:
    return s.at(s.owner.round(s.model, 1).aggregate_deadline)


REACHED: list[tuple[str, dict[str, Any], Callable[[Stage], object]]] = [
    ("UnknownModel", {}, lambda s: s.owner.open_round(ModelId(b"\x77" * 32))),
    ("ModelExists", {}, lambda s: s.owner.register_model(GENESIS, Root(b"\x99" * 32), Root(b"\x99" * 32))),
    ("NotOwner", {}, lambda s: s.stranger.suspend_rounds(s.model)),
    ("NotPendingOwner", {}, lambda s: s.stranger.accept_ownership(s.model)),
    ("ZeroAddress", {}, lambda s: s.owner.grant_roles(s.model, Address(bytes(20)), Role.READER)),
    ("ZeroDigest", {}, lambda s: s.owner.register_model(Digest(ZERO), ROOT, ROOT)),
    ("ZeroRoot", {}, lambda s: s.opened().first.commit_update(s.model, 1, D, Root(ZERO), 1, 2)),
    ("UnknownVersion", {"digest": D}, lambda s: s.owner.publish_version(s.model, D, Digest(b"\x41" * 32), R, R)),
    ("VersionExists", {"digest": GENESIS}, lambda s: s.owner.publish_version(s.model, GENESIS, GENESIS, R, R)),
    ("VersionIsDeprecated", {}, lambda s: deprecated_twice(s)),
    ("UnsoundReplacement", {}, lambda s: s.owner.deprecate_version(s.model, GENESIS, D, Digest(b"\x55" * 32))),
    ("AlreadySuspended", {}, lambda s: (s.owner.suspend_rounds(s.model), s.owner.suspend_rounds(s.model))),
    ("NotSuspended", {}, lambda s: s.owner.resume_rounds(s.model)),
    ("RoundsAreSuspended", {}, lambda s: (s.plan().owner.suspend_rounds(s.model), s.owner.open_round(s.model))),
    (
        "MissingRole",
        {"role": Role.PARTICIPANT},
        lambda s: s.opened().stranger.commit_update(s.model, 1, D, R, 1, 2),
    ),
    ("BadRoles", {"roles": 32}, lambda s: s.owner.grant_roles(s.model, NOBODY, Role(32))),
    ("NoPlan", {}, lambda s: s.owner.open_round(s.model)),
    ("UnknownPlan", {"plan_index": 3}, lambda s: s.owner.plan(s.model, 3)),
    ("OtherRules", {"given": keccak(b"\x01")}, lambda s: s.owner.set_plan(s.model, example_plan(), b"\x01")),
    ("BadRules", {"offset": 0}, lambda s: ruled(s, b"\x02" + EXAMPLE_RULES[1:])),
    ("BadProgramLength", {"length": 6, "expected": 5}, lambda s: ruled(s, EXAMPLE_RULES + b"\x00")),
    (
        "BadProgramNumber",
        {"number": 5, "low": 0, "high": 4},
        lambda s: ruled(s, EXAMPLE_RULES[:-5] + b"\x05" + bytes(500)),
    ),
    ("ValueTooLarge", {"value": 1 << 122}, lambda s: stepped(s, 1 << 61, Operation(Opcode.MUL, 1, 1))),
    ("BadDivisor", {"divisor": 0}, lambda s: stepped(s, 0, Operation(Opcode.DIV, 0, 1))),
    ("BadRadicand", {"radicand": -1}, lambda s: stepped(s, -1, Operation(Opcode.SQRT, 1))),
    ("BadTerm", {"term": "quorum", "value": 0, "min": 1}, lambda s: s.plan(quorum=0)),
    ("BadTerm", {"term": "weightCap", "value": 0, "max": 1 << 28}, lambda s: s.plan(weight_cap=0)),
    ("BadTerm", {"term": "minContributions", "value": 0}, lambda s: s.plan(min_contributions=0)),
    ("BadTerm", {"term": "commitDuration", "value": 29, "min": 30}, lambda s: s.plan(commit_duration=29)),
    (
        "BadTerm",
        {"term": "answerDuration", "value": 31, "min": 30, "max": 30},
        lambda s: s.plan(challenge_duration=991, answer_duration=31),
    ),
    (
        "BadTerm",
        {"term": "demandPriceGwei", "value": 60_000_001, "max": 60_000_000},
        lambda s: s.plan(demand_price_gwei=60_000_001),
    ),
    ("BadTerm", {"term": "lateDuration", "value": 1, "max": 0}, lambda s: s.plan(late_duration=1)),
    (
        "BadTerm",
        {"term": "enoughCommitments", "value": 1, "min": 2},
        lambda s: s.plan(**enough(1), min_contributions=2),
    ),
    ("BadTerm", {"term": "leastCommitDuration", "value": 29, "min": 30}, lambda s: s.plan(**enough(1, 29))),
    ("TooFewCommitments", {"commitments": 2, "enough": 3}, lambda s: s.committed(**enough(3)).end_by_number()),
    ("TooEarlyToEnd", {}, lambda s: s.committed(**enough(2)).end_by_number()),
    ("NotPartner", {}, lambda s: s.owner.send(void_result(s))),
    ("ResultIsConvicted", {}, lambda s: attested_again(convicted(s))),
    ("NotExpelled", {"unexpelled": 1}, lambda s: lapsed(convicted(s)).owner.open_round(s.model)),
    ("UnknownRound", {"number": 4}, lambda s: s.owner.cancel_round(s.model, 4)),
    ("RoundNotEnded", {"actual": Phase.COMMIT}, lambda s: s.opened().owner.open_round(s.model)),
    (
        "WrongPhase",
        {"expected": Phase.COMMIT, "actual": Phase.PUBLISH},
        lambda s: s.at(s.opened().owner.round(s.model, 1).commit_deadline).first.commit_update(s.model, 1, D, R, 1, 2),
    ),
    ("AlreadyCommitted", {}, lambda s: s.committed().first.commit_update(s.model, 1, R, D, 1, 2)),
    ("BadWeight", {"weight": 1001, "cap": 1000}, lambda s: s.opened().first.commit_update(s.model, 1, D, R, 1001, 2)),
    (
        "BadSignature",
        {},
        lambda s: s.opened().stranger.commit_update_for(s.model, 1, signed(s, 2**64 - 1)),
    ),
    (
        "SignatureExpired",
        {"valid_until": 7},
        lambda s: s.opened().stranger.commit_update_for(s.model, 1, signed(s, 7)),
    ),
    ("BadSteps", {"steps": 0, "max": 1 << 20}, lambda s: s.opened().first.commit_update(s.model, 1, D, R, 1, 0)),
    ("TooLittleGas", {"needed": 309_375}, lambda s: relayed_with_little_gas(s.opened())),
    ("TooManyHooks", {"hooks": 5, "max": 4}, lambda s: s.plan(hooks=(NOBODY,) * 5)),
    ("ZeroHook", {"index": 1}, lambda s: s.plan(hooks=(NOBODY, Address(bytes(20))))),
    ("HookRefused", {"hook": NOBODY}, lambda s: s.opened(hooks=(NOBODY,)).first.commit_update(s.model, 1, D, R, 1, 2)),
    (
        "NotAscending",
        {},
        lambda s: s.committed().owner.end_commits(s.model, 1, [s.first.account, s.first.account]),
    ),
    (
        "WrongParticipantCount",
        {"given": 1, "expected": 2},
        lambda s: s.committed().owner.end_commits(s.model, 1, [s.first.account]),
    ),
    ("NotCommitted", {}, lambda s: s.opened().owner.end_commits(s.model, 1, ascending(s))),
    (
        "RunningHashMismatch",
        {"given": b"\x01" * 32},
        lambda s: s.ended().aggregator.attest_result(s.model, 1, example_result(), b"\x01" * 32),
    ),
    (
        "TooFewContributions",
        {"contributions": 1, "min": 2},
        lambda s: late(s.committed(min_contributions=2)).attest(contributions=1),
    ),
    (
        "TooManyContributions",
        {"contributions": 3, "commitments": 2},
        lambda s: s.ended().attest(contributions=3),
    ),
    ("BadTotalWeight", {"total_weight": 1}, lambda s: s.ended().attest(total_weight=1)),
    ("BadTotalSteps", {"total_steps": 1, "min": 2, "max": 1 << 37}, lambda s: s.ended().attest(total_steps=1)),
    ("WrongDivisor", {"divisor": 0, "min": 1, "max": 1 << 28}, lambda s: s.ended().attest(divisor=0)),
    (
        "IncompleteEarlyResult",
        {"contributions": 1, "commitments": 2},
        lambda s: s.ended().attest(contributions=1),
    ),
    (
        "NotBetter",
        {},
        lambda s: late(s.committed(quorum=2)).attest().attest(contributions=1),
    ),
    ("AlreadyAttested", {}, lambda s: late(s.committed(quorum=2)).attest().owner.cancel_round(s.model, 1)),
    (
        "ResultMismatch",
        {},
        lambda s: s.at(s.attested().owner.round(s.model, 1).challenge_deadline).owner.finalize_round(
            s.model, 1, example_result(total_weight=31)
        ),
    ),
    ("AlreadyFinalized", {}, lambda s: s.finalized().stranger.finalize_round(s.model, 1, example_result())),
    (
        "AlreadyCancelled",
        {},
        lambda s: (s.opened().owner.cancel_round(s.model, 1), s.stranger.cancel_round(s.model, 1)),
    ),
]


def deprecated_twice(s: Stage) -> None:
    s.owner.publish_version(s.model, GENESIS, D, R, R)
    s.owner.deprecate_version(s.model, GENESIS, D)
    s.owner.deprecate_version(s.model, GENESIS, Digest(b"\x66" * 32))


def cancelled_twice(s: Stage) -> None:
    s.opened().owner.cancel_round(s.model, 1)
    s.stranger.cancel_round(s.model, 1)


def revoked_after_committing(s: Stage) -> None:
    s.committed().owner.revoke_roles(s.model, s.first.account, Role.PARTICIPANT)
    s.owner.end_commits(s.model, 1, [s.second.account])


@pytest.mark.parametrize(("name", "fields", "act"), REACHED, ids=[name for name, _, _ in REACHED])
def test_the_contract_raises_its_own_error_before_anything_is_sent(
    stage: Stage, name: str, fields: dict[str, Any], act: Callable[[Stage], object]
) -> None:
    with pytest.raises(getattr(contract_errors, name)) as caught:
        act(stage)
    for field, value in fields.items():
        assert getattr(caught.value, field) == value
    for client in (stage.owner, stage.first, stage.second, stage.aggregator, stage.stranger):
        assert client.transactor.journal.live() == ()


def test_every_custom_error_is_reached_here() -> None:
    assert {name for name, _, _ in REACHED} == {entry["name"] for entry in CUSTOM}


@pytest.mark.parametrize("entry", CUSTOM, ids=lambda entry: entry["name"])
def test_revert_data_decode_to_the_error_and_its_values(entry: Any) -> None:
    from eth_abi.abi import encode
    from eth_hash.auto import keccak

    types = [abi_type(item) for item in entry["inputs"]]
    values = [{"bytes32": b"\x0a" * 32, "address": b"\x0b" * 20, "string": "quorum"}.get(kind, 2) for kind in types]
    selector = keccak(f"{entry['name']}({','.join(types)})".encode())[:4]
    error = decode_error(selector + encode(types, values))
    assert type(error).__name__ == entry["name"]
    assert isinstance(error, CustomError)
    assert [getattr(error, field.name) for field in dataclasses.fields(error)] == values  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(error)).__dict__ == error.__dict__  # noqa: S301 - our own bytes
    for field in dataclasses.fields(error):  # type: ignore[arg-type]
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(error, field.name, None)


def test_messages_say_expected_and_got() -> None:
    error = contract_errors.WrongPhase(ModelId(b"\x12\xab" + bytes(30)), Phase.COMMIT, Phase.PUBLISH)  # type: ignore[arg-type]
    assert str(error) == "WrongPhase: round 0x12ab0000…, expected COMMIT, got PUBLISH"
    mismatch = contract_errors.WrongParticipantCount(given=1, expected=2)
    assert str(mismatch) == "WrongParticipantCount: expected 2, got 1"
    assert str(contract_errors.ZeroDigest()) == "ZeroDigest"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "without a reason"),
        (bytes.fromhex("4e487b71") + (0x11).to_bytes(32, "big"), "panicked with code 0x11"),
        (bytes.fromhex("deadbeef"), "not Cairn's"),
        (bytes.fromhex("08c379a0") + b"\xff" * 40, "do not decode"),
    ],
)
def test_other_revert_data_are_contract_errors_too(data: bytes, said: str) -> None:
    error = decode_error(data)
    assert type(error) is ContractError
    assert said in str(error)
