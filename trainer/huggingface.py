"""From a Hugging Face model, tokenizer and `Trainer` to a task, with the digests that a plan may name.

Needs `pip install 'cairn-registry[llm]'`. Nothing is fetched: models and tokenizers come from folders.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.errors import InputError
from trainer.adapters import adapter_settings, frozen_besides_adapter
from trainer.common_terms import json_digest
from trainer.modules import module_digest
from trainer.participant import Task

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from registry.content.manifest import DataSetManifest

__all__ = ["common_terms_of", "labels_digest", "tokenizer_digest", "trainer_task"]

_ARGUMENTS: Mapping[str, object] = {
    "output_dir": "trainer-out", "report_to": [], "save_strategy": "no", "logging_strategy": "no",
    "disable_tqdm": True, "use_cpu": True,
}  # fmt: skip
_OURS = ("num_train_epochs", "seed", "data_seed")
"""Arguments of the Trainer that the plan's rounds decide."""


def trainer_task(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase | None,
    rows: Sequence[Any],
    data_set: DataSetManifest,
    *,
    arguments: Mapping[str, object] | None = None,
    trainer: Mapping[str, Any] | None = None,
    base: Path | None = None,
    settings: Mapping[str, object] | None = None,
    **task: Any,
) -> Task:
    """Return the task that trains a model on local rows by Hugging Face's `Trainer`, an epoch at a time.

    A model of PEFT shares its adapter alone; its base is frozen and comes from `base`. Any other model is shared whole.

    Args:
        model: A model of transformers, or of PEFT around one.
        tokenizer: Its tokenizer, which also pads batches; None for inputs that are no text.
        rows: The training data, as `Trainer` takes it: rows of features, already tokenized.
        data_set: Description of the data.
        arguments: Of `TrainingArguments`, such as `learning_rate` or `max_steps` (a round's, instead of an epoch's).
            Epochs and seeds follow from the round. Without others nothing is logged or saved, and the CPU trains.
        trainer: Further arguments of `Trainer`, such as `data_collator`.
        base: File or folder of the base's weights, as `save_pretrained` writes it; needed with an adapter.
        settings: What else the participants' tasks must have in common, such as the longest length; JSON values.
        task: Further fields of the `Task`.

    Raises:
        InputError: An argument is one that the round decides, or an adapter has no base.
    """
    given = {**_ARGUMENTS, **(arguments or {})}
    if wrong := sorted(set(_OURS) & set(given)):
        raise InputError(f"arguments: expected none of {', '.join(_OURS)}, which the round decides, got {wrong[0]}")
    adapter = hasattr(model, "peft_config")
    if adapter and base is None:
        raise InputError("base: expected the file or folder of the weights that the adapter stands on, got none")

    def train_epoch(trained: nn.Module, epoch: int) -> dict[str, float]:
        from transformers import PrinterCallback, Trainer, TrainingArguments

        told: dict[str, Any] = {**given, "num_train_epochs": 1, "seed": _seed_of(trained, epoch)}
        options = {"processing_class": tokenizer, **(trainer or {})}
        made = Trainer(model=trained, args=TrainingArguments(**told), train_dataset=rows, **options)
        made.remove_callback(PrinterCallback)  # it writes to standard output, which is the command's
        return {"loss": float(made.train().training_loss)}

    return Task(
        model,
        train_epoch,
        len(rows),
        data_set,
        base=base,
        common=common_terms_of(model, tokenizer, settings),
        **{"frozen": frozen_besides_adapter(model) if adapter else (), **task},
    )


def _seed_of(model: nn.Module, epoch: int) -> int:
    """Return a seed that follows from what is trained and the epoch: a process begun anew has the same."""
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    told = module_digest(model, trained) + epoch.to_bytes(8, "big")
    return int.from_bytes(hashlib.sha256(told).digest()[:4], "big") >> 1


def common_terms_of(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase | None, settings: Mapping[str, object] | None = None
) -> dict[str, str]:
    """Return what participants must have in common, for a plan or a `Task`.

    The task is the model's class with the settings. The label map counts where the model's labels have names.

    Args:
        model: A model of transformers, or of PEFT around one.
        tokenizer: Its tokenizer; None where there is none.
        settings: Further settings of the task, JSON values.
    """
    inner: PreTrainedModel = model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore
    config = getattr(inner, "config", None)
    described = {"model": type(inner).__name__, "settings": dict(settings or {})}
    found = {"task": json_digest(described)}
    labels = getattr(config, "id2label", None) or {}
    if any(name != f"LABEL_{place}" for place, name in labels.items()):
        found["labels"] = labels_digest(labels)
    if tokenizer is not None:
        found["tokenizer"] = tokenizer_digest(tokenizer)
    if hasattr(model, "peft_config"):
        found["adapter"] = adapter_settings(model)  # type: ignore[arg-type]
    return found


def labels_digest(labels: Mapping[int, str]) -> str:
    """Return the digest of a label map: sha2-256 of the JSON list of [number, name], ascending."""
    return json_digest([[int(number), str(name)] for number, name in sorted(labels.items())])


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the digest of all that turns text into numbers: sha2-256 of canonical JSON.

    Of a tokenizer of `tokenizers` it covers normalization, splitting, vocabulary, merges and special tokens, of one in
    Python its class and vocabulary. The longest length and the padding of the last batch do not count.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        own = json.loads(backend.to_str())
        for passing in ("padding", "truncation"):
            own.pop(passing, None)
    else:
        own = {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
    special = {name: str(value) for name, value in tokenizer.special_tokens_map.items() if isinstance(value, str)}
    sides = [tokenizer.padding_side, tokenizer.truncation_side]
    return json_digest({"tokenizer": own, "special": special, "sides": sides})
