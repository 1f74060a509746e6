"""What the chain adds to an error: the round that was in another phase, until when, and the chain's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.cli.output import utc
from registry.errors import CairnError, ContractError, NodeUnavailable

if TYPE_CHECKING:
    from registry.cli.session import Session
    from registry.types import RoundId

__all__ = ["explained"]


def explained(session: Session, error: CairnError) -> str:
    """Return an error's message, with what its sender needs to know and the contract does not say."""
    if not isinstance(error, ContractError):
        return str(error)
    from registry.chain.contract_errors import BondTooSmall, RoundNotEnded, WrongPhase

    if isinstance(error, BondTooSmall):
        return f"{error}: `cairn bond deposit MODEL ETHER` adds to it"
    if not isinstance(error, WrongPhase | RoundNotEnded):
        return str(error)
    try:
        return f"{error}: {_round_of(session, error.round_id)}"
    except CairnError:  # the error itself is what matters
        return str(error)


def _round_of(session: Session, round_id: RoundId) -> str:
    """Say in which phase a round is, until when, and what time it is on the chain."""
    from registry.chain.contract_events import RoundOpened
    from registry.chain.event_logs import read_events_back
    from registry.ethereum.node import chain_time
    from registry.facts.round_facts import DEADLINES

    client = session.reader
    opened = read_events_back(
        client.w3,
        client.address,
        from_block=client.deployed_at,
        to_block=client.latest_block(),
        kinds=[RoundOpened],
        span=client.span,
    )
    found = next((event for event in opened if isinstance(event, RoundOpened) and event.round_id == round_id), None)
    if found is None:
        raise NodeUnavailable("the node has no logs of the round")
    phase, state = client.phase(found.model_id, found.number), client.round(found.model_id, found.number)
    ends = getattr(state, DEADLINES[phase]) if phase in DEADLINES else 0
    until = f" until {utc(ends)}" if ends else ""
    now = utc(chain_time(client.w3))
    return f"round {found.number} of model 0x{found.model_id.hex()[:8]} is in {phase.name}{until}; the chain has {now}"
