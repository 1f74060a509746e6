"""`examples/text_generation` at its small size: on a tiny random language model, and in the soak on the package's."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.conftest import example_module
from trainer.demo.tuned_runs import Trial

pytest.importorskip("peft")
pytest.importorskip("matplotlib")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.slow

LETTERS = ("<|endoftext|>", "<pad>", "<unk>", *"abcdefghijklmnopqrstuvwxyz ")


@pytest.fixture(scope="module")
def generation() -> Any:
    return example_module("text_generation")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model of the same kind, but small and random, and a tokenizer by letters."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    folder = tmp_path_factory.mktemp("tiny")
    inner = Tokenizer(models.WordLevel({letter: place for place, letter in enumerate(LETTERS)}, "<unk>"))
    inner.normalizer, inner.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>", eos_token="<|endoftext|>"
    ).save_pretrained(folder)
    config = transformers.LlamaConfig(
        vocab_size=len(LETTERS), hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=512, bos_token_id=0, eos_token_id=0, pad_token_id=1,
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_a_small_federation_writes(generation: Any, tiny: Path, tmp_path: Path) -> None:
    generation.main(["--small", "--out", str(tmp_path), "--base", str(tiny)])
    found = {one["method"]: one for one in (json.loads(file.read_text()) for file in tmp_path.glob("test-*.json"))}
    assert set(found) == set(generation.METHODS)
    federated = found["federated"]
    assert federated["verified"] and set(federated["scores"]) == {"0", "1"}
    assert federated["values"] == 8 * (2 * (16 + 16) + 2 * (16 + 8) + 3 * (16 + 24))  # A and B of q, o; k, v; the rest
    assert federated["scores"]["0"] == found["start"]["scores"]["0"]
    assert federated["scores"]["1"]["bits"] != federated["scores"]["0"]["bits"]
    assert all(0 < bits < 10 for one in found.values() for bits in one["test"].values())
    assert "<svg" in (tmp_path / "figures.svg").read_text()
    assert set(json.loads((tmp_path / "summary.json").read_text())) == set(generation.METHODS)


def test_a_search_looks_at_no_test_text(
    generation: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "SMALL", replace(generation.SMALL, rates=(1e-3, 1e-2)))
    monkeypatch.setattr(generation, "METHODS", ("start", "federated", "pooled"))
    generation.main(["--small", "--out", str(tmp_path), "--base", str(tiny)])
    searches = [json.loads(file.read_text()) for file in tmp_path.glob("search-*.json")]
    assert len(searches) == 2 * 2 and all(one["test"] == {} for one in searches)
    for one in (json.loads(file.read_text()) for file in tmp_path.glob("test-*.json")):
        tried = {each["rate"]: generation.own_bits(each, 1) for each in searches if each["method"] == one["method"]}
        assert one["method"] == "start" or tried[one["rate"]] == min(tried.values())


def test_bits_a_byte_by_hand(generation: Any, tiny: Path) -> None:
    model, tokenizer = generation.loaded(tiny)
    texts = ["ab", "a longer text"]
    with torch.no_grad():
        nats = 0.0
        for text in texts:
            (row,) = generation.tokens_of(tokenizer, [text])
            chances = model(input_ids=torch.tensor([row])).logits[0].log_softmax(-1)
            nats -= sum(float(chances[place, token]) for place, token in enumerate(row[1:]))
    assert generation.bits_per_byte(model, tokenizer, texts) == pytest.approx(nats / math.log(2) / (3 + 14), rel=1e-5)
    sample = generation.written(model, tokenizer, "ab", 3)
    assert sample.startswith("ab") and len(sample) <= 5 + len("<unk><pad>") * 3


def test_nobody_trains_on_what_is_held_out(generation: Any) -> None:
    texts = generation.texts_of(generation.FULL)
    training = {text for own in texts.training.values() for text in own}
    validation, test = ({text for own in part.values() for text in own} for part in (texts.validation, texts.test))
    assert not training & (validation | test) and not validation & test
    assert [len(own) for own in texts.training.values()] == [2000] * 3
    assert [len(own) for own in texts.test.values()] == [60] * 3


@pytest.mark.skipif(not os.environ.get("CAIRN_SOAK"), reason="`make soak` installs the weights")
def test_a_round_on_the_weights_of_the_package(generation: Any, tmp_path: Path) -> None:
    run = Trial("federated", 3e-3, 0, tests=True)
    found = generation.do(run, tmp_path, generation.packaged_base(), generation.SMALL)
    assert found["verified"] and found["bytes"] < 0.04 * 4 * 134_515_008
    assert all(bits < 2 for bits in found["test"].values())
