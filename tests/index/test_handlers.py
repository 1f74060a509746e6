"""Every event has a handler, and what it writes fits a table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from registry.chain.challenges import Challenges
from registry.chain.contract_events import CHALLENGE_EVENTS, COURT_EVENTS, EVENTS, LABEL_EVENTS, SCORE_EVENTS
from registry.chain.court import Court
from registry.chain.labels import Labels
from registry.chain.validator_scores import Scores
from registry.index import queries
from registry.index.handlers import HANDLERS
from registry.types import Digest, ModelId, Root

if TYPE_CHECKING:
    from conftest import Indexing

ROOT = Path(__file__).resolve().parents[2]


def test_every_event_has_a_handler() -> None:
    assert set(HANDLERS) == {*EVENTS, *CHALLENGE_EVENTS, *COURT_EVENTS, *LABEL_EVENTS, *SCORE_EVENTS}


def test_every_event_of_a_model_s_life_fills_its_tables(disputed: Indexing) -> None:
    client = disputed.clients[0]
    contracts = (client, Challenges(client), Court(client), Labels(client), Scores(client))
    events = [event for contract in contracts for event in contract.events(from_block=1)]
    assert {type(event) for event in events} == {
        *EVENTS,
        *CHALLENGE_EVENTS,
        *COURT_EVENTS,
        *LABEL_EVENTS,
        *SCORE_EVENTS,
    }
    disputed.sync()
    with disputed.open() as index:
        counts = queries.count_facts(index.db)
    assert counts == {
        "models": 1,
        "owners": 2,
        "offers": 2,
        "suspensions": 2,
        "members": 8,
        "plans": 3,
        "rounds": 4,
        "versions": 5,
        "heads": 6,
        "deprecations": 2,
        "commitments": 5,
        "commit_ends": 2,
        "results": 2,
        "attestations": 3,
        "quorums": 3,
        "finalizations": 2,
        "cancellations": 2,
        "extensions": 1,
        "voids": 1,
        "expulsions": 1,
        "seals": 1,
        "advances": 1,
        "convictions": 1,
        "demands": 2,
        "answers": 1,
        "closures": 1,
        "reveals": 1,
        "rewards": 1,
        "bonds": 4,
        "withdrawals": 1,
        "labels": 6,
        "score_terms": 1,
        "score_commitments": 1,
        "scores": 1,
    }


def test_bonds_for_a_model_that_nobody_registered_do_not_stop_the_index(played: Indexing) -> None:
    """Anybody may deposit for any id, or release nothing. Only these two events are about what need not be there."""
    stranger = Court(played.clients[5])
    unknown = ModelId(b"\x99" * 32)
    stranger.deposit_bond(unknown, 1)
    stranger.release_bond(unknown, 0)
    played.sync()
    with played.open() as index:
        counts = queries.count_facts(index.db)
        assert (counts["models"], counts["bonds"]) == (1, 2)
        assert queries.model(index.db, unknown) is None
        assert unknown not in {entry.model_id for entry in queries.models(index.db)}
    assert played.dump() == played.fresh()


def test_a_bond_may_come_before_its_model(indexing: Indexing) -> None:
    owner, digest = indexing.clients[0], Digest(b"\x01" * 32)
    Court(indexing.clients[5]).deposit_bond(owner.model_id(owner.account, digest), 1)
    indexing.sync()
    owner.register_model(digest, Root(b"\x02" * 32), Root(b"\x02" * 32))
    indexing.sync()
    with indexing.open() as index:
        assert queries.count_facts(index.db)["bonds"] == len(queries.models(index.db)) == 1


def test_nothing_but_queries_selects() -> None:
    sources = [path for room in ("registry", "trainer") for path in (ROOT / room).rglob("*.py")]
    selecting = {str(p.relative_to(ROOT)) for p in sources if re.search(r"(?<!\.)\bSELECT\s+[^=\s]", p.read_text())}
    assert selecting == {
        "registry/chain/journal.py",  # another file, with questions of its own
        "registry/index/block_times.py",  # likewise
        "registry/index/name_queries.py",
        "registry/index/queries.py",
        "registry/index/round_queries.py",
        "registry/lineage/catalogue.py",  # what manifests say, in a file of its own
    }
