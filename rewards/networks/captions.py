"""Captions of frames by BLIP, and the similarity of two sentences by a cross-encoder.

back ends (`[backends] captions` of a mix)

    blip   blip-image-captioning-base (Li et al. 2022, arXiv:2201.12086; weights `blip`, BSD-3-Clause) and
           stsb-roberta-base (Reimers & Gurevych 2019, arXiv:1908.10084; weights `stsb`, Apache-2.0)
    mini   both made for the embedded world by `python -m tools.mini.train_captioner` and `train_similarity`; weights
           `mini_captioner` and `mini_similarity`, Apache-2.0

Both are folders that transformers loads, without access to a model hub.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rewards.errors import RewardError
from rewards.networks.cache import device, open_network
from rewards.networks.writing_systems import latin_share
from rewards.weights.catalog import resolve

DEFAULT = "blip"
BATCH, PAIRS = 16, 64
LONGEST_TOKENS = 24
REMEMBERED_PAIRS = 50_000

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionChoice:
    """The keys of the two networks in the catalog of weights."""

    captioner: str
    similarity: str


CHOICES = {
    "blip": CaptionChoice(captioner="blip", similarity="stsb"),
    "mini": CaptionChoice(captioner="mini_captioner", similarity="mini_similarity"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """The caption of a frame, and the geometric mean of its tokens' probabilities, 0..1."""

    text: str
    confidence: float


class Captioner:
    """A BLIP captioner with greedy decoding, so that a frame always has the same caption."""

    def __init__(self, folder: Path) -> None:
        from transformers import BlipForConditionalGeneration, BlipProcessor

        with _reading(folder, "a BLIP captioner"):
            self._processor = BlipProcessor.from_pretrained(folder, local_files_only=True)
            model = BlipForConditionalGeneration.from_pretrained(folder, local_files_only=True)
        self._model: Any = model.float().eval().requires_grad_(False).to(device())

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Caption]:
        """Caption each of the frames `uint8[H,W,3]`, of any size."""
        starts = range(0, len(frames), BATCH)
        return [caption for start in starts for caption in self._describe(frames[start : start + BATCH])]

    def _describe(self, frames: Sequence[np.ndarray]) -> list[Caption]:
        import torch

        pictures = self._processor(images=list(frames), return_tensors="pt").pixel_values.to(device())
        with torch.inference_mode():
            out = self._model.generate(
                pixel_values=pictures,
                max_new_tokens=LONGEST_TOKENS,
                num_beams=1,
                do_sample=False,
                return_dict_in_generate=True,
                output_logits=True,
            )
            logs = torch.stack(out.logits, dim=1).float().log_softmax(dim=-1)  # [N,L,V]
        tokens = out.sequences[:, -logs.shape[1] :]
        said = tokens != self._processor.tokenizer.pad_token_id
        chosen = logs.gather(2, tokens[..., None])[..., 0].masked_fill(~said, 0.0)
        sureness = (chosen.sum(dim=1) / said.sum(dim=1).clamp(min=1)).exp().cpu().tolist()
        texts = self._processor.batch_decode(out.sequences, skip_special_tokens=True)
        return [Caption(text=text.strip(), confidence=sure) for text, sure in zip(texts, sureness, strict=True)]


class Similarity:
    """A cross-encoder with one output; results are cached by pair."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        with _reading(folder, "a cross-encoder"):
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True)
        if model.config.num_labels != 1:
            raise RewardError(
                f"{folder.name} has {model.config.num_labels} classes, but a text similarity has one output."
            )
        self._model: Any = model.float().eval().requires_grad_(False).to(device())
        self._known: dict[Pair, float] = {}
        self._lock = threading.Lock()  # clips of a group are scored in threads

    def __call__(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Return `float64[N]` in 0..1: the similarity of each pair, the mean over both orders."""
        both = [*pairs, *((b, a) for a, b in pairs)]
        with self._lock:
            self._learn(both)
            told = np.array([self._known[pair] for pair in both]).reshape(2, -1)
        return np.asarray(told.mean(axis=0))

    def known_share(self, text: str) -> float:
        """Return the readable share of a text, 0..1: the lower of its shares of known words and Latin letters."""
        ids = self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        known = sum(i != self._tokenizer.unk_token_id for i in ids) / max(1, len(ids))
        return min(known, latin_share(text))

    def _learn(self, pairs: Sequence[Pair]) -> None:
        if len(self._known) > REMEMBERED_PAIRS:
            self._known.clear()
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._known]
        for start in range(0, len(new), PAIRS):
            some = new[start : start + PAIRS]
            self._known.update(zip(some, self._ask(some), strict=True))

    def _ask(self, pairs: Sequence[Pair]) -> list[float]:
        import torch

        firsts, seconds = [a for a, _ in pairs], [b for _, b in pairs]
        words = self._tokenizer(firsts, seconds, padding=True, truncation=True, return_tensors="pt").to(device())
        with torch.inference_mode():
            told: list[float] = self._model(**words).logits[:, 0].float().sigmoid().cpu().tolist()
        return told


def caption_choice(name: str) -> CaptionChoice:
    """Return the back end of that name. Raises RewardError for an unknown one."""
    if name not in CHOICES:
        raise RewardError(f"There is no caption back end {name!r}; known are {', '.join(sorted(CHOICES))}.")
    return CHOICES[name]


def open_captioner(name: str = DEFAULT) -> Captioner:
    """Return the captioner, loaded once a process. Raises RewardUnavailable without its weights."""
    key = caption_choice(name).captioner
    path = resolve(key)
    return open_network(key, lambda: Captioner(path))


def open_similarity(name: str = DEFAULT) -> Similarity:
    """Return the cross-encoder, loaded once a process. Raises RewardUnavailable without its weights."""
    key = caption_choice(name).similarity
    path = resolve(key)
    return open_network(key, lambda: Similarity(path))


@contextmanager
def _reading(folder: Path, what: str) -> Iterator[None]:
    """Turn the errors of transformers for a folder that is not `what` into a RewardError of one sentence.

    The progress bar of transformers is off.
    """
    import pickle

    from safetensors import SafetensorError
    from transformers.utils import logging as progress

    progress.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise RewardError(f"The folder {folder.name} cannot be read as {what}: {reason}.") from error
    finally:
        progress.enable_progress_bar()
