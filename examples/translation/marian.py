"""A Marian translator in plain torch: reads Marian's binary files, and trains and translates as any module does.

The kind that browsers carry: a transformer encoder, and a decoder of simple recurrent units with attention over the
source (Kim et al.: From Research to Production and Back: Ludicrously Fast Neural Machine Translation, WNGT 2019). All
embeddings are tied. Its files hold integers of 8 bits with a scale each; here they become float32.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

HEADS = 8
_FLOAT, _INT8 = 0x0404, 0x4101
END, UNKNOWN = 0, 1
"""Tokens of the vocabulary: the end of a sentence, and what it lacks."""


def read_marian(file: Path) -> dict[str, torch.Tensor]:
    """Return the float32 tensors of a Marian binary file by name, those of 8 bits multiplied by their scales.

    A header of a file is (version, number of tensors), then for each (length of its name, type, dimensions, bytes),
    all uint64, then names, shapes and data. An 8-bit tensor ends with the float32 that it was multiplied by; matrices
    but the embeddings are stored transposed.

    Raises:
        ValueError: It is no such file.
    """
    data = file.read_bytes()
    version, count = struct.unpack_from("<QQ", data)
    if version != 1 or not 0 < count < 10_000:
        raise ValueError(f"{file}: expected a Marian binary file of version 1")
    heads = [struct.unpack_from("<QQQQ", data, 16 + 32 * place) for place in range(count)]
    at, names, shapes = 16 + 32 * count, [], []
    for length, *_ in heads:
        names.append(data[at : at + length - 1].decode())
        at += length
    for _, _, dimensions, _ in heads:
        shapes.append(struct.unpack_from(f"<{dimensions}i", data, at))
        at += 4 * dimensions
    at += 8 + struct.unpack_from("<Q", data, at)[0]
    found = {}
    for name, shape, (_, kind, _, size) in zip(names, shapes, heads, strict=True):
        values = math.prod(shape)
        if kind == _FLOAT:
            found[name] = torch.tensor(np.frombuffer(data, "<f4", values, at)).reshape(shape)
        elif kind == _INT8 and not name.endswith("_QuantMultA"):
            scale = struct.unpack_from("<f", data, at + values)[0]
            plain = torch.tensor(np.frombuffer(data, "i1", values, at)).float() / scale
            found[name] = plain.reshape(shape) if name == "Wemb" else plain.reshape(shape[::-1]).T.contiguous()
        at += size
    return found


class Attention(nn.Module):
    """Multi-head attention, then the residual and its normalization."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.LayerNorm(width, eps=1e-9)

    def forward(self, x: torch.Tensor, source: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return (b, t, width) of x (b, t, width) that looks at source (b, s, width), where mask (b, s) is true."""
        parts = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (self.q(x), self.k(source), self.v(source))
        )
        seen = nn.functional.scaled_dot_product_attention(*parts, attn_mask=mask[:, None, None, :])
        return self.norm(x + self.o(seen.transpose(1, 2).flatten(2)))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """Two layers, then the residual and its normalization."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width, eps=1e-9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x + self.second(self.first(x).relu()))  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    """The simple recurrent unit: c = f c' + (1 - f) W x, f = sigmoid(V x + b), then the residual of relu(c)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input, self.forget = nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (b, t, width) of x (b, t, width)."""
        kept, new = torch.sigmoid(self.forget(x)), self.input(x)
        cell, cells = torch.zeros_like(x[:, 0]), []
        for place in range(x.shape[1]):
            cell = kept[:, place] * cell + (1 - kept[:, place]) * new[:, place]
            cells.append(cell)
        return self.norm(x + torch.stack(cells, 1).relu())  # type: ignore[no-any-return]


class Marian(nn.Module):
    """The translator: source and target tokens to logits of the next target token."""

    def __init__(self, tokens: int, width: int, inner: int, encoder: int, decoder: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.bias = nn.Parameter(torch.zeros(tokens))
        self.encoder = nn.ModuleList(
            nn.ModuleDict({"self": Attention(width), "ffn": FeedForward(width, inner)}) for _ in range(encoder)
        )
        self.decoder = nn.ModuleList(
            nn.ModuleDict({"rnn": Recurrent(width), "context": Attention(width), "ffn": FeedForward(width, inner)})
            for _ in range(decoder)
        )

    def forward(self, source: torch.Tensor, mask: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return logits (b, t, tokens): at each place of the token there, from those before it.

        Args:
            source: Tokens (b, s), int64, ending with END.
            mask: Which of them there are, bool (b, s).
            target: Tokens (b, t), int64.
        """
        return self.decode(self.encode(source, mask), mask, target)

    def encode(self, source: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the encoded source, (b, s, width)."""
        x = self._placed(self.embedding(source))
        for layer in self.encoder:
            x = layer["ffn"](layer["self"](x, x, mask))  # type: ignore[index]
        return x

    def decode(self, encoded: torch.Tensor, mask: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return logits (b, t, tokens) for target tokens (b, t), of which the last is not looked at."""
        return self.logits(self.states(encoded, mask, target))

    def logits(self, states: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        """Return logits (…, tokens) of states (…, width), for all tokens or some, int64 (n,)."""
        weight, bias = self.embedding.weight, self.bias
        return nn.functional.linear(states, *((weight, bias) if tokens is None else (weight[tokens], bias[tokens])))

    def states(self, encoded: torch.Tensor, mask: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the decoder's states (b, t, width), of which those at a place know the target tokens before it."""
        before = self.embedding(target[:, :-1])
        x = self._placed(torch.cat([torch.zeros_like(encoded[:, :1]), before], 1))
        for layer in self.decoder:
            x = layer["ffn"](layer["context"](layer["rnn"](x), encoded, mask))  # type: ignore[index]
        return x

    def _placed(self, embedded: torch.Tensor) -> torch.Tensor:
        """Return embeddings (b, t, width), scaled, with sines and then cosines of their places."""
        length, width = embedded.shape[1:]
        rates = torch.exp(torch.arange(width // 2) * -(math.log(10_000) / (width // 2 - 1)))
        angles = torch.arange(length)[:, None] * rates
        return embedded * math.sqrt(width) + torch.cat([angles.sin(), angles.cos()], 1).to(embedded.dtype)


def load_marian(file: Path) -> Marian:
    """Return the translator of a Marian binary file."""
    found = read_marian(file)
    tokens, width = found["Wemb"].shape
    layers = {
        kind: len({n.split("_")[1] for n in found if n.startswith(kind + "_l")}) for kind in ("encoder", "decoder")
    }
    model = Marian(tokens, width, found["encoder_l1_ffn_b1"].shape[1], layers["encoder"], layers["decoder"])
    state = {"embedding.weight": found["Wemb"], "bias": found["decoder_ff_logit_out_b"][0]}
    for kind, count in layers.items():
        for place in range(count):
            state |= _layer(found, f"{kind}_l{place + 1}_", f"{kind}.{place}.")
    model.load_state_dict(state)
    return model


def _layer(found: Mapping[str, torch.Tensor], theirs: str, ours: str) -> dict[str, torch.Tensor]:
    """Return a layer's tensors by this module's names."""
    state = {}
    for block in ("self", "context"):
        for part in "qkvo" if f"{theirs}{block}_Wq" in found else "":
            state[f"{ours}{block}.{part}.weight"] = found[f"{theirs}{block}_W{part}"].T
            state[f"{ours}{block}.{part}.bias"] = found[f"{theirs}{block}_b{part}"][0]
    for number, part in enumerate(("first", "second"), 1):
        state[f"{ours}ffn.{part}.weight"] = found[f"{theirs}ffn_W{number}"].T
        state[f"{ours}ffn.{part}.bias"] = found[f"{theirs}ffn_b{number}"][0]
    if f"{theirs}rnn_W" in found:
        state[f"{ours}rnn.input.weight"] = found[f"{theirs}rnn_W"].T
        state[f"{ours}rnn.forget.weight"] = found[f"{theirs}rnn_Wf"].T
        state[f"{ours}rnn.forget.bias"] = found[f"{theirs}rnn_bf"][0]
    norms = {"self": "self_Wo_ln", "context": "context_Wo_ln", "ffn": "ffn_ffn_ln", "rnn": "rnn_ffn_ln"}
    for block, name in norms.items():
        if f"{theirs}{name}_scale" in found:
            state[f"{ours}{block}.norm.weight"] = found[f"{theirs}{name}_scale"][0]
            state[f"{ours}{block}.norm.bias"] = found[f"{theirs}{name}_bias"][0]
    return state


@torch.no_grad()
def translate(model: Marian, source: torch.Tensor, mask: torch.Tensor, longest: int = 64) -> list[list[int]]:
    """Return greedy translations: lists of target tokens without END; arguments as of `Marian.forward`."""
    model.eval()
    encoded = model.encode(source, mask)
    target = torch.zeros((len(source), 1), dtype=torch.int64)
    for _ in range(longest):
        target[:, -1] = model.logits(model.states(encoded, mask, target)[:, -1]).argmax(-1)
        if bool((target == END).any(1).all()):
            break
        target = torch.cat([target, torch.zeros_like(target[:, :1])], 1)
    return [row[: row.index(END)] if END in row else row for row in target.tolist()]
