"""A disk cache of encoded prompts: a text encoder of ten gigabytes encodes each prompt once.

A file's name is the SHA-256 of the text encoder's key and the prompt; its metadata has the SHA-256 of its tensors, so a
torn or damaged file counts as missing. Files are written under a temporary name and renamed.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from engine.family_interface import Conditioning, ModelFamily
from engine.files.atomic import partial_file

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


def encode_prompts(family: ModelFamily, prompts: Sequence[str], *, negative: bool) -> Conditioning:
    """Encode prompts, or negative prompts."""
    return family.encode_negative(prompts) if negative else family.encode(prompts)


class PromptCache:
    """Caches the outputs of `family.encode` for single prompts in `folder`, which the first write creates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def encode(self, family: ModelFamily, prompts: Sequence[str], *, negative: bool = False) -> Conditioning:
        """Return one row per prompt, or negative prompt; only those that are not cached are encoded.

        Prompts are encoded one at a time: rounding in a batch depends on its size, and a cached row must not.
        """
        cached = {prompt: self.read(family, prompt, negative=negative) for prompt in prompts}
        new = [prompt for prompt, row in cached.items() if row is None]
        with family.text_encoders_on_device() if new else nullcontext():
            for prompt in new:
                encoded = cached[prompt] = encode_prompts(family, [prompt], negative=negative)
                self.write(family, prompt, encoded, negative=negative)
        rows = [row for prompt in prompts if (row := cached[prompt]) is not None]
        return reduce(Conditioning.concat, rows)

    def read(self, family: ModelFamily, prompt: str, *, negative: bool = False) -> Conditioning | None:
        """Return the cached row on the network's device; None when it is missing, torn or damaged."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path(family, prompt, negative=negative), framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}
                checksum = (file.metadata() or {}).get("checksum")
        except (OSError, SafetensorError):
            return None
        if checksum != _checksum(tensors):
            path = self.path(family, prompt, negative=negative)
            log.warning("A cached prompt is damaged and is encoded again: %s", path)
            return None
        return _from_tensors({name: tensor.to(family.network.device) for name, tensor in tensors.items()})

    def write(self, family: ModelFamily, prompt: str, row: Conditioning, *, negative: bool = False) -> None:
        """Cache one row; a full or read-only disk causes only a warning in the log."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        tensors = {name: tensor.cpu().contiguous() for name, tensor in _to_tensors(row).items()}
        path = self.path(family, prompt, negative=negative)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with partial_file(path) as partial:
                save_file(tensors, partial, metadata={"checksum": _checksum(tensors)})
        except (OSError, SafetensorError) as error:
            log.warning("An encoded prompt cannot be cached in '%s': %s", self.folder, error)

    def path(self, family: ModelFamily, prompt: str, *, negative: bool = False) -> Path:
        """Return the path of a prompt's file, which need not exist."""
        key = [family.text_key, prompt, *(["negative"] if negative and family.spec.has_plain_negatives else [])]
        name = hashlib.sha256(json.dumps(key).encode()).hexdigest()
        return self.folder / f"{name}.safetensors"


def _to_tensors(row: Conditioning) -> "dict[str, Tensor]":
    """Return the tensors of one row by name; other values are not cached, the caller sets them."""
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
