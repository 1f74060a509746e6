"""Name what a file is that is no safetensors file, from its first bytes: a Git LFS pointer, a pickle, a web page.

Every reader of tensors fails at the header's length first, since other formats begin with text or a magic number, and
these read as an absurd length. `registry.content.tensors` asks here before it reports one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["GGUF", "INDEX_OF_SHARDS", "ONNX", "PICKLE", "SNIFFED_BYTES", "TORCH_FILE", "FileKind", "kind_of"]

SNIFFED_BYTES = 4096
"""How many of a file's first bytes are looked at."""
_IMPORT = "`cairn model import FILE -o model.safetensors` converts it"


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file.

    Attributes:
        name: What it is, with its article.
        remedy: How to get at the tensors; empty if nobody can say.
    """

    name: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.remedy}" if self.remedy else self.name


PICKLE = FileKind("a pickle, such as PyTorch wrote before 1.6", _IMPORT)
TORCH_FILE = FileKind("a PyTorch file (.pt, .bin)", _IMPORT)
ONNX = FileKind("an ONNX model", _IMPORT)
GGUF = FileKind("a GGUF file", _IMPORT)
INDEX_OF_SHARDS = FileKind(
    "an index.json of shards", "`cairn model import INDEX -o model.safetensors` joins the shards that lie beside it"
)
_PAGE = FileKind("an HTML or XML page", "the download was answered by a web page; download the file itself")
_KINDS: tuple[tuple[re.Pattern[bytes], FileKind], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), kind)
    for pattern, kind in (
        (rb"\Z", FileKind("an empty file", "download it again")),
        (rb"version https://\S+/spec/v", FileKind("a Git LFS pointer", "`git lfs pull` fetches the file itself")),
        (rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|\?xml|!--)", _PAGE),
        (rb"PK\x03\x04.{26}[^/]{1,200}/(data\.pkl|\.)", TORCH_FILE),
        (rb"PK\x03\x04.{26}[^/]{1,200}\.npy", FileKind("a NumPy .npz archive", "store its arrays as safetensors")),
        (rb"PK\x03\x04.{26}(config|metadata)\.json", FileKind("a Keras archive", "store its weights as safetensors")),
        (rb"PK[\x03\x05]", FileKind("a ZIP archive", "unpack it")),
        (rb"\x80[\x02-\x05]", PICKLE),
        (rb"GGUF", GGUF),
        (rb"ggml|lmgg|ggjt|tjgg", FileKind("a GGML file", "its tensors are quantized; import what it was made of")),
        (rb"\x89HDF\r\n", FileKind("an HDF5 file, such as Keras writes", "store its weights as safetensors")),
        (rb"\x93NUMPY", FileKind("a NumPy .npy array", "store it as safetensors under its tensor's name")),
        (rb".{4}TFL3", FileKind("a TensorFlow Lite model", "store its weights as safetensors")),
        (rb"\x08[\x01-\x20](\x12(\x00|[\x01-\x40][\x20-\x7e])|[\x1a\x22\x32\x3a\x42])",
         ONNX),
        (rb"\x1f\x8b", FileKind("a gzip file", "unpack it")),
        (rb"(\x28\xb5\x2f\xfd|\xfd7zXZ|BZh|7z\xbc\xaf)", FileKind("a compressed file", "unpack it")),
        (rb".{257}ustar", FileKind("a tar archive", "unpack it")),
        (rb'\s*\{.{,4000}"weight_map"', INDEX_OF_SHARDS),
        (rb'\s*[\[{]\s*["\]}\[{\d]', FileKind("a JSON file", "expected the weights beside it")),
        (rb"\x3a\xa2\x65roots", FileKind("a CAR", "`cairn store import CAR` reads it")),
        (rb"[\t\n\r\x20-\x7e]{8,}\Z", FileKind("a text file")),
    )
)  # fmt: skip


def kind_of(head: bytes) -> FileKind | None:
    """Return what a file is, from its first SNIFFED_BYTES, or all of it; None if it is of no known kind.

    It is for messages alone: a file is never read in another way because of it.
    """
    head = bytes(head[:SNIFFED_BYTES])
    return next((kind for pattern, kind in _KINDS if pattern.match(head)), None)
