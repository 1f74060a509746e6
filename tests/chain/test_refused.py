"""What a node refuses to take is bid for less, or given up; it holds up nothing that is signed after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from registry.chain import calls
from registry.chain.client import Client
from registry.chain.journal import IntentState, Journal
from registry.chain.sending import Call, Sending
from registry.dev.embedded import Embedded
from registry.errors import NotEnoughMoney, TransactionRefused
from registry.types import Digest, Root

ROOT = Root(b"\x12" * 32)
FeeCap = Callable[[Any, int], list[int]]


def registering(client: Client, number: int) -> Call:
    return calls.register_model(client.address, Digest(bytes([number]) * 32), ROOT, ROOT)


def impatient(chain: Embedded, at: Client, **options: Any) -> Client:
    """The second account, which gives up waiting soon."""
    sending = Sending(**{"timeout": 2.0, "poll": 0.0, "resend_after": 0.0} | options)
    return Client(chain.w3, at.address, signer=chain.signers[1], journal=Journal(None), sending=sending)


def states(client: Client) -> list[tuple[IntentState, int | None, int]]:
    return [(intent.state, intent.nonce, len(intent.attempts)) for intent in client.transactor.journal.all()]


def refuse(monkeypatch: pytest.MonkeyPatch, chain: Embedded, answer: Callable[[str], Any]) -> None:
    """Have a node answer to raw transactions as told; None is what it would say itself."""
    provider: Any = chain.w3.provider
    real = provider.make_request

    def make_request(method: str, params: Any) -> Any:
        said = answer(params[0]) if method == "eth_sendRawTransaction" else None
        return real(method, params) if said is None else said

    monkeypatch.setattr(provider, "make_request", make_request)
    monkeypatch.setattr(provider, "_request_func_cache", (None, None))


def error(words: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": words}}


def test_what_may_cost_too_much_for_a_node_is_bid_for_less(clients: tuple[Client, ...], fee_cap: FeeCap) -> None:
    client = clients[1]
    quote = client.quote(registering(client, 1))
    refused = fee_cap(client.w3, quote.max_cost - 1)
    client.send(registering(client, 1))
    assert (states(client), len(refused)) == ([(IntentState.FINAL, 0, 2)], 1)
    assert quote.fees.base_fee is not None
    (intent,) = client.transactor.journal.all()
    assert intent.attempts[-1].max_fee == quote.fees.base_fee * 9 // 8 + quote.fees.priority_fee


@pytest.mark.parametrize("words", ["exceeds block gas limit", "txpool is full", "no", "insufficient funds for gas"])
def test_what_no_node_takes_is_given_up_and_its_nonce_is_the_next_one_s(
    clients: tuple[Client, ...], chain: Embedded, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    client = impatient(chain, clients[0])
    with monkeypatch.context() as patched:
        refuse(patched, chain, lambda _: error(words))
        for _ in range(2):
            with pytest.raises(NotEnoughMoney if "funds" in words else TransactionRefused):
                client.send(registering(client, 1))
    client.send(registering(client, 2))
    client.send(registering(client, 1))  # the same bytes as those that were refused, but for the nonce
    assert states(client) == [(IntentState.FAILED, None, 0)] * 2 + [(IntentState.FINAL, n, 1) for n in (0, 1)]


def test_the_same_bytes_are_taken_once_the_node_takes_them(
    clients: tuple[Client, ...], chain: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, signed = impatient(chain, clients[0]), list[str]()
    with monkeypatch.context() as patched:
        refuse(patched, chain, lambda raw: signed.append(raw) or error("limit exceeded"))  # type: ignore[func-returns-value]
        with pytest.raises(TransactionRefused):
            client.send(registering(client, 1))
    again = list[str]()
    with monkeypatch.context() as patched:
        refuse(patched, chain, again.append)
        client.send(registering(client, 1))
    assert again == signed[:1]


def test_one_that_a_node_has_though_it_refuses_it_is_not_given_up(
    clients: tuple[Client, ...], chain: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed anew under another nonce it would be carried out twice."""
    client, provider = impatient(chain, clients[0], resend_after=100.0), chain.w3.provider
    real: Any = provider.make_request
    chain.w3.provider.ethereum_tester.disable_auto_mine_transactions()  # type: ignore[attr-defined]

    def takes(raw: Any) -> Any:
        real("eth_sendRawTransaction", [raw])
        return error("limit exceeded")

    with monkeypatch.context() as patched:
        refuse(patched, chain, takes)
        client.submit(registering(client, 1))
    assert [state for state, _, _ in states(client)] == [IntentState.SIGNED]
    chain.w3.provider.ethereum_tester.enable_auto_mine_transactions()  # type: ignore[attr-defined]
    client.wait(registering(client, 1))
    assert [state for state, _, _ in states(client)] == [IntentState.FINAL]


def test_nothing_waits_for_a_nonce_that_was_given_up(
    clients: tuple[Client, ...], chain: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed while the node was away, then refused: what was signed after it is mined all the same."""
    now = [1000.0]
    client = impatient(chain, clients[0], resend_after=60.0, clock=lambda: now[0], sleep=lambda _: None)
    first, second = registering(client, 1), registering(client, 2)
    with monkeypatch.context() as patched:

        def away(_: Any) -> Any:
            raise ConnectionError("away")

        refuse(patched, chain, away)
        client.submit(first)
        client.submit(second)
    refuse(monkeypatch, chain, lambda raw: error("no") if b"\x01" * 32 in bytes.fromhex(raw[2:]) else None)
    for _ in range(3):
        now[0] += 100
        client.transactor.keep()
    assert client.transactor.journal.latest(second.key).state is IntentState.FINAL  # type: ignore[union-attr]
    done = {intent.key: intent.state for intent in client.transactor.journal.all()}
    assert done == {
        first.key: IntentState.FAILED,
        second.key: IntentState.FINAL,
        "nonce:0": IntentState.FINAL,
    }


def test_a_higher_bid_that_is_refused_leaves_the_one_that_was_taken(
    clients: tuple[Client, ...], chain: Embedded, fee_cap: FeeCap
) -> None:
    client = impatient(chain, clients[0])
    tester: Any = chain.w3.provider.ethereum_tester  # type: ignore[attr-defined]
    quote = client.quote(registering(client, 1))
    tester.disable_auto_mine_transactions()
    refused = fee_cap(chain.w3, quote.max_cost)
    taken = client.submit(registering(client, 1)).attempts[0]
    for _ in range(3):
        client.transactor.keep()
    assert refused
    assert client.transactor.journal.live()[0].state is IntentState.SENT
    tester.enable_auto_mine_transactions()
    assert client.wait(registering(client, 1)).tx_hash == taken.tx_hash
