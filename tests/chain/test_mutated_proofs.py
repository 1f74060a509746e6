"""Headers, receipts, proofs and logs of a real block with bytes changed: none is believed, each gets an error of ours.

Five hundred cases, ten thousand with CAIRN_SOAK; CAIRN_MUTATIONS_SEED repeats a run.
"""

from __future__ import annotations

import copy
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.errors import FormError, NodeUnavailable, VerificationFailed
from registry.ethereum.headers import Header, decode_header, read_header, require_linked
from registry.ethereum.logs import read_placed_log, require_logs
from registry.ethereum.proofs import (
    SlotProof,
    StateProof,
    prove_receipt,
    read_state_proof,
    verify_receipt,
    verify_state,
)
from registry.ethereum.receipts import decode_receipt, read_receipts, verify_receipts
from registry.types import Address

CASES = 10_000 if os.environ.get("CAIRN_SOAK") else 500
SEED = int(os.environ.get("CAIRN_MUTATIONS_SEED", "0")) or time.time_ns() % 10**9
REFUSALS = (FormError, NodeUnavailable, VerificationFailed)

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "chain" / "geth_block.json").read_text())
HEADERS = [read_header(block) for block in GOLDEN["blocks"]]
HEADER = HEADERS[1]
TRUSTED = HEADERS[2].hash
RECEIPTS = read_receipts(GOLDEN["receipts"])
EMITTER = Address(bytes.fromhex(GOLDEN["emitter"][2:]))
LOGS = [log for log in GOLDEN["logs"] if log["address"] == GOLDEN["emitter"]]
STATE = read_state_proof(GOLDEN["proofs"]["contract"], EMITTER, [bytes(31) + bytes([number]) for number in range(3)])
Draw = random.Random


# What a reader does with each kind of evidence, given nothing but the trusted hash -----------------------------------


def headers_of(raws: list[bytes]) -> Any:
    return believed([decode_header(raw) for raw in raws])


def headers_in(answer: Any) -> Any:
    return believed([read_header(block) for block in answer])


def believed(headers: list[Header]) -> list[Header]:
    """The headers of three blocks, when they are what was asked for and linked."""
    if [header.number for header in headers] != [header.number for header in HEADERS]:
        raise NodeUnavailable("other blocks than were asked for")
    require_linked(headers, TRUSTED)
    return headers


def receipts_of(raws: list[bytes]) -> Any:
    receipts = tuple(decode_receipt(raw) for raw in raws)
    verify_receipts(HEADER, receipts)
    return receipts


def receipts_in(answer: Any) -> Any:
    receipts = read_receipts(answer)
    verify_receipts(HEADER, receipts)
    return receipts


def logs_in(answer: Any) -> Any:
    logs = [read_placed_log(log) for log in answer]
    require_logs(HEADER, RECEIPTS, logs, [EMITTER])
    return sorted(logs, key=lambda log: log.at)


def state_of(nodes: list[bytes]) -> Any:
    """The nodes of an account and of three words, all in one list."""
    parts, left = [], [*nodes]
    for count in (len(STATE.nodes), *(len(slot.nodes) for slot in STATE.slots)):
        parts.append(tuple(left[:count]))
        left = left[count:]
    slots = tuple(SlotProof(slot.slot, part) for slot, part in zip(STATE.slots, parts[1:], strict=True))
    return verify_state(HEADER.state_root, StateProof(STATE.address, (*parts[0], *left), slots))


def state_in(answer: Any) -> Any:
    return verify_state(HEADER.state_root, read_state_proof(answer, EMITTER, [slot.slot for slot in STATE.slots]))


def receipt_of(index: int) -> Callable[[list[bytes]], Any]:
    return lambda nodes: verify_receipt(HEADER.receipts_root, index, nodes)


BYTES: dict[str, tuple[Callable[[list[bytes]], Any], list[bytes]]] = {
    "headers": (headers_of, [header.encode() for header in HEADERS]),
    "receipts": (receipts_of, [receipt.encode() for receipt in RECEIPTS]),
    "state proof": (state_of, [*STATE.nodes, *(node for slot in STATE.slots for node in slot.nodes)]),
    **{f"proof of receipt {i}": (receipt_of(i), list(prove_receipt(RECEIPTS, i))) for i in range(len(RECEIPTS))},
}
ANSWERS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "header": (headers_in, GOLDEN["blocks"]),
    "receipts": (receipts_in, GOLDEN["receipts"]),
    "logs": (logs_in, LOGS),
    "state proof": (state_in, GOLDEN["proofs"]["contract"]),
}


# How evidence is changed ---------------------------------------------------------------------------------------------


def changed_bytes(data: bytes, draw: Draw) -> bytes:
    """Other bytes than data, by one or two small changes."""
    made = bytearray(data)
    while bytes(made) == data:
        for _ in range(draw.choice((1, 1, 2))):
            at, end = sorted((draw.randrange(len(made) + 1), draw.randrange(len(made) + 1)))
            kind = draw.randrange(7)
            if kind == 0 and at < len(made):
                made[at] ^= 1 << draw.randrange(8)
            elif kind == 1 and at < len(made):
                made[at] = draw.randrange(256)
            elif kind == 2:
                made[at:at] = bytes([draw.choice((0, 0x80, 0xC0, draw.randrange(256)))])
            elif kind == 3:
                del made[at : at + draw.randrange(1, 4)]
            elif kind == 4:
                del made[at:end]
            elif kind == 5:
                made[at:at] = made[at:end]
            elif kind == 6:
                made = made[end:] + made[at:end] + made[:at]
    return bytes(made)


def changed_list(items: list[bytes], draw: Draw) -> list[bytes]:
    """The list with one item changed, left out, doubled, or exchanged with another that differs."""
    made, at = [*items], draw.randrange(len(items))
    kind = draw.randrange(10)
    if kind == 0:
        del made[at]
    elif kind == 1:
        made.insert(draw.randrange(len(items) + 1), items[at])
    elif kind == 2 and len(items) > 1:
        other = (at + 1) % len(items)
        made[at], made[other] = made[other], made[at]
    else:
        made[at] = changed_bytes(items[at], draw)
    return made if made != items else changed_list(items, draw)


def changed_answer(answer: Any, draw: Draw) -> Any:
    """JSON with one value somewhere in it changed."""
    made = copy.deepcopy(answer)
    holder: Any = made
    while True:
        key = draw.choice([*holder]) if isinstance(holder, dict) else draw.randrange(len(holder))
        inside = holder[key]
        if not isinstance(inside, (dict, list)) or not inside or draw.random() < 0.05:
            break
        holder = inside
    kind = draw.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        holder[key] = draw.choice([None, True, 7, -1, 1.5, "", "0x", "0xg", [], {}, [[]], "0x0"])
    elif kind == 2 and isinstance(holder, list):
        holder.append(inside)
    elif isinstance(inside, str) and len(inside) > 2:
        at = draw.randrange(2, len(inside))
        digits = "0123456789abcdef" + "gG _"
        holder[key] = inside[:at] + draw.choice(["", draw.choice(digits), draw.choice(digits) * 2]) + inside[at + 1 :]
    else:
        holder[key] = [inside]
    return made


def test_what_is_not_changed_is_believed() -> None:
    for believe, items in BYTES.values():
        believe(items)
    for believe, answer in ANSWERS.values():
        believe(answer)


@pytest.mark.parametrize("kind", BYTES)
def test_changed_bytes_are_never_believed(kind: str) -> None:
    believe, items = BYTES[kind]
    draw = Draw(f"{SEED} {kind}")
    for case in range(CASES // (3 if kind.startswith("proof of") else 1)):
        made = changed_list(items, draw)
        try:
            believe(made)
        except REFUSALS:
            continue
        pytest.fail(f"seed {SEED}, case {case}: believed {[item.hex() for item in made]}")


@pytest.mark.parametrize("kind", ANSWERS)
def test_changed_answers_show_nothing_but_the_truth(kind: str) -> None:
    """An answer holds much that nobody reads; so what is believed of a changed one must be what was true before."""
    believe, answer = ANSWERS[kind]
    truth, refused = believe(answer), 0
    draw = Draw(f"{SEED} {kind}")
    for case in range(CASES):
        made = changed_answer(answer, draw)
        try:
            shown = believe(made)
        except REFUSALS:
            refused += 1
            continue
        assert shown == truth, f"seed {SEED}, case {case}: {json.dumps(made)}"
    assert refused > CASES // 4
