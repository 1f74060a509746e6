"""`cairn bond …`: deposit, release and withdraw bonds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.command import Need, command, group
from registry.cli.finding import find_model
from registry.cli.send import send, tell
from registry.cli.session import Session
from registry.errors import InputError
from registry.ethereum.money import ether, exact_ether, wei_of

if TYPE_CHECKING:
    from registry.chain.court import Court

app = group(
    "Bonds that aggregators stake on their attestations if the plan requires one, and your withdrawable credit."
)

ModelText = Annotated[str, typer.Argument(metavar="MODEL", help="A model's id, or any unique prefix of it.")]
Amount = Annotated[str, typer.Argument(metavar="ETHER", help="Amount, such as 0.5.")]


@command(app, "deposit", needs=Need.SEND, example="cairn bond deposit 3fa9 0.5 --account aggregator-1")
def deposit(session: Session, model: ModelText, amount: Amount) -> None:
    """Deposit a bond for a model. It is slashed, half of it burnt, if you attest a false or withheld result."""
    wei, found = wei_of(amount, "ETHER"), find_model(session.reader, model)
    receipt = send(session, _court(session).call("depositBond", found, value=wei), "deposit a bond")
    if receipt is not None:
        tell(session, receipt, {"model": found, "deposited_ether": ether(wei)})


@command(app, "release", needs=Need.SEND, example="cairn bond release 3fa9 0.5 --account aggregator-1")
def release(session: Session, model: ModelText, amount: Amount) -> None:
    """Release the part of a bond that no round locks; it is credited to you, see `withdraw`."""
    from registry.ethereum.keys import to_checksum

    wei, found = wei_of(amount, "ETHER"), find_model(session.reader, model)
    court = _court(session)
    held = court.bond(found, session.account).amount
    if wei > held:
        raise InputError(
            f"expected at most the {exact_ether(held)} ether that {to_checksum(session.account)} has as a bond in "
            f"model 0x{found.hex()[:10]}, got {amount}"
        )
    receipt = send(session, court.call("releaseBond", found, wei), "release a bond")
    if receipt is not None:
        tell(session, receipt, {"model": found, "released_ether": ether(wei)})


@command(app, "withdraw", needs=Need.SEND, example="cairn bond withdraw --account aggregator-1")
def withdraw(
    session: Session,
    to: Annotated[str | None, typer.Option("--to", metavar="ADDRESS", help="Recipient; default yourself.")] = None,
) -> None:
    """Withdraw your credit: released bonds, deposits, rewards."""
    from registry.chain.court import Court
    from registry.ethereum.keys import address_of, to_checksum

    payee = session.account if to is None else address_of(to)
    owed = _court(session).credit(session.account)
    # The journal numbers withdrawals, which a dry run does not need.
    call = _court(session).call("withdraw", payee) if session.dry_run else Court(session.client).withdrawal(payee)
    receipt = send(session, call, "withdraw")
    if receipt is not None:
        tell(session, receipt, {"withdrawn_ether": ether(owed), "to": to_checksum(payee)})


@command(app, "show", needs=Need.CHAIN | Need.HOME, example="cairn bond show 3fa9 0x7099…")
def show(
    session: Session,
    model: ModelText,
    account: Annotated[str, typer.Argument(metavar="ADDRESS", help="Whose.")],
) -> None:
    """Show an account's bond in a model and its withdrawable credit."""
    from registry.ethereum.keys import address_of
    from registry.facts.member_facts import bond_facts

    found, who = find_model(session.reader, model), address_of(account)
    session.out.result(bond_facts(session.reader, found, who))


def _court(session: Session) -> Court:
    from registry.chain.court import Court

    return Court(session.reader)
