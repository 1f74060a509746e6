"""Participants, aggregators and auditors as processes, which the integration tests start, kill and restart.

    python actors.py run SETTINGS NAME      be one of them until killed
    python actors.py nursery SETTINGS       fork one for each NAME on standard input and print its process id, so that
                                            starting again after a kill does not mean importing torch again

SETTINGS is a JSON file, see `Settings`; names are participant-0, aggregator-0, auditor-0 and so on.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from registry.chain.client import Client
from registry.chain.transactions import Sending
from registry.content.manifest import Code, DataSetManifest
from registry.dev.chains import development_signers
from registry.disputes import streaming
from registry.ethereum.node import connect
from registry.roles import aggregator, auditor
from registry.roles.loop import follow
from registry.roles.purse import Purse
from registry.store.uri import open_store
from registry.types import Address, ModelId
from trainer import participant
from trainer.participant import Task

POLL = 0.05
WORDS = 9000
AUDITOR_LIMIT = 10**21
"""Wei: a killed auditor counts the most that what it was sending may have cost."""
LAZY = (
    "web3",
    "eth_account.hdaccount",
    "eth_abi.abi",
    "eth_hash.auto",
    "dag_cbor",
    "multiformats",
    "filelock",
)
"""What is imported where it is used, and takes long: a nursery imports it once for all."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything is.

    Attributes:
        url: The chain's RPC.
        contract: Its Cairn, in hex.
        block: Where that was deployed.
        model_id: In hex.
        large: Whether the model is the large one.
        folder: A sub-folder for each actor is made in it.
        stores: URI of each actor's content store.
        participants: How many; they have the development accounts from 1 on, aggregators those that follow.
        aggregators: How many.
        rounds: File with the number of rounds that aggregators are to open.
        auditors: How many; they have the accounts after the aggregators'.
    """

    url: str
    contract: str
    block: int
    model_id: str
    large: bool
    folder: str
    stores: Mapping[str, str]
    participants: int
    aggregators: int
    rounds: str
    auditors: int = 0

    @property
    def names(self) -> list[str]:
        """Everybody, in the order of their accounts."""
        counts = {"participant": self.participants, "aggregator": self.aggregators, "auditor": self.auditors}
        return [f"{role}-{i}" for role, count in counts.items() for i in range(count)]

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), default=dict))


def module(large: bool) -> nn.Module:
    """The genesis: a few values, or more than a leaf of a MiB, with buffers that need a scale of their own."""
    torch.manual_seed(0)
    if not large:
        return nn.Linear(4, 1)
    return nn.Sequential(nn.EmbeddingBag(WORDS, 32, mode="mean"), nn.BatchNorm1d(32), nn.Linear(32, 4))


def task(number: int, large: bool) -> Task:
    """What a participant brings. On one thread the same parent gives the same update, to the bit."""
    draw = torch.Generator().manual_seed(number)
    examples = 24 + number
    if large:
        inputs = torch.randint(0, WORDS, (examples, 40), generator=draw)
        targets = torch.randn(examples, 4, generator=draw)
    else:
        inputs = torch.randn(examples, 4, generator=draw)
        targets = inputs.sum(1, keepdim=True) + number

    def train(trained: nn.Module, epoch: int) -> Mapping[str, float]:
        trained.zero_grad()
        loss = (trained(inputs) - targets).pow(2).mean()
        loss.backward()
        with torch.no_grad():
            for value in trained.parameters():  # by hand: importing torch.optim takes longer than a round
                value.sub_(value.grad, alpha=0.05)
        return {"loss": loss.item()}

    data_set = DataSetManifest(f"part {number}", "", "", "", examples, None)
    return Task(module(large), train, examples, data_set, Code("actors", "1"))


def be(settings: Settings, name: str) -> None:
    """Take part until killed."""
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {name} %(message)s")
    torch.set_num_threads(1)
    role, number = name.split("-")
    place = settings.names.index(name) + 1
    signers = development_signers(place + 1)
    folder = Path(settings.folder) / name
    client = Client(
        connect(settings.url),
        Address(bytes.fromhex(settings.contract)),
        signer=signers[place],
        journal=folder / "journals",
        deployed_at=settings.block,
        sending=Sending(poll=0.02),
    )
    store, model_id = open_store(settings.stores[name]), ModelId(bytes.fromhex(settings.model_id))
    advance: Callable[[], str]
    if role == "participant":
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "salt").write_bytes(name.encode().ljust(32, b"."))  # else two runs name the same data by two digests
        mine = task(int(number), settings.large)
        if int(number):
            mine = in_turn(mine, client, model_id, signers[place - 1].address)

        def advance() -> str:
            return participant.advance(client, store, folder, model_id, mine)

    elif role == "auditor":
        streaming.MOST_GAS = 1  # one contribution a transaction
        purse, found = Purse(client, folder / "spent.json", AUDITOR_LIMIT), auditor.AuditorMemory()

        def advance() -> str:
            return auditor.advance(client, store, folder, model_id, purse=purse, memory=found)

    else:
        memory = aggregator.AggregatorMemory()

        def advance() -> str:
            more = client.model(model_id).rounds < int(Path(settings.rounds).read_text())
            return aggregator.advance(client, store, folder, model_id, open_rounds=more, memory=memory)

    follow(advance, threading.Event(), poll=POLL)


def in_turn(mine: Task, client: Client, model_id: ModelId, before: Address) -> Task:
    """The same task, trained once the participant before has committed: digests hold the order of commitments."""

    def train(trained: nn.Module, epoch: int) -> Mapping[str, float]:
        while client.member(model_id, before).last_round < client.model(model_id).rounds:
            time.sleep(POLL)
        return mine.train_epoch(trained, epoch)

    return replace(mine, train_epoch=train)


def nursery(settings: Settings) -> None:
    """Fork an actor for each name on standard input."""
    for name in LAZY:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries them
    for line in sys.stdin:
        child = os.fork()
        if child:
            print(child, flush=True)
            continue
        name = line.strip()
        log = os.open(Path(settings.folder) / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            be(settings, name)
        finally:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)


def main() -> None:
    command, path, *names = sys.argv[1:]
    settings = Settings(**json.loads(Path(path).read_text()))
    if command == "nursery":
        nursery(settings)
    else:
        be(settings, names[0])


if __name__ == "__main__":
    main()
