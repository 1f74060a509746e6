"""A Hugging Face model, tokenizer and `Trainer` as a task; LoRA and FFA-LoRA on bases of `save_pretrained`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from registry.content.manifest import DataSetManifest, UpdateManifest
from registry.errors import InputError
from registry.rounds.onchain import read_round
from registry.rounds.versions import add_base, load_version_manifest, read_arrays, read_header
from registry.store.manifests import get_manifest
from registry.store.memory import MemoryStore
from registry.verification.verify import verify_version
from trainer.adapters import LORA_A, adapter_settings, frozen_besides_adapter, set_public_lora_a
from trainer.common_terms import parsed_settings, with_common
from trainer.exports import ADAPTER_FILES, adapter_config, export_version
from trainer.huggingface import common_terms_of, labels_digest, tokenizer_digest, trainer_task
from trainer.modules import load_version, module_arrays, module_digest, propose_plan
from trainer.participant import Task
from trainer.simulation import Simulation, simulate_round, start

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.slow

WORDS = ("[PAD]", "[UNK]", "fever", "cough", "fracture", "of", "femur", "burn")
TEXTS = ("fever cough", "fracture of femur", "cough fever", "burn of femur") * 4
LABELS = {0: "infection", 1: "injury"}
ABOUT = DataSetManifest("ward 7", "", "private", "", len(TEXTS), None)


def make_tokenizer(words: tuple[str, ...] = WORDS) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    inner = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, "[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", pad_token="[PAD]")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny classifier and its tokenizer, as `save_pretrained` writes them."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=8,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def adapted(base: Path, **lora: Any) -> nn.Module:
    """The classifier with an adapter."""
    torch.manual_seed(1)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, id2label=LABELS)
    settings = {"r": 2, "lora_alpha": 4, "target_modules": ["query", "value"], **lora}
    return peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", **settings))


def ten_lines(base: Path, scratch: Path, **lora: Any) -> Task:
    """What a hospital writes."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    rows = [{**tokenizer(text), "labels": int("of" in text)} for text in TEXTS]
    arguments = {"learning_rate": 0.05, "per_device_train_batch_size": 4, "output_dir": str(scratch)}
    return trainer_task(adapted(base, **lora), tokenizer, rows, ABOUT, base=base, arguments=arguments)


def federation(tmp_path: Path, base: Path, *, ffa: bool) -> Simulation:
    tasks = {name: ten_lines(base, tmp_path / "out") for name in ("north", "south")}
    module = adapted(base)
    frozen, fixed = frozen_besides_adapter(module), (LORA_A,) if ffa else ()
    if ffa:
        set_public_lora_a(module, 7)
    plan = propose_plan(module, quorum=1, min_contributions=2, grid_bits=22, without=(*frozen, *fixed))
    plan = with_common(plan, tasks["north"].common)
    store = MemoryStore()
    stands_on = add_base(store, base, licence="Apache-2.0", origin="a test")
    options: dict[str, Any] = {"aggregators": 1, "without": frozen, "fixed": fixed, "base": stands_on}
    return start(module, tasks, plan, store, tmp_path, **options)


def head_of(sim: Simulation) -> Any:
    return load_version_manifest(sim.store, sim.owner.model(sim.model_id).head)


def updates_of(sim: Simulation, number: int) -> list[UpdateManifest]:
    record = read_round(sim.owner, sim.model_id, number)
    return [get_manifest(sim.store, one.digest, UpdateManifest) for one in record.commitments]


def pulled(sim: Simulation, folder: Path) -> Path:
    """PEFT's folder of the head."""
    folder.mkdir()
    _, task = sim.participants["north"]
    export_version(sim.store, head_of(sim), "peft", folder / ADAPTER_FILES[0])
    (folder / ADAPTER_FILES[1]).write_text(adapter_config(task.common["adapter"]))
    return folder


def logits_of(model: nn.Module, base: Path) -> torch.Tensor:
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    model.eval()
    with torch.no_grad():
        found: torch.Tensor = model(**tokenizer(list(TEXTS[:4]), padding=True, return_tensors="pt")).logits
    return found


def same_as_peft(sim: Simulation, base: Path, folder: Path) -> bool:
    """Whether what PEFT loads computes what the module computes with the version's tensors."""
    ours = adapted(base)
    load_version(ours, sim.store, head_of(sim), without=frozen_besides_adapter(ours))
    bare = transformers.AutoModelForSequenceClassification.from_pretrained(base, id2label=LABELS)
    theirs = peft.PeftModel.from_pretrained(bare, pulled(sim, folder))
    return torch.equal(logits_of(ours, base), logits_of(theirs, base))


# Rounds ---------------------------------------------------------------------------------------------------------------


def test_rounds_of_lora_learn_and_give_what_peft_loads(tmp_path: Path, encoder: Path) -> None:
    sim = federation(tmp_path, encoder, ffa=False)
    for _ in range(2):
        simulate_round(sim)
    head = head_of(sim)
    names = {
        spec.name.split(".default")[0].rpartition(".")[2] for spec in read_header(sim.store, head.weights.blob).specs
    }
    assert names == {"lora_A", "lora_B", "modules_to_save"}
    assert same_as_peft(sim, encoder, tmp_path / "adapter")
    first, second = ([one.metrics["loss"] for one in updates_of(sim, number)] for number in (1, 2))
    assert all(later < earlier for earlier, later in zip(first, second, strict=True))
    found = list(verify_version(sim.owner, sim.store, sim.model_id, sim.owner.model(sim.model_id).head, tmp_path / "v"))
    assert len(found) == 3 and all(one.passed for one in found)


def test_a_process_begun_anew_trains_as_one_that_went_on(tmp_path: Path, encoder: Path) -> None:
    """The order of rows and what dropout leaves out follow from the round, not from how long a process has run."""
    task, anew = (ten_lines(encoder, tmp_path / "out", lora_dropout=0.5) for _ in range(2))
    task.train_epoch(task.module, 0)
    anew.module.load_state_dict(task.module.state_dict())
    begun = module_digest(anew.module)
    for one in (task, anew):
        one.train_epoch(one.module, 0)
    assert module_digest(task.module) == module_digest(anew.module) != begun


def test_rounds_of_ffa_lora_carry_b_alone_and_average_the_product_exactly(tmp_path: Path, encoder: Path) -> None:
    sim = federation(tmp_path, encoder, ffa=True)
    before = read_arrays(sim.store, head_of(sim))
    simulate_round(sim)
    head = head_of(sim)
    specs = read_header(sim.store, head.weights.blob).by_name()
    halves = {name for name, spec in specs.items() if spec.dtype == "F16"}
    assert halves == set(head.frozen) == {name for name in specs if ".lora_A." in name} and len(halves) == 4
    after = read_arrays(sim.store, head)
    assert all((after[name] == before[name]).all() for name in halves)
    changed = {name for name in specs if (after[name] != before[name]).any()}
    assert changed == set(specs) - halves
    updates = [sim.folder / name for name in sim.participants]
    carried = [load_file(next(folder.glob("round-*/update.safetensors"))) for folder in updates]
    assert all(set(one) == set(specs) - halves for one in carried)
    for name in (name for name in carried[0] if ".lora_B." in name):
        a = torch.tensor(after[name.replace("lora_B", "lora_A")]).double()
        of_means, means = (
            (carried[0][name].double() + carried[1][name].double()) / 2 @ a,
            [one[name].double() @ a for one in carried],
        )
        assert torch.equal(of_means, (means[0] + means[1]) / 2)
    assert same_as_peft(sim, encoder, tmp_path / "adapter")


def test_training_that_changes_what_a_version_fixes_is_refused(hand_made: Callable[..., Any], encoder: Path) -> None:
    module = adapted(encoder)
    set_public_lora_a(module, 7)
    frozen = frozen_besides_adapter(module)

    def by_hand(trained: nn.Module, epoch: int) -> Mapping[str, float]:
        with torch.no_grad():
            for name, value in trained.named_parameters():
                value.add_(0.25 * (".lora_A." in name))
        return {}

    plan = propose_plan(module, quorum=1, min_contributions=1, without=(*frozen, LORA_A))
    round = hand_made(module, plan, frozen, base=encoder, fixed=(LORA_A,))
    with pytest.raises(InputError, match="frozen: expected unchanged tensors"):
        round.prepare(Task(adapted(encoder), by_hand, 10, ABOUT, frozen=frozen, base=encoder))


# What participants have in common -------------------------------------------------------------------------------------


def another_tokenizer(base: Path) -> Task:
    task = ten_lines(base, base)
    other = make_tokenizer((*WORDS[:2], *reversed(WORDS[2:])))
    return replace(task, common=common_terms_of(task.module, other))


def other_labels(base: Path) -> Task:
    task = ten_lines(base, base)
    task.module.config.id2label = {0: "injury", 1: "infection"}
    return replace(task, common=common_terms_of(task.module, transformers.AutoTokenizer.from_pretrained(base)))


def longer_texts(base: Path) -> Task:
    task = ten_lines(base, base)
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    return replace(task, common=common_terms_of(task.module, tokenizer, {"longest": 64}))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (another_tokenizer, "tokenizer: expected sha2-256 of the tokenizer that the plan names, "),
        (other_labels, "labels: expected sha2-256 of the label map that the plan names, "),
        (longer_texts, "task: expected sha2-256 of the task's settings that the plan names, "),
        (lambda base: ten_lines(base, base, lora_alpha=6), "adapter: expected .*, lora_alpha 4, got lora_alpha 6"),
        (lambda base: ten_lines(base, base, r=8), "adapter: expected .*, r 2, got r by default"),
    ],
    ids=["tokenizer", "labels", "task", "adapter", "a default"],
)
def test_who_has_something_else_does_not_train(
    hand_made: Callable[..., Any], encoder: Path, make: Callable[[Path], Task], said: str
) -> None:
    owner = ten_lines(encoder, encoder)
    plan = propose_plan(owner.module, quorum=1, min_contributions=1, grid_bits=22, without=owner.frozen)
    round = hand_made(owner.module, with_common(plan, owner.common), owner.frozen, base=encoder)
    with pytest.raises(InputError, match=said):
        round.prepare(make(encoder))


def test_a_tokenizer_s_digest_follows_what_it_does_and_not_how_it_was_used(encoder: Path) -> None:
    one, other = make_tokenizer(), transformers.AutoTokenizer.from_pretrained(encoder)
    digest = tokenizer_digest(one)
    one(list(TEXTS), padding=True, truncation=True, max_length=4)
    assert digest == tokenizer_digest(one) == tokenizer_digest(other)
    other.add_tokens(["sepsis"])
    sides = make_tokenizer()
    sides.truncation_side = "left"
    assert (
        len({digest, tokenizer_digest(other), tokenizer_digest(sides), tokenizer_digest(make_tokenizer(WORDS[:7]))})
        == 4
    )


def test_labels_without_names_are_none_and_their_order_counts(encoder: Path) -> None:
    bare = transformers.AutoModelForSequenceClassification.from_pretrained(encoder)
    assert "labels" not in common_terms_of(bare, None) and "adapter" not in common_terms_of(bare, None)
    assert labels_digest(LABELS) == labels_digest({1: "injury", 0: "infection"}) != labels_digest({0: "injury"})


def test_settings_name_what_the_adapter_computes_and_no_place(encoder: Path) -> None:
    settings = parsed_settings(adapter_settings(adapted(encoder)))
    assert settings == {
        "lora_alpha": 4, "modules_to_save": ["classifier", "score"], "peft_type": "LORA", "r": 2,
        "target_modules": ["query", "value"], "task_type": "SEQ_CLS",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["{}", '{"peft_type":7}', "[]"])
def test_settings_that_peft_could_not_load_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="adapter: expected"):
        adapter_config(text)


# The public seed ------------------------------------------------------------------------------------------------------


def test_a_public_seed_gives_the_same_bits_and_float16_holds_them(encoder: Path) -> None:
    one, other, elsewhere = adapted(encoder), adapted(encoder), adapted(encoder)
    for model, seed in ((one, 7), (other, 7), (elsewhere, 8)):
        set_public_lora_a(model, seed)
    drawn = {name: value for name, value in one.named_parameters() if ".lora_A." in name}
    again, others = dict(other.named_parameters()), dict(elsewhere.named_parameters())
    assert all(
        torch.equal(value, again[name]) and not torch.equal(value, others[name]) for name, value in drawn.items()
    )
    first = drawn["base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.default.weight"]
    assert first.shape == (2, 16) and (first[0, :4] * 4096).tolist() == FIRST  # [r, in]; bound 2^-2
    values = torch.cat([value.flatten() for value in drawn.values()])
    assert values.abs().max() < 0.25 and values.unique().numel() > 100
    module_arrays(one, frozen_besides_adapter(one), (LORA_A,))


FIRST = [147, 283, 283, 707]
"""First values of seed 7, in units of 2^-12: of SHAKE-256 by hand."""


def test_values_that_float16_does_not_hold_are_not_fixed(encoder: Path) -> None:
    model = adapted(encoder)
    with pytest.raises(InputError, match=r"lora_A.* fixed, so expected values that float16 holds exactly"):
        module_arrays(model, frozen_besides_adapter(model), (LORA_A,))
    with pytest.raises(InputError, match=r"expected to be shared and stored under this name"):
        module_arrays(model, ("*",), (LORA_A,))


def test_models_without_an_adapter_are_refused(encoder: Path) -> None:
    bare = transformers.AutoModelForSequenceClassification.from_pretrained(encoder)
    with pytest.raises(InputError, match="expected a model with LoRA layers"):
        set_public_lora_a(bare, 7)
    with pytest.raises(InputError, match="expected a model with an adapter named default"):
        adapter_settings(bare)
    with pytest.raises(InputError, match=r"seed: expected 0..2\^64 - 1, got -1"):
        set_public_lora_a(adapted(encoder), -1)
    with pytest.raises(InputError, match="expected a model of which PEFT trains something"):
        frozen_besides_adapter(bare.requires_grad_(False))
    with pytest.raises(InputError, match="base: expected the file or folder of the weights"):
        trainer_task(adapted(encoder), None, [], ABOUT)
    with pytest.raises(InputError, match=r"arguments: expected none of .*, which the round decides, got seed"):
        trainer_task(bare, None, [], ABOUT, arguments={"seed": 3})


# Bases ----------------------------------------------------------------------------------------------------------------

DECODER: Mapping[str, Any] = {
    "vocab_size": 16, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip


def causal(folder: Path, *, tied: bool = False, dtype: torch.dtype = torch.float32, **saved: Any) -> Path:
    torch.manual_seed(2)
    config = transformers.LlamaConfig(**DECODER, tie_word_embeddings=tied)
    transformers.LlamaForCausalLM(config).to(dtype).save_pretrained(folder, **saved)
    return folder


BASES: Mapping[str, Mapping[str, Any]] = {
    "tied": {"tied": True},
    "sharded": {"max_shard_size": "4KB"},
    "bf16": {"dtype": torch.bfloat16},
}


@pytest.mark.parametrize("kind", BASES)
def test_a_base_of_save_pretrained_works_as_it_is(hand_made: Callable[..., Any], tmp_path: Path, kind: str) -> None:
    base = causal(tmp_path / "base", **BASES[kind])
    assert len(list(base.glob("*.safetensors"))) == (1 if kind != "sharded" else len(list(base.glob("*-of-*"))))

    def generator() -> nn.Module:
        torch.manual_seed(3)
        model = transformers.AutoModelForCausalLM.from_pretrained(base)
        return peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"]))

    rows = [{"input_ids": row, "labels": row} for row in (torch.arange(8) * step % 16 for step in range(1, 9))]
    arguments = {"learning_rate": 0.05, "output_dir": str(tmp_path / "out")}
    task = trainer_task(generator(), None, rows, ABOUT, base=base, arguments=arguments)
    plan = with_common(propose_plan(task.module, quorum=1, min_contributions=1, without=task.frozen), task.common)
    round = hand_made(generator(), plan, task.frozen, base=base)
    made = round.prepare(task)
    change = load_file(made.file)
    assert len(change) == 4 and all(value.abs().max() > 0 for name, value in change.items() if ".lora_B." in name)
    (tmp_path / "adapter").mkdir()
    export_version(round.store, round.genesis, "peft", tmp_path / "adapter" / ADAPTER_FILES[0])
    (tmp_path / "adapter" / ADAPTER_FILES[1]).write_text(adapter_config(task.common["adapter"]))
    theirs = peft.PeftModel.from_pretrained(
        transformers.AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter"
    )
    ours = generator().eval()
    tokens = torch.arange(8)[None]
    with torch.no_grad():
        assert torch.equal(ours(input_ids=tokens).logits, theirs.eval()(input_ids=tokens).logits)
