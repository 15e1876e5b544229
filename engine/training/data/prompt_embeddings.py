"""Cache of prompt embeddings in main memory: 10,000 of them (4 MB each for Wan) would fill a device."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from engine.errors import ConfigError
from engine.model_spec import Conditioning, ModelFamily
from engine.request import PROMPT_LIMIT


def check_prompts(rows: Iterable[Any]) -> None:
    """Raise ConfigError for a prompt longer than a request allows: its clips could not be remade.

    A row is a text or a mapping with `prompt`; the trainer checks others.
    """
    for number, row in enumerate(rows, start=1):
        prompt = row.get("prompt") if isinstance(row, Mapping) else row
        if isinstance(prompt, str) and len(prompt) > PROMPT_LIMIT:
            raise ConfigError(
                f"Row {number} of the data has a prompt of {len(prompt):,} characters, but a prompt has at most "
                f"{PROMPT_LIMIT:,}: shorten it."
            )


class PromptEmbeddings:
    """Conditioning by prompt text, for one model. `encoded` counts the encoded prompts.

    `guidance` is the input of networks with embedded guidance; others ignore it.
    """

    def __init__(self, family: ModelFamily, fps: float, guidance: float = 1.0) -> None:
        self._family = family
        self._fps = fps
        self.guidance = guidance
        self._known: dict[str, Conditioning] = {}
        self._device: Any = None
        self.encoded = 0

    def rows(self, prompts: Sequence[str]) -> Conditioning:
        """Return the conditioning of the prompts, one row each, with frame rate and guidance."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._known]
        with self._family.text_encoders_on_device() if new else nullcontext():
            for prompt in new:  # one at a time: a prompt's row must not depend on which others were new
                row = replace(self._family.encode([prompt]), fps=self._fps)
                self._known[prompt], self._device = row.to("cpu"), row.embeds.device
                self.encoded += 1
        rows = self._known[prompts[0]]
        for prompt in prompts[1:]:
            rows = rows.concat(self._known[prompt])
        return replace(rows.to(self._device), guidance=self.guidance)
