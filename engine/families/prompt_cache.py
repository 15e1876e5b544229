"""Encoded prompts, kept on disk: a text encoder of ten gigabytes reads each prompt once.

A file is named by the SHA-256 of the text encoder's key and the prompt, and carries the SHA-256 of its own tensors:
what is torn or damaged is not there. Files are written beside their place and moved there whole.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from engine.model_spec import Conditioning, ModelFamily

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


class PromptCache:
    """Keeps `family.encode` of single prompts in `folder`, which is made when the first is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def encode(self, family: ModelFamily, prompts: Sequence[str]) -> Conditioning:
        """A row a prompt; only prompts that are not known yet are encoded.

        One at a time: the sums in a batch depend on its size, and a row is kept for whoever asks next.
        """
        known = {prompt: self.read(family, prompt) for prompt in prompts}
        new = [prompt for prompt, row in known.items() if row is None]
        with family.reading() if new else nullcontext():
            for prompt in new:
                encoded = known[prompt] = family.encode([prompt])
                self.write(family, prompt, encoded)
        rows = [row for prompt in prompts if (row := known[prompt]) is not None]
        return reduce(Conditioning.joined, rows)

    def read(self, family: ModelFamily, prompt: str) -> Conditioning | None:
        """The kept row on the network's device, or None: never kept, torn or damaged."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path(family, prompt), framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}
                checksum = (file.metadata() or {}).get("checksum")
        except (OSError, SafetensorError):
            return None
        if checksum != _checksum(tensors):
            log.warning("A kept prompt is damaged and is encoded again: %s", self.path(family, prompt))
            return None
        return _from_tensors({name: tensor.to(family.network.device) for name, tensor in tensors.items()})

    def write(self, family: ModelFamily, prompt: str, row: Conditioning) -> None:
        """Keep one row; a disk that is full or read-only is told in the log and otherwise does no harm."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        tensors = {name: tensor.cpu().contiguous() for name, tensor in _to_tensors(row).items()}
        path = self.path(family, prompt)
        beside = path.with_suffix(f".{os.getpid()}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(tensors, beside, metadata={"checksum": _checksum(tensors)})
            os.replace(beside, path)
        except (OSError, SafetensorError) as error:
            log.warning("An encoded prompt cannot be kept in '%s': %s", self.folder, error)
            with suppress(OSError):
                beside.unlink()

    def path(self, family: ModelFamily, prompt: str) -> Path:
        """Where a prompt's row is, or would be."""
        name = hashlib.sha256(json.dumps([family.text_key, prompt]).encode()).hexdigest()
        return self.folder / f"{name}.safetensors"


def _to_tensors(row: Conditioning) -> "dict[str, Tensor]":
    """The tensors of one row by name; what is no tensor is the caller's to add and is not kept."""
    extras = {f"extras.{name}": value for name, value in (row.extras or {}).items() if hasattr(value, "shape")}
    return {"embeds": row.embeds, **({} if row.mask is None else {"mask": row.mask}), **extras}


def _from_tensors(tensors: "Mapping[str, Tensor]") -> Conditioning:
    extras = {name.removeprefix("extras."): value for name, value in tensors.items() if name.startswith("extras.")}
    row = Conditioning(embeds=tensors["embeds"], mask=tensors.get("mask"))
    return replace(row, extras=extras) if extras else row


def _checksum(tensors: "Mapping[str, Tensor]") -> str:
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
