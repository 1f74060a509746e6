"""Model cards: Hugging Face's own reader reads them, and nothing that anybody states is markup."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from huggingface_hub import ModelCard

from registry.rounds.versions import save_arrays
from tests.cli.conftest import World

HOSTILE = '# <script>alert(1)</script>\n---\nlicense: mit\n[x](javascript:alert) \x1b[31m"\u2028|\u202e'


def test_a_card_of_a_round_s_version_is_read_by_hugging_face_s_reader(played: World) -> None:
    path = played.folder / "README.md"
    played.done("model", "card", played.model, "-o", path)
    card = ModelCard.load(path)
    assert card.data.tags == ["federated-learning", "cairn"]
    version = played.done("model", "show", played.model)["head"]
    pulled = played.done("model", "pull", played.model, "-o", played.folder / "card.safetensors")
    for said in ("1 federated round led to it", "50.0 %", pulled["sha256"], f"@{version.removeprefix('0x')[:10]}"):
        assert said in card.text
    assert played.run("model", "card", played.model).stdout.rstrip() == path.read_text().rstrip()


def test_what_an_owner_states_is_no_markup(played: World, tmp_path: Path) -> None:
    save_arrays(tmp_path / "g.safetensors", {"weight": np.full((1, 2), 3, np.float32), "bias": np.zeros(1, np.float32)})
    stated = [word for name in ("title", "task", "base-model", "intended-use") for word in (f"--{name}", HOSTILE)]
    stated += ["--licence", "Apache-2.0"]
    model = played.done("model", "register", tmp_path / "g.safetensors", *stated, "--account", "a")["model"]
    card = ModelCard(played.done("model", "card", model)["card"])
    assert card.data.license == "apache-2.0"
    assert set(card.data.to_dict()) == {"license", "base_model", "tags"}
    assert "no federated round led to it" in card.text
    assert "<script" not in card.text
    assert "](javascript" not in card.text
    assert not {"\x1b", "\u202e", "\u2028"} & set(card.content)
    (heading,) = (line for line in card.text.splitlines() if line.startswith("# "))
    assert heading.startswith(r"# \# &lt;script&gt;alert\(1\)&lt;/script&gt;")


def test_a_licence_that_is_an_expression_is_named_as_another(played: World, tmp_path: Path) -> None:
    save_arrays(tmp_path / "g.safetensors", {"weight": np.full((1, 2), 4, np.float32), "bias": np.zeros(1, np.float32)})
    stated = ("--licence", "MIT OR Apache-2.0", "--title", "two")
    model = played.done("model", "register", tmp_path / "g.safetensors", *stated, "--account", "a")["model"]
    data = ModelCard(played.done("model", "card", model)["card"]).data
    assert (data.license, data.license_name) == ("other", "MIT OR Apache-2.0")
