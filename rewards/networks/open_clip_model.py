"""CLIP by open_clip: unit vectors of pictures and sentences, for `clip_vid` and LAION's `aesthetic`.

back ends (`[backends] clip` of a mix)

    ViT-B-32   laion2b_s34b_b79k; weights `clip_b32`, MIT (Cherti et al. 2022, arXiv:2212.07143)
    ViT-L-14   OpenAI's; weights `clip_l14`, MIT (Radford et al. 2021, arXiv:2103.00020)
    mini       made for the embedded world by `python -m tools.mini.train_clip`; weights `mini_clip`, Apache-2.0

These networks see squares. ViT-B-32 and ViT-L-14 see the whole frame: of one that is not square they encode squares
that cover it, two for 16:9, and the vector is their mean, scaled to length 1. `mini`, whose clips are square, sees the
middle square.

The frames of a clip are encoded once, and those of a group of clips in one batch. Every 8th frame is encoded; in a clip
of fewer than 57, every 4th, every 2nd or each, so that there are at least 8 if the clip has as many.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rewards.errors import RewardError
from rewards.features import ClipFeatures
from rewards.networks.cache import device, open_network
from rewards.networks.writing_systems import latin_share
from rewards.weights.catalog import resolve

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT = "ViT-B-32"
STRIDES, LEAST_FRAMES = (8, 4, 2, 1), 8
BATCH = 64
REMEMBERED_TEXTS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipChoice:
    """A network: `weights` in the catalog, `architecture` for weights without a configuration.

    `distractors` is the set of `rewards.metrics.clip_vid_distractors` that suits its training data. `whole`: it sees
    the whole frame instead of the middle square.
    """

    weights: str
    architecture: str = ""
    distractors: str = "real"
    whole: bool = True


CHOICES = {
    "ViT-B-32": ClipChoice(weights="clip_b32", architecture="ViT-B-32"),
    "ViT-L-14": ClipChoice(weights="clip_l14", architecture="ViT-L-14-quickgelu"),
    "mini": ClipChoice(weights="mini_clip", distractors="mini", whole=False),
}


class OpenClip:
    """A loaded network in evaluation mode; vectors are `float32` and of length 1."""

    def __init__(self, path: Path, architecture: str = "", *, whole: bool = False) -> None:
        """Load a file with weights of `architecture`, or a folder.

        A folder has `open_clip_config.json`, weights and a vocabulary. Raises RewardError when it is neither.
        """
        import open_clip

        name = f"local-dir:{path}" if path.is_dir() else architecture
        model, self._prepare = _create(name, path)
        self._model = model.eval().requires_grad_(False).to(device())
        self._tokenize = open_clip.get_tokenizer(name)
        self._whole = whole
        self._texts: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()  # clips of a group are scored in threads
        self.scale = float(self._model.logit_scale.exp())

    def encode_frames(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """Encode frames `uint8[H,W,3]` of any size as `float32[N,D]`."""
        import torch
        from PIL import Image

        places = [self._squares(*frame.shape[:2]) for frame in frames]
        crops = [frame[place] for frame, mine in zip(frames, places, strict=True) for place in mine]
        encoded = []
        with torch.inference_mode():
            for start in range(0, len(crops), BATCH):
                pictures = [self._prepare(Image.fromarray(crop)) for crop in crops[start : start + BATCH]]
                batch = torch.stack(pictures).to(device())
                encoded.append(self._model.encode_image(batch, normalize=True).float().cpu().numpy())
        vectors = np.concatenate(encoded)
        if len(crops) == len(frames):
            return vectors
        starts = np.cumsum([0, *(len(mine) for mine in places[:-1])])
        sums = np.add.reduceat(vectors, starts, axis=0)
        return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True), np.float32)

    def encode_pixels(self, frames: "Tensor") -> "Tensor":
        """Encode frames `float[N,3,H,W]` in 0..1 as `float32[N,D]`, with gradients to the frames."""
        import torch

        places = self._squares(*frames.shape[-2:])
        vectors = torch.stack([self._encode_middle(frames[(..., *place)]) for place in places])
        return torch.nn.functional.normalize(vectors.sum(0), dim=-1) if len(places) > 1 else vectors[0]

    def _squares(self, height: int, width: int) -> list[tuple[slice, slice]]:
        """Return the rows and columns of the squares that cover a frame."""
        side = min(height, width)
        if not self._whole or height == width:
            return [(slice(None), slice(None))]
        count = -(-max(height, width) // side)
        starts = np.rint(np.linspace(0, max(height, width) - side, count)).astype(int).tolist()
        along, across = [slice(start, start + side) for start in starts], slice(0, side)
        return [(part, across) if height > width else (across, part) for part in along]

    def _encode_middle(self, frames: "Tensor") -> "Tensor":
        """Encode the middle square of frames, as `_prepare` does."""
        import torch

        visual = self._model.visual
        side = visual.image_size[0] if isinstance(visual.image_size, tuple) else visual.image_size
        height, width = frames.shape[-2:]
        short = min(height, width)
        size = [round(height * side / short), round(width * side / short)]
        resized = frames.float()
        if short != side:
            resized = torch.nn.functional.interpolate(resized, size, mode="bicubic", antialias=True).clamp(0, 1)
        top, left = (size[0] - side) // 2, (size[1] - side) // 2
        square = resized[..., top : top + side, left : left + side].to(device())
        mean, std = (square.new_tensor(values)[:, None, None] for values in (visual.image_mean, visual.image_std))
        vectors: Tensor = self._model.encode_image((square - mean) / std, normalize=True).float()
        return vectors

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Encode texts as `float32[M,D]`; a text too long for the network is split and its vectors averaged."""
        with self._lock:
            self._learn(texts)
            return np.stack([self._texts[text] for text in texts])

    def known_share(self, text: str) -> float:
        """Return the share of a text that the network can read, 0..1.

        It is the share of words for a vocabulary of whole words. A vocabulary of parts of words can encode other
        scripts, but the network did not learn them: for it, it is the share of Latin letters.
        """
        words = getattr(self._tokenize, "tokenizer", None)
        unknown = getattr(words, "unk_token_id", None)
        if words is None or unknown is None:
            return latin_share(text)
        ids = words(text, add_special_tokens=False, verbose=False).input_ids
        return sum(i != unknown for i in ids) / max(1, len(ids))

    def _learn(self, texts: Sequence[str]) -> None:
        if len(self._texts) > REMEMBERED_TEXTS:
            self._texts.clear()
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        parts = [self._parts(text) for text in new]
        vectors = iter(self._encode_parts([part for those in parts for part in those]) if new else ())
        for text, those in zip(new, parts, strict=True):
            total = np.sum([next(vectors) for _ in those], axis=0)
            self._texts[text] = total / max(float(np.linalg.norm(total)), 1e-9)

    def _encode_parts(self, parts: Sequence[str]) -> np.ndarray:
        import torch

        with torch.inference_mode():
            batches = [
                self._model.encode_text(self._tokenize(list(parts[start : start + BATCH])).to(device()), normalize=True)
                for start in range(0, len(parts), BATCH)
            ]
        return np.concatenate([batch.float().cpu().numpy() for batch in batches])

    def _parts(self, text: str) -> list[str]:
        """Split the text in halves until each part fits; between words, or within a word that is too long."""
        if len(text) < 2 or self._fits(text):
            return [text]
        words = text.split()
        pieces, joint = (words, " ") if len(words) > 1 else (list(text), "")
        middle = len(pieces) // 2
        return [*self._parts(joint.join(pieces[:middle])), *self._parts(joint.join(pieces[middle:]))]

    def _fits(self, text: str) -> bool:
        """Return True when no token is cut off: one more place does not change the tokens."""
        length = self._model.context_length
        short, long = (self._tokenize([text], context_length=length + more)[0] for more in (0, 1))
        return bool((short == long[:-1]).all())


def _create(name: str, path: Path) -> tuple[Any, Any]:
    """Create the network and its picture preprocessing."""
    import pickle

    import open_clip
    from safetensors import SafetensorError

    try:
        file = None if path.is_dir() else str(path)
        model, _, prepare = open_clip.create_model_and_transforms(name, file, require_pretrained=True)
    except (
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        AssertionError,
        SafetensorError,
        pickle.UnpicklingError,
    ) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip().rstrip(".")
        raise RewardError(f"{path.name} cannot be read as the weights of an open_clip model: {reason}.") from error
    return model, prepare


def clip_choice(name: str) -> ClipChoice:
    """Return the back end of that name. Raises RewardError for an unknown one."""
    if name not in CHOICES:
        raise RewardError(f"There is no CLIP back end {name!r}; known are {', '.join(sorted(CHOICES))}.")
    return CHOICES[name]


def open_clip_net(name: str = DEFAULT) -> OpenClip:
    """Return the network, loaded once a process.

    Raises RewardUnavailable when its weights are not on this machine.
    """
    choice = clip_choice(name)
    path = resolve(choice.weights)
    return open_network(choice.weights, lambda: OpenClip(path, choice.architecture, whole=choice.whole))


def sampled_frames(num_frames: int) -> np.ndarray:
    """Return the numbers of the frames that CLIP encodes, `int64[N]`, evenly spaced from frame 0."""
    dense = (stride for stride in STRIDES if -(-num_frames // stride) >= LEAST_FRAMES)
    return np.arange(0, num_frames, next(dense, 1))


def frame_vectors(features: ClipFeatures, name: str) -> np.ndarray:
    """Return `float32[N,D]` of the clip's `sampled_frames` by that back end; computed once a clip."""
    return features.once(_piece(name), lambda: open_clip_net(name).encode_frames(_frames(features)))


def encode_group(group: Sequence[ClipFeatures], name: str) -> None:
    """Compute the `frame_vectors` of all clips of the group in one batch."""
    waiting = [features for features in group if not features.has(_piece(name))]
    if not waiting:
        return
    network, start = open_clip_net(name), time.perf_counter()
    vectors = network.encode_frames([frame for features in waiting for frame in _frames(features)])
    spent_s = (time.perf_counter() - start) / len(vectors)
    for features, mine in zip(waiting, _shares(waiting, vectors), strict=True):
        features.put(_piece(name), mine, spent_s * len(mine))


def _shares(group: Sequence[ClipFeatures], vectors: np.ndarray) -> Iterator[np.ndarray]:
    ends = np.cumsum([len(sampled_frames(features.clip.num_frames)) for features in group])
    return iter(np.split(vectors, ends[:-1]))


def _frames(features: ClipFeatures) -> list[np.ndarray]:
    return list(features.clip.frames[sampled_frames(features.clip.num_frames)])


def _piece(name: str) -> str:
    return f"clip_frames.{name}"
