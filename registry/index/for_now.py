"""A temporary index, for commands that query it once and exit."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.chain.client import Client
from registry.ethereum.node import asking
from registry.index.database import Index, read_index
from registry.index.entries import Following
from registry.index.sync import Follower

__all__ = ["following_of", "index_for_now"]


def following_of(client: Client) -> Following:
    """Return what an index follows: the contract, and its partners that emit events."""
    with asking("eth_getBlockByNumber"):
        genesis = bytes(client.w3.eth.get_block(0)["hash"])
    return Following(client.chain_id, genesis, client.emitters(), client.deployed_at)


@contextmanager
def index_for_now(client: Client) -> Iterator[sqlite3.Connection]:
    """Index all events of a contract in a temporary folder, and yield the database."""
    with tempfile.TemporaryDirectory(prefix="cairn-index-") as folder:
        path = Path(folder) / "index.sqlite"
        with Index(path, following_of(client)) as index:
            Follower(index, client.w3, client.finality).sync()
        with read_index(path) as db:
            yield db
