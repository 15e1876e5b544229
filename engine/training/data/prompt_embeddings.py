"""Cache of prompt embeddings and encoded pictures in main memory.

10,000 of them (4 MB each for Wan) would fill a device. Prompts are read from the workspace's cache on disk and added to
it, so that another run, or Generate, does not load the text encoder for them.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.families.prompt_cache import PromptCache, encode_prompts
from engine.family_interface import Conditioning, ModelFamily
from engine.generation.given_pictures import LoadPicture, first_picture, picture_extras
from engine.request import GenerationRequest

MOST_WRITTEN = 1000  # prompts of a run that are added to the disk: 4 GB for Wan
TEXT_MULTIPLE = 8  # tokens: kernels of attention want masks of such a width


class PromptEmbeddings:
    """Conditioning of requests, for one model. `encoded` counts the encoded prompts.

    `guidance` is the input of networks with embedded guidance; others ignore it. `load` returns the picture
    `uint8[H,W,3]` of a name. `disk` is the cache of encoded prompts that it reads and adds to. `leaves_out_padding`
    makes `of` return no more text tokens than its longest prompt needs, where this changes nothing: there is a mask, no
    guidance, whose other prompts are as long as these, and float32, in which a row's rounding hardly depends on the
    shape of its batch.
    """

    leaves_out_padding = False

    def __init__(
        self,
        family: ModelFamily,
        fps: float,
        guidance: float = 1.0,
        load: LoadPicture | None = None,
        disk: PromptCache | None = None,
    ) -> None:
        self._family = family
        self._fps = fps
        self._load = load
        self._disk = disk
        self.guidance = guidance
        self._known: dict[str, Conditioning] = {}
        self._known_negative: dict[str, Conditioning] = {}
        self._shown: dict[tuple[Any, ...], dict[str, Tensor]] = {}
        self._device: Any = None
        self.encoded = 0

    def picture(self, name: str) -> np.ndarray:
        """Return a picture `uint8[H,W,3]` of the data. Raises StoreError when it is missing or damaged."""
        assert self._load is not None, "a trainer has a store of pictures"
        return self._load(name)

    def first_picture(self, request: GenerationRequest) -> np.ndarray | None:
        """Return the picture that a request's clip begins with, at the clip's size; None without one."""
        return first_picture(request, self._load)

    def of(self, requests: Sequence[GenerationRequest]) -> Conditioning:
        """Return the conditioning of the requests' prompts and pictures, one row each."""
        rows = self.rows([request.prompt for request in requests])
        if self.leaves_out_padding and requests[0].guidance <= 1:
            rows = without_padding(rows)
        return self._with_pictures(rows, requests)

    def negatives_of(self, requests: Sequence[GenerationRequest]) -> Conditioning | None:
        """Return the conditioning of the negative prompts, with the same pictures; None without guidance."""
        if requests[0].guidance <= 1:
            return None
        rows = self.rows([request.negative_prompt for request in requests], negative=True)
        return self._with_pictures(rows, requests)

    def rows(self, prompts: Sequence[str], *, negative: bool = False) -> Conditioning:
        """Return the conditioning of (negative) prompts alone, one row each, with frame rate and guidance."""
        known = self._known_negative if negative and self._family.spec.has_plain_negatives else self._known
        unknown = [prompt for prompt in dict.fromkeys(prompts) if prompt not in known]
        kind = {"negative": negative}
        rows_on_disk = (
            {} if self._disk is None else {one: self._disk.read(self._family, one, **kind) for one in unknown}
        )
        new = [prompt for prompt in unknown if rows_on_disk.get(prompt) is None]
        with self._family.text_encoders_on_device() if new else nullcontext():
            for prompt in unknown:  # one at a time: a prompt's row must not depend on which others were new
                row = rows_on_disk.get(prompt)
                if row is None:
                    row = encode_prompts(self._family, [prompt], **kind)
                    if self._disk is not None and self.encoded < MOST_WRITTEN:
                        self._disk.write(self._family, prompt, row, **kind)
                    self.encoded += 1
                known[prompt], self._device = replace(row, fps=self._fps).to("cpu"), row.embeds.device
        rows = known[prompts[0]].concat(*(known[prompt] for prompt in prompts[1:]))
        return replace(rows.to(self._device), guidance=self.guidance)

    def _with_pictures(self, rows: Conditioning, requests: Sequence[GenerationRequest]) -> Conditioning:
        shown = [self._pictures(request) for request in requests]
        extras = {name: torch.cat([row[name] for row in shown]).to(self._device) for name in shown[0]}
        return replace(rows, extras={**(rows.extras or {}), **extras}) if extras else rows

    def _pictures(self, request: GenerationRequest) -> dict[str, Tensor]:
        """Return the extras of a request's pictures, encoded once for each shape of clip."""
        key = (request.image, request.last_image, request.num_frames, request.width, request.height)
        if key not in self._shown:
            extras = picture_extras(self._family, [request], self._load)
            self._shown[key] = {name: tensor.cpu() for name, tensor in extras.items()}
        return self._shown[key]


def without_padding(rows: Conditioning) -> Conditioning:
    """Return float32 rows without the tokens that are padding in all of them."""
    if rows.mask is None or rows.embeds.dtype != torch.float32 or not rows.mask.any():
        return rows
    used = int(rows.mask.any(0).nonzero().max()) + 1
    kept = slice(-(-used // TEXT_MULTIPLE) * TEXT_MULTIPLE)
    return replace(rows, embeds=rows.embeds[:, kept], mask=rows.mask[:, kept])
