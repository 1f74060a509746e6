"""A round's phase is read at the last final block, or at the latest block under instant finality."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from registry.chain.client import Client, open_journal
from registry.chain.deploy import deploy
from registry.chain.transactions import Transactor
from registry.dev.chains import EXAMPLE_RULES, anvil_chain, example_plan
from registry.ethereum.networks import parse_finality
from registry.rounds.onchain import commits_closed, final_phase
from registry.types import Digest, Phase, Role, Root


@pytest.mark.node
@pytest.mark.parametrize(("policy", "after"), [("instant", Phase.PUBLISH), ("0", Phase.COMMIT)])
def test_commits_close_without_another_block_where_every_block_is_final(
    policy: str, after: Phase, find_tool: Callable[[str], Path], tmp_path: Path
) -> None:
    with anvil_chain(find_tool("anvil")) as chain:
        signer, chain_id = chain.signers[0], chain.w3.eth.chain_id
        maker = Transactor(
            chain.w3, signer, open_journal(chain.w3, chain_id, signer.address, tmp_path), chain_id=chain_id
        )
        made = deploy(chain.w3, maker, chain_id=chain_id)
        owner = Client(chain.w3, made.address, signer=signer, journal=tmp_path, finality=parse_finality(policy))
        genesis = Digest(b"\x11" * 32)
        model = owner.model_id(owner.account, genesis)
        owner.register_model(genesis, Root(b"\x12" * 32), Root(b"\x12" * 32))
        owner.grant_roles(model, owner.account, Role.PARTICIPANT)
        plan = example_plan()
        owner.set_plan(model, plan, EXAMPLE_RULES)
        owner.open_round(model)
        block = chain.w3.eth.block_number
        assert (final_phase(owner, model, 1), commits_closed(owner, model, 1)) == (Phase.COMMIT, False)

        chain.w3.manager.request_blocking("evm_increaseTime", [plan.commit_duration + 1])  # type: ignore[arg-type]
        assert final_phase(owner, model, 1) == after
        assert commits_closed(owner, model, 1) == (after == Phase.PUBLISH)
        assert chain.w3.eth.block_number == block
