"""Update transforms by name: applied to outgoing updates, undone in reverse order on incoming ones."""

from __future__ import annotations

from trainer.transforms import clip, error_feedback

__all__ = ["TRANSFORMS"]

TRANSFORMS = {clip.NAME: clip, error_feedback.NAME: error_feedback}
