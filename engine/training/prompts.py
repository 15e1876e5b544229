"""Encoded prompts, each encoded once: a run asks for the same ones again and again. They wait in main memory, since ten
thousand of them (4 MB each for Wan) would fill a device."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from engine.families.base import Conditioning, ModelFamily


class EncodedPrompts:
    """Conditioning by prompt text, for one model. `encoded` counts what had to be encoded."""

    def __init__(self, family: ModelFamily, fps: float) -> None:
        self._family = family
        self._fps = fps
        self._known: dict[str, Conditioning] = {}
        self._device: Any = None
        self.encoded = 0

    def rows(self, prompts: Sequence[str]) -> Conditioning:
        """The conditioning of the prompts, a row each, with the frame rate set."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._known]
        with self._family.reading() if new else nullcontext():
            for prompt in new:  # one at a time: a prompt's row must not depend on which others were new
                row = replace(self._family.encode([prompt]), fps=self._fps)
                self._known[prompt], self._device = row.to("cpu"), row.embeds.device
                self.encoded += 1
        rows = self._known[prompts[0]]
        for prompt in prompts[1:]:
            rows = rows.joined(self._known[prompt])
        return rows.to(self._device)
