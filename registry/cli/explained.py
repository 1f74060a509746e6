"""What an error of the contract does not say: a round's phase and deadline, what is missing of a bond, the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from registry.cli.output import utc
from registry.errors import CairnError, ContractError, NodeUnavailable, StoreUnavailable

if TYPE_CHECKING:
    from registry.chain.contract_errors import BadTerm, BondIsLocked, BondTooSmall, MissingRole
    from registry.cli.session import Session
    from registry.types import RoundId

__all__ = ["explained"]


def explained(session: Session, error: CairnError) -> str:
    """Return an error's message, with what its sender needs to know and the contract does not say."""
    if isinstance(error, StoreUnavailable) and "cannot be reached" in str(error) and _of_localnet(session):
        return f"{error}: `cairn localnet up` starts it"
    if not isinstance(error, ContractError):
        return str(error)
    from registry.chain.contract_errors import (
        BadTerm,
        BondIsLocked,
        BondTooSmall,
        MissingRole,
        NothingToWithdraw,
        RoundNotEnded,
        WrongPhase,
    )

    try:
        match error:
            case BadTerm():
                return _term(error)
            case BondTooSmall():
                return _missing_bond(session, error)
            case BondIsLocked():
                return f"{error}: {_locked_until(session, error)}"
            case NothingToWithdraw():
                return f"{error}: `cairn bond release MODEL ETHER` credits what no round locks"
            case MissingRole():
                return f"{error}: {_grant(error)}"
            case WrongPhase() | RoundNotEnded():
                return f"{error}: {_round_of(session, error.round_id)}"
    except CairnError:  # the error itself is what matters
        pass
    return str(error)


def _of_localnet(session: Session) -> bool:
    """Return whether the store is that of a local network."""
    source = Path(session.settings.chosen["store"].source)
    return (source.parent / "localnet.json").is_file()


def _term(error: BadTerm) -> str:
    """Name a plan's field as its file does, with its range and how to change it."""
    from registry.cli.plan_files import field_of, show_duration

    name = field_of(error.term)
    show = show_duration if name.endswith("_duration") else str
    remedy = f"change it in the plan's file, or with `cairn plan new --from FILE --term {name}=…`"
    if error.max < error.min:
        remedy = "challenge_duration is too short for it: set that to 32 times it, or more"
    said = f"at least {show(error.min)}" if error.value < error.min else f"at most {show(error.max)}"
    return f"BadTerm: {name}: expected {said}, got {show(error.value)}: {remedy}"


def _missing_bond(session: Session, error: BondTooSmall) -> str:
    """Say how much is there, how much is needed, and the command that adds the rest."""
    from registry.ethereum.keys import to_checksum
    from registry.ethereum.money import exact_ether

    account, model = to_checksum(error.aggregator), f"0x{error.model_id.hex()[:10]}"
    missing = exact_ether(error.expected - error.amount)
    signer = session.settings["account"] or account
    return (
        f"BondTooSmall: {account} has a bond of {exact_ether(error.amount)} ether in model {model}, expected "
        f"{exact_ether(error.expected)}: {missing} ether missing: `cairn bond deposit {model} {missing} "
        f"--account {signer}` adds it"
    )


def _locked_until(session: Session, error: BondIsLocked) -> str:
    """Say until when the round that a bond covers can be challenged."""
    state = session.reader.round(error.model_id, error.number)
    until = max(state.aggregate_deadline, state.challenge_deadline)
    return f"round {error.number} can be challenged until {utc(until)} or later; a bond that covers a lost round stays"


def _grant(error: MissingRole) -> str:
    """Return the command that grants a role that is missing."""
    from registry.ethereum.keys import to_checksum

    role, account = (error.role.name or "ROLE").lower(), to_checksum(error.account)
    return f"the model's owner grants it: `cairn member grant 0x{error.model_id.hex()[:10]} {account} --role {role}`"


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
