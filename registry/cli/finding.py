"""Resolve user input to models, versions, rounds and accounts: full ids, unique prefixes, or names."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from registry.cli.output import utc
from registry.cli.prefixes import choose, is_hex
from registry.content.copied_cids import copied_cid
from registry.errors import InputError

if TYPE_CHECKING:
    from registry.chain.client import Client
    from registry.cli.session import Session
    from registry.lineage.graph import VersionNode
    from registry.types import Address, Digest, ModelId

__all__ = ["Found", "find_account", "find_model", "find_round", "find_version"]


_DATE = re.compile(r"\d{4}-\d\d-\d\d")


class Found(NamedTuple):
    """A model with one of its versions."""

    model: ModelId
    version: Digest


def find_model(client: Client, text: str) -> ModelId:
    """Return the model with an id or a unique prefix.

    Raises:
        InputError: No model matches, or several do.
    """
    from registry.chain.contract_events import ModelRegistered
    from registry.types import ModelId

    if is_hex(text) and len(text.removeprefix("0x")) == 64:
        whole = ModelId(bytes.fromhex(text.removeprefix("0x")))
        if not any(client.model(whole).owner):
            raise InputError(f"no model 0x{whole.hex()} in this contract")
        return whole
    latest = client.latest_block()
    found = [e for e in client.events(ModelRegistered, to_block=latest) if isinstance(e, ModelRegistered)]
    return choose(text, {event.model_id.hex(): event.model_id for event in found}, "model")


def find_version(client: Client, text: str) -> Found:
    """Resolve MODEL or MODEL@VERSION; the version defaults to the head.

    VERSION is a digest, a CID, a unique prefix of either, `head`, `genesis`, `round-N`, an alias as of the last
    final block, or a time: what was the head then, at the end of a day if only that is given, in UTC unless it says
    otherwise.

    Raises:
        InputError: No model or version matches, or several do.
    """
    from registry.content.manifest import manifest_cid
    from registry.lineage.graph import versions_of

    name, _, wanted = text.partition("@")
    wanted = copied_cid(wanted)
    model = find_model(client, name)
    if wanted in ("", "head"):
        return Found(model, client.model(model).head)
    steps = versions_of(client, model)
    if wanted == "genesis":
        return Found(model, next(iter(steps)))
    if wanted.startswith("round-"):
        return Found(model, _of_round(steps, wanted))
    if _DATE.match(wanted):
        return Found(model, _at(client, steps, wanted))
    if wanted.startswith("bafy"):
        return Found(model, choose(wanted, {str(manifest_cid(digest)): digest for digest in steps}, "version"))
    if is_hex(wanted):  # which the contract lets no alias be
        return Found(model, choose(wanted, {digest.hex(): digest for digest in steps}, "version"))
    return Found(model, _named(client, model, wanted))


def find_round(client: Client, model: ModelId, number: int | None) -> int:
    """Return the given round number, by default the model's last.

    Raises:
        InputError: The round does not exist.
    """
    rounds = client.model(model).rounds
    wanted = rounds if number is None else number
    if not 1 <= wanted <= rounds:
        had = f"rounds 1 to {rounds}" if rounds else "no rounds yet"
        raise InputError(f"model 0x{model.hex()[:12]} has {had}: there is no round {wanted}" if number else f"{had}")
    return wanted


def find_account(session: Session, text: str, known: Iterable[Address] | None = None) -> Address:
    """Resolve an account: an address, a keystore's name, or a unique prefix of a known address.

    Raises:
        InputError: No account matches, or several do.
        SignerError: The keystore holds no address, as cast writes them, and does not open.
    """
    from registry.cli.keystores import keystores_in
    from registry.ethereum.keys import address_of

    if len(text.removeprefix("0x")) == 40 and is_hex(text):
        return address_of(text)
    folder = session.settings.path("keys")
    path = keystores_in(folder).get(text)
    if path is not None:
        return session.account_in(path)
    if known is None or not is_hex(text):
        raise InputError(f"expected an address or the name of a keystore in {folder}, got {text!r}")
    return choose(text, {account.hex(): account for account in known}, "account")


def _at(client: Client, steps: dict[Digest, VersionNode], wanted: str) -> Digest:
    """Return the version that was the head at a time."""
    from registry.ethereum.node import asking, quantity

    try:
        when = datetime.fromisoformat(wanted)
    except ValueError as error:
        raise InputError(f"expected a time such as 2026-11-01 or 2026-11-01T12:30Z, got {wanted!r}") from error
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    seconds = when.timestamp() + (86399 if len(wanted) == len("2026-11-01") else 0)

    def anchored_at(step: VersionNode) -> int:
        with asking("eth_getBlockByNumber"):
            return quantity(client.w3.eth.get_block(step.block)["timestamp"], "timestamp")

    found = list(steps.values())
    count = bisect_right(found, seconds, key=anchored_at)
    if not count:
        raise InputError(f"the model has no version of {wanted}: it was registered at {utc(anchored_at(found[0]))}")
    return found[count - 1].digest


def _named(client: Client, model: ModelId, alias: str) -> Digest:
    """Return the version that an alias names."""
    from registry.lineage.version_labels import read_labels

    aliases = read_labels(client, model).aliases
    if alias not in aliases:
        known = f"its aliases are {', '.join(aliases)}" if aliases else "it has no alias yet"
        raise InputError(
            f"no version or alias {alias!r} of model 0x{model.hex()[:12]}: {known}; a version is a digest, a CID or a "
            "prefix of one, head, genesis, round-N or a date"
        )
    return aliases[alias]


def _of_round(steps: dict[Digest, VersionNode], wanted: str) -> Digest:
    number = wanted.removeprefix("round-")
    for digest, step in steps.items():
        if number.isdigit() and step.round == int(number) and step.round:
            return digest
    raise InputError(f"no version of {wanted}: it is not finalized, or not in a final block yet")
