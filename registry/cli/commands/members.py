"""`cairn member …`: grant, revoke and list roles in a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.command import Need, command, group
from registry.cli.finding import find_account, find_model
from registry.cli.send import send, tell
from registry.cli.session import Session
from registry.errors import InputError

if TYPE_CHECKING:
    from registry.types import Role

app = group("Who may take part in a model's rounds.")

ModelText = Annotated[str, typer.Argument(metavar="MODEL", help="A model's id, or any unique prefix of it.")]
Accounts = Annotated[
    list[str],
    typer.Argument(metavar="ACCOUNT", help="Addresses, keystore names, or unique prefixes of members' addresses."),
]
Roles = Annotated[
    list[str], typer.Option("--role", "-r", metavar="ROLE", help="participant, aggregator, auditor or reader; repeat.")
]


@command(
    app,
    "grant",
    needs=Need.SEND,
    example="cairn member grant 3fa9 0x7099…79C8 0x3C44…93BC --role participant",
)
def grant(session: Session, model: ModelText, accounts: Accounts, role: Roles) -> None:
    """Give accounts roles in a model. Owner only."""
    _change(session, model, accounts, role, granting=True)


@command(app, "revoke", needs=Need.SEND, example="cairn member revoke 3fa9 7099 --role participant")
def revoke(session: Session, model: ModelText, accounts: Accounts, role: Roles) -> None:
    """Revoke roles. Earlier commitments and attestations stay valid. Owner only."""
    _change(session, model, accounts, role, granting=False)


@command(app, "list", needs=Need.CHAIN | Need.HOME | Need.KEYS, example="cairn member list 3fa9")
def list_members(
    session: Session,
    model: ModelText,
    everybody: Annotated[bool, typer.Option("--all", help="Include accounts without a current role.")] = False,
) -> None:
    """List a model's members and their roles."""
    from registry.cli.keystores import account_of, keystores_in
    from registry.ethereum.keys import address_of
    from registry.facts.member_facts import member_facts
    from registry.facts.plain import plain

    names = {account_of(path): name for name, path in keystores_in(session.settings.path("keys")).items()}
    entries = [
        {**plain(member), "keystore": names.get(address_of(member.account))}
        for member in member_facts(session.reader, find_model(session.reader, model), everybody=everybody)
    ]
    rows = [(e["account"], e["roles"], e["last_round"], e["keystore"] or "") for e in entries]
    columns = ("account", "roles", "last round", "keystore here")
    empty = "No members yet: cairn member grant MODEL ACCOUNT --role participant"
    session.out.result(entries, lambda: session.out.table(columns, rows, right=("last round",), empty=empty))


def _change(session: Session, model: str, accounts: list[str], role: list[str], *, granting: bool) -> None:
    from registry.chain import calls
    from registry.chain.contract_structs import Grant
    from registry.ethereum.keys import to_checksum
    from registry.facts.member_facts import members_of

    roles = _roles(role)
    client = session.reader
    found = find_model(client, model)
    known = members_of(client, found)
    chosen = [find_account(session, text, known) for text in accounts]
    if len(chosen) == 1:
        one = calls.grant_roles if granting else calls.revoke_roles
        call = one(client.address, found, chosen[0], roles)
    else:
        many = calls.grant_roles_batch if granting else calls.revoke_roles_batch
        call = many(client.address, found, [Grant(account, roles) for account in chosen])
    receipt = send(session, call, "grant roles" if granting else "revoke roles")
    if receipt is not None:
        after = {to_checksum(account): client.member(found, account).roles for account in chosen}
        tell(session, receipt, {"model": found, **after})


def _roles(names: list[str]) -> Role:
    from registry.types import Role

    found = Role(0)
    for name in (part for text in names for part in text.split(",")):
        if name.upper() not in Role.__members__:
            raise InputError(f"role: expected participant, aggregator, auditor or reader, got {name!r}")
        found |= Role[name.upper()]
    return found
