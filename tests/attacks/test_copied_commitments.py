"""Copying another participant's commitment or update."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from registry.chain.client import Client
from registry.chain.contract_errors import AlreadyCommitted
from registry.content.manifest import Reason, encode
from registry.errors import FormError, InputError, VerificationFailed
from registry.ethereum.networks import Finality, FinalityRule
from registry.rounds.onchain import commits_closed
from registry.store.manifests import put_manifest
from trainer.updates import PreparedUpdate, commit_update

if TYPE_CHECKING:
    from conftest import Federation


def test_a_copied_digest_is_refused_and_the_original_admitted(opened: Federation) -> None:
    update = opened.update("ann")
    opened.commit("ann", update)
    opened.commit("mallory", update)  # as soon as the first transaction is seen
    opened.publish(update)
    opened.sleep_to("publish_deadline")
    assert opened.reasons() == {"ann": Reason.ADMITTED, "mallory": Reason.WRONG_BINDING}


def test_a_copied_digest_committed_first_does_not_displace_the_original(opened: Federation) -> None:
    update = opened.update("ann")
    opened.commit("mallory", update)  # out of the pool, before its author's
    opened.commit("ann", update)
    opened.publish(update)
    opened.sleep_to("publish_deadline")
    assert opened.reasons() == {"mallory": Reason.WRONG_BINDING, "ann": Reason.ADMITTED}


def test_a_round_with_a_copied_digest_counts_it_once_and_verifies(opened: Federation) -> None:
    update = opened.update("ann", weight=70)
    opened.commit("ann", update)
    opened.commit("mallory", update)
    opened.publish(update)
    opened.sleep_to("publish_deadline")
    result = opened.outcome().result
    assert (result.contributions, result.total_weight) == (1, 70)
    opened.force(result)
    assert all(v.passed for v in opened.verify())


def test_a_manifest_rewritten_to_its_copier_cannot_name_the_blob_before_it_is_published(opened: Federation) -> None:
    update = opened.update("ann")
    opened.commit("ann", update)
    # All that can be copied at this time is what the chain shows: digest, root and weight. The rest must be guessed.
    guess = opened.update("mallory", seed=99).manifest.delta
    root = update.manifest.delta.tensor_root
    copy = opened.sealed("mallory", update.data, files={"delta": type(guess)(guess.cid, guess.size, root)})
    opened.commit("mallory", copy)
    opened.sleep_to("publish_deadline")
    opened.publish(update)
    put_manifest(opened.store, copy.manifest)
    assert opened.reasons() == {"ann": Reason.ADMITTED, "mallory": Reason.UNAVAILABLE}


def test_nothing_is_published_before_the_block_that_closed_commits_is_final(opened: Federation) -> None:
    """Until then a reorg could reopen commits, and what was published could be copied after all."""
    patient = Client(opened.chain.w3, opened.address, finality=Finality(FinalityRule.CONFIRMATIONS, 3))
    opened.commit("ann", opened.update("ann"))
    opened.sleep_to("commit_deadline")
    deadline = opened.owner.round(opened.model_id, 1).commit_deadline
    seen = []
    for _ in range(6):
        closing = opened.chain.w3.eth.get_block(patient.final_block())["timestamp"] >= deadline
        seen.append(closing)
        assert commits_closed(patient, opened.model_id, 1) == closing
        opened.chain.w3.provider.ethereum_tester.mine_block()  # type: ignore[attr-defined]
    assert seen == sorted(seen)
    assert not seen[2]
    assert seen[-1]


def test_a_republished_manifest_with_one_byte_changed_is_not_the_one_committed(opened: Federation) -> None:
    update = opened.update("ann")
    opened.commit("ann", update)
    opened.sleep_to("publish_deadline")
    data = bytearray(encode(update.manifest))
    data[-1] ^= 1
    opened.publish(update)
    opened.store._blocks[update.digest] = bytes(data)
    assert opened.reasons() == {"ann": Reason.UNAVAILABLE}


def test_a_second_commitment_in_the_round_reverts(opened: Federation) -> None:
    opened.commit("mallory", opened.update("mallory"))
    with pytest.raises(AlreadyCommitted):
        opened.commit("mallory", opened.update("mallory", seed=1))


def test_another_update_than_the_committed_one_is_not_taken_for_it(opened: Federation) -> None:
    """Two machines with one key: the second must not go on as if its own update had been committed."""
    committed, other = opened.update("ann"), opened.update("ann", seed=1)
    opened.commit("ann", committed)
    with pytest.raises(VerificationFailed, match="this account committed 0x"):
        commit_update(opened.ann, opened.record(), PreparedUpdate(other.manifest, opened.folder))


def test_a_participant_who_stands_twice_among_the_admitted_has_no_contributions_root(published: Federation) -> None:
    first, *rest = published.verdicts()
    with pytest.raises((InputError, FormError), match="strictly ascending"):
        published.outcome([first, first, *rest])
