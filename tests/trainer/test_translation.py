"""`examples/translation`: Marian's binary files in plain torch, and a small federation of a tiny random translator."""

from __future__ import annotations

import importlib
import json
import os
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib")
pytest.importorskip("peft")
tokenizers = pytest.importorskip("tokenizers")

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "examples" / "translation"
LETTERS = ("</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz ")
WIDTH, INNER = 16, 24


@pytest.fixture(scope="module")
def marian() -> Iterator[Any]:
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("marian")
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def translation(marian: Any) -> Any:
    return importlib.import_module("translation")


def tensors_of(tokens: int) -> dict[str, np.ndarray[Any, Any]]:
    """A translator's tensors by Marian's names: one encoder layer and one decoder layer, random."""
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"Wemb": (tokens, WIDTH), "decoder_ff_logit_out_b": (1, tokens)}
    for layer, blocks in (("encoder_l1_", ("self",)), ("decoder_l1_", ("context",))):
        for block in blocks:
            shapes |= {f"{layer}{block}_W{part}": (WIDTH, WIDTH) for part in "qkvo"}
            shapes |= {f"{layer}{block}_b{part}": (1, WIDTH) for part in "qkvo"}
            shapes |= {f"{layer}{block}_Wo_ln_{part}": (1, WIDTH) for part in ("scale", "bias")}
        shapes |= {f"{layer}ffn_W1": (WIDTH, INNER), f"{layer}ffn_W2": (INNER, WIDTH)}
        shapes |= {f"{layer}ffn_b1": (1, INNER), f"{layer}ffn_b2": (1, WIDTH)}
        shapes |= {f"{layer}ffn_ffn_ln_{part}": (1, WIDTH) for part in ("scale", "bias")}
    shapes |= {"decoder_l1_rnn_W": (WIDTH, WIDTH), "decoder_l1_rnn_Wf": (WIDTH, WIDTH), "decoder_l1_rnn_bf": (1, WIDTH)}
    shapes |= {f"decoder_l1_rnn_ffn_ln_{part}": (1, WIDTH) for part in ("scale", "bias")}
    return {name: rng.integers(-64, 65, shape).astype(np.float32) / 128 for name, shape in shapes.items()}


def write_marian(file: Path, tensors: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write a Marian binary file: matrices as 8-bit integers times 128, all but the embeddings transposed."""
    parts = []
    for name, array in tensors.items():
        if "_W" in name.replace("_Wo_ln", "") or name == "Wemb":
            plain = array if name == "Wemb" else array.T
            data = (plain * 128).astype(np.int8).tobytes() + struct.pack("<f", 128.0)
            parts.append((name, 0x4101, array.shape, data))
        else:
            parts.append((name, 0x0404, array.shape, array.tobytes()))
    with file.open("wb") as out:
        out.write(struct.pack("<QQ", 1, len(parts)))
        for name, kind, shape, data in parts:
            out.write(struct.pack("<QQQQ", len(name) + 1, kind, len(shape), len(data)))
        for name, *_ in parts:
            out.write(name.encode() + b"\0")
        for _, _, shape, _ in parts:
            out.write(struct.pack(f"<{len(shape)}i", *shape))
        out.write(struct.pack("<Q", 3) + bytes(3))
        for *_, data in parts:
            out.write(data)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny translator")
    write_marian(folder / "model.tiny.bin", tensors_of(len(LETTERS)))
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({letter: place for place, letter in enumerate(LETTERS)}, "<unk>")
    )
    inner.normalizer = tokenizers.normalizers.Lowercase()
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    inner.save(str(folder / "tokenizer.json"))
    return folder


def test_a_file_s_tensors_are_those_that_were_written(marian: Any, base: Path, tmp_path: Path) -> None:
    found, wanted = marian.read_marian(base / "model.tiny.bin"), tensors_of(len(LETTERS))
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], torch.tensor(array)) for name, array in wanted.items())
    (tmp_path / "none.bin").write_bytes(b"\x02" + bytes(40))
    with pytest.raises(ValueError, match="expected a Marian binary file of version 1"):
        marian.read_marian(tmp_path / "none.bin")


def test_a_token_follows_from_those_before_it_and_padding_is_not_seen(marian: Any, base: Path) -> None:
    model = marian.load_marian(base / "model.tiny.bin").eval()
    source, target = torch.tensor([[4, 9, 7, 0]]), torch.tensor([[5, 6, 7, 8]])
    mask = torch.ones_like(source, dtype=torch.bool)
    with torch.no_grad():
        logits, later = model(source, mask, target), model(source, mask, torch.tensor([[5, 6, 2, 3]]))
        longer = torch.cat([source, torch.full((1, 3), 11)], 1)
        padded = model(longer, torch.arange(7)[None] < 4, target)
    assert torch.equal(logits[:, :3], later[:, :3]) and not torch.equal(logits[:, 3], later[:, 3])
    assert torch.allclose(logits, padded, atol=1e-5)
    assert marian.translate(model, source, mask, longest=1) == [[int(logits[0, 0].argmax())]]


def test_chrf_by_hand(translation: Any) -> None:
    assert translation.chrf(["cólera a"], ["cólera a"]) == 100
    assert translation.chrf(["xyz"], ["abc"]) == 0
    assert translation.chrf(["a b"], ["abc"]) == pytest.approx(100 * 35 / 55)  # p 1; r (2/3 + 1/2) / 2; F2


def test_a_small_federation_of_translators(translation: Any, base: Path, tmp_path: Path) -> None:
    codes = [f"{letter}{number:02}{leaf}" for letter in "ABHIPQ" for number in range(10) for leaf in (1, 2)]
    entries = [
        f'msgctxt "model:gnuhealth.pathology,name:{code}"\nmsgid "fever {code}"\nmsgstr "fiebre {code}"\n'
        for code in codes
    ]
    (tmp_path / "es.po").write_text("\n".join(entries))
    given = ["--small", "--out", str(tmp_path / "out"), "--base", str(base), "--titles", str(tmp_path / "es.po")]
    translation.main(given)
    found = {file.stem: json.loads(file.read_text()) for file in (tmp_path / "out").glob("*.json")}
    told = found.pop("summary")
    assert {one["method"] for one in found.values()} == set(translation.METHODS) == set(told) - {"start"}
    rounds = [found[f"test-{name}-0.002-0"] for name in ("federated", "federated-equal-weights")]
    assert all(one["verified"] and set(one["scores"]) == {"0", "1"} for one in rounds)
    assert all(0 <= one["test"]["end"] <= 100 and one["tested"] == 4 for one in found.values())
    assert (tmp_path / "out" / "figures.svg").stat().st_size > 10_000
    titles = translation.divided(translation.read_titles(tmp_path / "es.po"))
    assert [len(part) for part in (titles.validation, titles.test)] == [12, 24]
    assert sum(map(len, titles.training.values())) == 84
    trained = {english for own in titles.training.values() for english, _ in own}
    assert not {english for english, _ in (*titles.validation, *titles.test)} & trained


@pytest.mark.skipif(not os.environ.get("CAIRN_SOAK"), reason="`make soak` installs weights and titles")
def test_a_round_on_the_weights_and_titles_of_the_packages(translation: Any, tmp_path: Path) -> None:
    translation.main(["--small", "--out", str(tmp_path)])
    found = {one["method"]: one for one in (json.loads(file.read_text()) for file in tmp_path.glob("test-*.json"))}
    assert set(found) == set(translation.METHODS) and all(one["test"]["start"] > 20 for one in found.values())
    federated = found["federated"]
    assert federated["verified"] and federated["bytes"] <= 1_600_000 and federated["values"] == 376_832
