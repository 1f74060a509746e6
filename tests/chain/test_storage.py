"""State decoded from proven storage words equals the views', at every step of a model's life."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.chain.client import Client
from registry.chain.contract_hashes import round_id_of
from registry.chain.contract_structs import Round, Version
from registry.chain.deploy import deploy
from registry.chain.journal import Journal
from registry.chain.storage import round_in, round_slots, version_in, version_slots
from registry.chain.transactions import Transactor
from registry.dev.chains import EXAMPLE_RULES, DevChain, anvil_chain, example_plan, example_result
from registry.dev.embedded import sleep_until
from registry.ethereum.blocks import fetch_headers, fetch_state
from registry.types import Digest, ModelId, Role, Root

GENESIS, NEXT, LAST = (Digest(bytes([number]) * 32) for number in (1, 2, 3))
ROOT = Root(b"\x09" * 32)


@pytest.fixture(scope="module")
def chain(find_tool: Callable[[str], Path]) -> Iterator[DevChain]:
    """anvil, which proves its state."""
    with anvil_chain(find_tool("anvil")) as running:
        yield running


@pytest.fixture(scope="module")
def client(chain: DevChain) -> Client:
    """An owner that is all else too."""
    journal, chain_id = Journal(None), chain.w3.eth.chain_id
    made = deploy(chain.w3, Transactor(chain.w3, chain.signers[0], journal, chain_id=chain_id), chain_id=chain_id)
    return Client(chain.w3, made.address, signer=chain.signers[0], journal=journal)


def shown(client: Client, model: ModelId, number: int) -> tuple[list[Version], Round]:
    """What proven words say, having compared it with the views."""
    block = client.latest_block()
    (header,) = fetch_headers(client.w3, [block])
    round_id, digests = round_id_of(model, number), (GENESIS, NEXT, LAST)
    slots = [*round_slots(round_id), *(slot for digest in digests for slot in version_slots(model, digest))]
    _, state = fetch_state(client.w3, header, client.address, slots)
    words = dict(zip(slots, state.words, strict=True))
    versions = [version_in(words, model, digest) for digest in digests]
    viewed = client.round(model, number, block=block)
    found = round_in(words, round_id, viewed.quorum or 7)
    assert versions == [client.version(model, digest, block=block) for digest in digests]
    assert found == viewed
    return versions, found


@pytest.mark.node
def test_words_say_what_the_views_show_at_every_step(client: Client) -> None:
    model = client.model_id(client.account, GENESIS)
    assert not any(version.known for version in shown(client, model, 1)[0])
    client.register_model(GENESIS, ROOT, ROOT)
    client.grant_roles(model, client.account, Role.PARTICIPANT | Role.AGGREGATOR)
    client.publish_version(model, GENESIS, NEXT, ROOT, ROOT)
    client.deprecate_version(model, GENESIS, Digest(b"\x05" * 32))
    versions, _ = shown(client, model, 1)
    assert [(v.known, v.outside_round, v.deprecated) for v in versions] == [
        (True, True, True),
        (True, True, False),
        (False, False, False),
    ]
    client.set_plan(model, example_plan(quorum=1, commit_duration=777), EXAMPLE_RULES)
    client.open_round(model)
    assert shown(client, model, 1)[1].commit_deadline > 0
    client.commit_update(model, 1, Digest(b"\x06" * 32), ROOT, 5, 3)
    before = shown(client, model, 1)[1].running_hash
    client.end_commits(model, 1, [client.account])
    _, ended = shown(client, model, 1)
    assert (ended.commitments, ended.ended_early, ended.running_hash) == (1, True, before)
    result = example_result(version_digest=LAST, contributions=1, total_weight=5)
    client.attest_result(model, 1, result, before)
    attested = shown(client, model, 1)[1]
    assert (attested.attested, attested.finalized) == (True, False)
    sleep_until(client.w3, attested.challenge_deadline, move=True)
    client.finalize_round(model, 1, result)
    versions, final = shown(client, model, 1)
    assert (final.finalized, versions[2].known, versions[2].outside_round) == (True, True, False)


@pytest.mark.node
def test_a_revoked_participant_and_a_cancelled_round_show_in_the_words(client: Client) -> None:
    model = client.model_id(client.account, NEXT)
    client.register_model(NEXT, ROOT, ROOT)
    client.grant_roles(model, client.account, Role.PARTICIPANT)
    client.set_plan(model, example_plan(), EXAMPLE_RULES)
    client.open_round(model)
    client.commit_update(model, 1, Digest(b"\x06" * 32), ROOT, 5, 3)
    client.revoke_roles(model, client.account, Role.PARTICIPANT)
    state = shown(client, model, 1)[1]
    assert (state.commitments, state.ended_early) == (1, False)
    client.cancel_round(model, 1)
    assert shown(client, model, 1)[1].cancelled
