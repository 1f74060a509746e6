"""Say each turn of a model's rounds that concerns a running role, once: opened, waiting for whom, missed, lapsed, lost.

What to say follows from what the chain shows now, so a loop that is started again says where things stand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.chain.contract_structs import Round
from registry.cli.output import utc
from registry.types import Address, ModelId, Phase, Role

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["SeenRound", "Turns", "turns_at"]


@dataclass(frozen=True, slots=True)
class SeenRound:
    """Where a model's last round stands, and an account in it.

    Attributes:
        role: The role that runs: participant or aggregator; auditor for one that only watches and needs none.
        held: Whether the account holds the role now.
        number: The last round's number; 0 before the first.
        phase: Its phase now.
        state: The round.
        time: The chain's time, Unix seconds.
        did: Whether the account committed an update to the round, or attests a result of it.
    """

    role: Role
    held: bool
    number: int
    phase: Phase
    state: Round
    time: int
    did: bool


def turns_at(place: SeenRound) -> Iterator[str]:
    """Yield what there is to say where a round stands, the oldest first."""
    state, phase, name = place.state, place.phase, f"round {place.number}"
    concerned = place.held and place.role is not Role.AUDITOR
    if phase == Phase.COMMIT:
        yield f"{name}: opened, commits until {utc(state.commit_deadline)}"
        if place.role is Role.PARTICIPANT and place.did:
            yield f"{name}: waiting for the other participants' commits"
    elif phase == Phase.PUBLISH:
        until = utc(state.publish_deadline)
        yield f"{name}: commits closed with {state.commitments}, updates are published until {until}"
    elif phase == Phase.AGGREGATE:
        yield f"{name}: waiting for {state.quorum} equal attestations until {utc(state.aggregate_deadline)}"
    elif phase == Phase.CHALLENGE:
        yield f"{name}: a result has its quorum and can be challenged until {utc(state.challenge_deadline)}"
    if concerned and not place.did:
        if place.role is Role.PARTICIPANT and phase in (Phase.PUBLISH, Phase.AGGREGATE, Phase.CHALLENGE):
            yield f"{name}: missed: commits closed without an update of this account"
        if place.role is Role.AGGREGATOR and phase == Phase.CHALLENGE:
            yield f"{name}: missed: the quorum was reached without this account"
    yield from _end_lines(place)
    if phase in (Phase.NONE, Phase.CANCELLED) or state.finalized:
        yield f"waiting for round {place.number + 1} to be opened"


def _end_lines(place: SeenRound) -> Iterator[str]:
    name = f"round {place.number}"
    if place.phase == Phase.FINAL:
        yield f"{name}: finalized" if place.state.finalized else f"{name}: unchallenged, waiting to be finalized"
    if place.phase == Phase.CANCELLED:
        yield f"{name}: {_why_cancelled(place)}"


def _why_cancelled(place: SeenRound) -> str:
    state = place.state
    if state.cancelled and place.time < state.aggregate_deadline:
        return "cancelled by the model's owner"
    if not state.commitments:
        return "lapsed: nobody committed an update"
    if not state.attested:
        return f"lapsed: nobody attested a result of its {state.commitments} updates"
    return f"lapsed: no result got {state.quorum} equal attestations that stand"


class Turns:
    """What a running role was told, so that it is told each turn once."""

    def __init__(self, client: Client, models: Sequence[ModelId], role: Role, account: Address | None = None) -> None:
        """Begin with nothing said.

        Args:
            client: The chain.
            models: The models; each step looks at one of them.
            role: What runs.
            account: Whose turns they are; None for an auditor.
        """
        self._client, self._role, self._account = client, role, account
        self._models = deque(models)
        self._several = len(models) > 1
        self._waiting: deque[str] = deque()
        self._said: set[tuple[ModelId, str]] = set()
        self._held: dict[ModelId, bool] = {}
        self._challenged: dict[ModelId, tuple[int, bool]] = {}

    def step(self) -> str:
        """Return the next line to say; empty if there is none now."""
        if not self._waiting and self._models:
            model = self._models[0]
            self._models.rotate(-1)
            name = f"model {model.hex()[:10]}: " if self._several else ""
            self._waiting.extend(name + line for line in self._new_lines(model))
        return self._waiting.popleft() if self._waiting else ""

    def _new_lines(self, model: ModelId) -> Iterator[str]:
        place = self._look(model)
        if self._account is not None and self._held.get(model) is not place.held:
            yield from self._role_lines(model, place.held)
            self._held[model] = place.held
        number, challenged = self._challenged.get(model, (0, False))
        stands = bool(place.state.challenge_deadline)
        if number == place.number and challenged and not stands:
            yield f"round {number}: the result was voided"
            self._said = {(m, line) for m, line in self._said if m != model}  # what follows may come a second time
        self._challenged[model] = place.number, stands
        for line in (*self._ends_between(model, number, place.number), *turns_at(place)):
            if (model, line) not in self._said:
                self._said.add((model, line))
                yield line
        if self._role is Role.AGGREGATOR and place.held and place.phase in (Phase.COMMIT, Phase.PUBLISH):
            yield from self._bond_lines(model, place.number)

    def _ends_between(self, model: ModelId, seen: int, last: int) -> Iterator[str]:
        """Yield how rounds ended that were followed by others since the last look, such as one that lapsed."""
        for number in range(seen, last) if seen else ():
            yield from _end_lines(self._look(model, number))

    def _look(self, model: ModelId, number: int | None = None) -> SeenRound:
        """Look at a round; by default the last."""
        from registry.chain.phases import phase_at
        from registry.ethereum.node import chain_time

        client, account, held, did = self._client, self._account, True, False
        number = client.model(model).rounds if number is None else number
        state, time = client.round(model, number), chain_time(client.w3)
        if account is not None:
            member = client.member(model, account)
            held, did = bool(member.roles & self._role), bool(number) and member.last_round == number
            if self._role is Role.AGGREGATOR:
                did = bool(number) and any(client.attestation(model, number, account))
        return SeenRound(self._role, held, number, phase_at(state, time), state, time, did)

    def _role_lines(self, model: ModelId, held: bool) -> Iterator[str]:
        from registry.ethereum.keys import to_checksum

        role, before = (self._role.name or "").lower(), self._held.get(model)
        if held and before is False:
            yield f"has the role {role} now"
        if not held and self._account is not None:
            grant = f"cairn member grant 0x{model.hex()[:10]} {to_checksum(self._account)} --role {role}"
            lost = "lost" if before else "without"
            yield f"{lost} the role {role}: waiting for the model's owner to grant it: `{grant}`"

    def _bond_lines(self, model: ModelId, number: int) -> Iterator[str]:
        from registry.chain.court import Court
        from registry.ethereum.keys import to_checksum
        from registry.ethereum.money import exact_ether

        if self._account is None or (model, f"bond {number}") in self._said:
            return
        self._said.add((model, f"bond {number}"))
        court = Court(self._client)
        asked, held = court.bond_asked(model, number), court.bond(model, self._account).amount
        if held < asked:
            missing, account = exact_ether(asked - held), to_checksum(self._account)
            yield (
                f"round {number}: attesting takes a bond of {exact_ether(asked)} ether, of which {missing} are "
                f"missing: `cairn bond deposit 0x{model.hex()[:10]} {missing} --account {account}`"
            )
