"""What is done to an update on its way out, by the name plans use; undone in reverse order on the way in."""

from __future__ import annotations

from trainer.transforms import clip

__all__ = ["TRANSFORMS"]

TRANSFORMS = {clip.NAME: clip}
