"""`examples/clinical_coding` at its small size: on a tiny random encoder, and in the soak on the package's weights."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.conftest import example_module

pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def coding() -> Any:
    return example_module("clinical_coding")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with the shape of MiniLM, but small and random, and a tokenizer by letters."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("tiny")
    letters = ("[PAD]", "[UNK]", *"abcdefghijklmnopqrstuvwxyz")
    inner = Tokenizer(models.WordLevel({letter: place for place, letter in enumerate(letters)}, "[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    transformers.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(
        folder
    )
    config = transformers.BertConfig(
        vocab_size=len(letters), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    return folder


CASES, HELD_OUT = [46_669, 6_969, 10_246], 10_852


def figures(coding: Any, out: Path, *methods: str, base: Path | None = None) -> dict[str, Any]:
    chosen = [part for name in methods for part in ("--method", name)]
    coding.main(["--small", "--workers", "1", "--out", str(out), *chosen, *(("--base", str(base)) if base else ())])
    return {one["method"]: one for one in (json.loads(file.read_text()) for file in out.glob("test-*.json"))}


def test_every_kind_of_run_gives_scores_and_a_picture(coding: Any, tiny: Path, tmp_path: Path) -> None:
    methods = ("lora, equal weights", "lora", "ffa", "head", "alone: trauma centre", "bag of words")
    found = figures(coding, tmp_path, *methods, base=tiny)
    assert set(found) == set(methods) == set(json.loads((tmp_path / "summary.json").read_text()))
    assert all(0 <= one["test"]["macro_f1"] <= 1 and one["tested"] == 60 for one in found.values())
    assert found["lora"]["scores"] != found["lora, equal weights"]["scores"]
    assert all(found[name]["verified"] for name in ("lora", "ffa", "head"))
    head, a, b = 22 * 33, 8 * 32 * 2, 32 * 8 * 2  # values of the head, and of query's and value's A and B
    assert [found[name]["values"] for name in ("head", "ffa", "lora")] == [head, head + b, head + a + b]
    assert "bag of words" in (tmp_path / "figures.svg").read_text()
    kept = tmp_path / "test-lora-0.003-0.json"
    stamp = kept.stat().st_mtime_ns
    figures(coding, tmp_path, "lora", base=tiny)
    assert kept.stat().st_mtime_ns == stamp  # a run that is there is not done again


def test_hospitals_differ_and_nobody_trains_on_what_is_tested(coding: Any) -> None:
    told = coding.texts()
    training, held_out = told.training, [*told.validation, *told.test]
    assert [len(cases) for cases in training.values()] == CASES and len(held_out) == HELD_OUT
    assert len(told.test) > coding.FULL.tested and len(told.validation) > coding.FULL.validated
    assert not {text for text, _ in held_out} & {text for cases in training.values() for text, _ in cases}
    assert not set(told.validation) & set(told.test)
    own = {name: {chapter - 1 for chapter in chapters} for name, chapters in coding.HOSPITALS.items()}
    shares = [sum(label in own[name] for _, label in cases) / len(cases) for name, cases in training.items()]
    assert min(shares) > 0.5


@pytest.mark.skipif(not os.environ.get("CAIRN_SOAK"), reason="`make soak` installs the weights")
def test_a_round_on_the_weights_of_the_package(coding: Any, tmp_path: Path) -> None:
    found = figures(coding, tmp_path, "lora")
    assert found["lora"]["verified"] and found["lora"]["bytes"] < 0.005 * 90_868_376
