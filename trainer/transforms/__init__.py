"""Update transforms by name, applied to outgoing updates in the plan's order."""

from __future__ import annotations

from trainer.transforms import clip, error_feedback

__all__ = ["TRANSFORMS"]

TRANSFORMS = {clip.NAME: clip, error_feedback.NAME: error_feedback}
