"""Send a command's transaction: quote it for --dry-run, else send, wait for finality, and report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from registry.cli.session import Session
from registry.ethereum.money import ether

if TYPE_CHECKING:
    from registry.chain.sending import Call, Quote, SentReceipt
    from registry.types import Address

__all__ = ["priced", "quote_of", "send", "show_quote", "tell"]


def send(session: Session, call: Call, what: str, *, facts: Mapping[str, object] | None = None) -> SentReceipt | None:
    """Send a call and wait until it is final; quote its cost instead under --dry-run.

    Args:
        session: The running command's session; with `dry_run` nothing is sent.
        call: The transaction.
        what: Text of the spinner.
        facts: Further JSON fields of a dry run's quote.

    Returns:
        The receipt; None for a dry run, which prints the quote.
    """
    if session.dry_run:
        show_quote(session, quote_of(session, call), what, facts if session.out.as_json else None)
        return None
    client = session.client
    with session.out.waiting(f"{what}: sending") as say:
        client.submit(call)
        say(f"{what}: waiting for a final block ({client.finality}); stopping here is safe, the same command goes on")
        return client.wait(call)


def quote_of(session: Session, call: Call) -> Quote:
    """Return the cost of a call to its sender, without unlocking the keystore."""
    from registry.chain.sending import simulate

    _ = session.reader if call.to is not None else session.chain_id  # the right chain, the right contract
    return priced(session, simulate(session.w3, call, session.account))


def priced(session: Session, gas: int) -> Quote:
    """Return the price of an amount of gas to its sender."""
    from registry.chain.sending import Quote
    from registry.ethereum.fees import suggest_fees
    from registry.ethereum.keys import to_checksum
    from registry.ethereum.node import asking, quantity

    account = session.account
    with asking("eth_getBalance"):
        balance: Any = session.w3.eth.get_balance(to_checksum(account))  # type: ignore[arg-type]
    return Quote(gas, gas + gas // 4, suggest_fees(session.w3), quantity(balance, "balance"))


def show_quote(session: Session, quote: Quote, what: str, facts: Mapping[str, object] | None = None) -> None:
    """Print a quote."""
    from registry.ethereum.keys import to_checksum

    account: Address = session.account
    session.out.result(
        {
            "dry_run": True,
            "would": what,
            "account": to_checksum(account),
            "gas": quote.gas,
            "cost_ether": ether(quote.cost),
            "at_most_ether": ether(quote.max_cost),
            "balance_ether": ether(quote.balance),
            **(facts or {}),
        }
    )


def tell(session: Session, receipt: SentReceipt, facts: Mapping[str, object]) -> None:
    """Print the outcome of a transaction."""
    session.out.result(
        {
            **facts,
            "transaction": receipt.tx_hash,
            "block": receipt.block_number,
            "gas": receipt.gas_used,
            "cost_ether": ether(receipt.gas_used * receipt.gas_price),
        }
    )
