"""`cairn bond`: deposits are released and withdrawn to any recipient."""

from __future__ import annotations

from typing import Any

PAYEE = "0x" + "5a" * 20


def test_credit_is_paid_to_another_account(world: Any) -> None:
    world.done("bond", "deposit", world.model, "0.5", "--account", "d")
    world.done("bond", "release", world.model, "0.5", "--account", "d")
    quoted = world.done("bond", "withdraw", "--to", PAYEE, "--account", "d", "--dry-run")
    assert quoted["gas"] > 21_000
    paid = world.done("bond", "withdraw", "--to", PAYEE, "--account", "d")
    assert (paid["withdrawn_ether"], paid["to"].lower()) == ("0.5", PAYEE)
    w3 = world.chain.w3
    assert w3.eth.get_balance(w3.to_checksum_address(PAYEE)) == 5 * 10**17


def test_a_payee_that_is_no_address_or_nobody_is_refused(world: Any) -> None:
    world.done("bond", "deposit", world.model, "0.5", "--account", "d")
    world.done("bond", "release", world.model, "0.5", "--account", "d")
    mistyped = world.run("bond", "withdraw", "--to", "0x12", "--account", "d")
    assert mistyped.exit_code != 0
    assert "expected an address of 20 bytes in hex, got '0x12'" in mistyped.stderr
    nobody = world.run("bond", "withdraw", "--to", "0x" + "00" * 20, "--account", "d")
    assert nobody.exit_code != 0
    assert "PaymentRefused" in nobody.stderr
    assert world.done("bond", "withdraw", "--account", "d")["withdrawn_ether"] == "0.5"
