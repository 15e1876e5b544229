"""Train the embedded CLIP of the rewards: `python -m tools.mini.train_clip`. It can resume.

An open_clip model (ResNet at 64 px, text transformer over the words of the world) learns to match sentences and frames.
A batch is 24 scenes with four frames each. The sentences are that of each scene and three of scenes that differ by one
attribute (colour, shape, background, number of subjects, colours exchanged), so that details matter. Motion words occur
in the sentences, but have no effect on a still frame. Two auxiliary outputs, dropped after training, predict colour and
shape in each 8x8 px cell: with the contrastive loss alone, 600 steps learned every colour and background, but the shape
in only two of five clips.

Writes an open_clip folder (`open_clip_config.json`, weights in half precision, tokenizer), and `training.json` with the
seed and the measurements on held-out scenes.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from engine.mini import world
from tools.mini import stills
from tools.mini.fitting import Spent, fit
from tools.mini.text import SPECIAL, vocabulary

log = logging.getLogger(__name__)

CONTEXT = 32  # the world's longest sentence has 26 words and commas
MEAN, STD = (0.55, 0.55, 0.55), (0.28, 0.28, 0.28)
SCENES, OTHERS = 24, 3  # a batch: scenes, and for each the sentences of scenes that differ by one attribute
RATE, TOLD_WEIGHT = 2e-3, 1.0
MAX_SCALE = 100.0  # as in CLIP, arXiv:2103.00020, sec. 2.5
CHOICES = 16
WEIGHTS = "open_clip_model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipBatch:
    """N pictures `float32[N,3,64,64]` and M sentences `int64[M,32]`.

    `right` bool[N,M]: the sentence of the picture; `same` bool[N,M]: other sentences that are equally true, which the
    loss leaves out. `marks` int64[N,8,8,2]: colour and shape in each cell, 0 for none.
    """

    pictures: Tensor
    tokens: Tensor
    right: Tensor
    same: Tensor
    marks: Tensor


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Create the tokenizer: whole words, lower case, "</s>" at the end, <unk> for unknown words."""
    words = {word: i for i, word in enumerate(dict.fromkeys([*vocabulary(), "nothing"]))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", words["</s>"])])
    pad, end, unknown = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, eos_token=end, unk_token=unknown, model_max_length=CONTEXT
    )


def make_config(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Return the content of `open_clip_config.json`: the two towers and the preprocessing."""
    text = {
        "context_length": CONTEXT,
        "vocab_size": len(tokenizer),
        "hf_tokenizer_name": "tokenizer",  # relative to the configuration, as open_clip resolves "local-dir:"
        "width": 96,
        "heads": 4,
        "layers": 2,
        "pool_type": "eos",
        "eos_id": tokenizer.eos_token_id,
        "pad_id": tokenizer.pad_token_id,
    }
    vision = {"image_size": world.SIZE_PX, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64}
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    return {"model_cfg": {"embed_dim": 128, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": preprocess}


def make_model(config: dict[str, Any]) -> nn.Module:
    """Create the network of `make_config` with random weights."""
    model: nn.Module = open_clip.CLIP(**config["model_cfg"])
    return model


class ClipTask(nn.Module):
    """CLIP with the auxiliary outputs on the second layer of its ResNet, which are used only in training."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.model = make_model(config)
        width = 8 * config["model_cfg"]["vision_cfg"]["width"]  # of the second layer, whose grid is 8x8
        self.colours = nn.Conv2d(width, len(world.COLOURS) + 1, 1)
        self.shapes = nn.Conv2d(width, len(world.SHAPES), 1)

    def loss(self, batch: ClipBatch) -> Tensor:
        """Return the contrastive loss in both directions plus the loss of the cells."""
        cells: list[Tensor] = []
        model: Any = self.model
        hook = model.visual.layer2.register_forward_hook(lambda _m, _i, out: cells.append(out))
        with torch.autocast("cpu", torch.bfloat16):
            images = model.encode_image(batch.pictures)
        hook.remove()
        told = stills.reading_loss(self.colours(cells[0].float()), self.shapes(cells[0].float()), batch.marks)
        logits = scaled_cosines(model, images.float(), model.encode_text(batch.tokens))
        return contrast(logits, batch.right, batch.same) + TOLD_WEIGHT * told


def contrast(logits: Tensor, right: Tensor, same: Tensor) -> Tensor:
    """Return the mean cross-entropy over pictures and over sentences, for `logits` float[N,M]."""
    logits = logits.masked_fill(same, -1e4)
    per_picture = F.cross_entropy(logits, right.float().argmax(dim=1))
    own = right.any(dim=0)
    shares = right[:, own].float() / right[:, own].sum(dim=0)
    per_sentence = -(shares * logits[:, own].log_softmax(dim=0)).sum(dim=0).mean()
    return (per_picture + per_sentence) / 2


def scaled_cosines(model: Any, images: Tensor, texts: Tensor) -> Tensor:
    """Return `float[N,M]`: cosines of `float[N,D]` and `float[M,D]` times the learned scale."""
    scale = model.logit_scale.exp().clamp(max=MAX_SCALE)
    cosines: Tensor = F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T
    return scale * cosines


def make_batch(bank: stills.Bank, tokenizer: PreTrainedTokenizerFast, rng: np.random.Generator) -> ClipBatch:
    """Draw 24 scenes with four frames each, their 24 sentences and up to 72 other sentences."""
    rows = rng.choice(len(bank.scenes), SCENES, replace=False)
    own = [bank.scenes[row] for row in rows]
    others = [other for scene in own for other in stills.swapped(scene, rng, OTHERS)]
    scenes, shown = own + others, np.repeat(np.arange(SCENES), stills.PER_SCENE)
    looks = [stills.look_of(scene) for scene in scenes]
    alike = torch.tensor([[a == b for b in looks] for a in looks[:SCENES]])[shown]
    right = torch.zeros_like(alike)
    right[torch.arange(len(shown)), torch.from_numpy(shown)] = True
    frames = stills.disturb(np.concatenate([bank.frames[row] for row in rows]), rng)
    return ClipBatch(
        pictures=normalised(torch.from_numpy(frames)).contiguous(memory_format=torch.channels_last),  # faster on a CPU
        tokens=tokenize(tokenizer, [say(scene, rng) for scene in scenes]),
        right=right,
        same=alike & ~right,
        marks=torch.from_numpy(np.concatenate([bank.marks[row] for row in rows])),
    )


def say(scene: world.Scene, rng: np.random.Generator) -> str:
    """Return the prompt of a scene or, one time in three, a caption of its look."""
    return stills.caption(scene, rng) if rng.random() < 1 / 3 else world.prompt(scene, rng)


def tokenize(tokenizer: PreTrainedTokenizerFast, sentences: Sequence[str]) -> Tensor:
    """Encode M sentences as `int64[M,32]`."""
    batch = tokenizer(list(sentences), padding="max_length", truncation=True, max_length=CONTEXT, return_tensors="pt")
    ids: Tensor = batch.input_ids
    return ids


def normalised(pictures: Tensor) -> Tensor:
    """Normalise `float32[N,3,H,W]` in 0..1 to the input range of the network."""
    return (pictures - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def train(work: Path, num_steps: int, num_scenes: int, seed: int) -> tuple[nn.Module, Spent]:
    """Train until `num_steps`, and return the network and its training cost; resumes an earlier run."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    pupil = ClipTask(make_config(tokenizer)).to(memory_format=torch.channels_last)
    bank = stills.read_bank(work / f"stills-{num_scenes}.npy", num_scenes)
    spent = fit(
        work / "clip.pt", pupil, lambda rng: pupil.loss(make_batch(bank, tokenizer, rng)), num_steps, RATE, [seed]
    )
    return pupil.model, spent


def export(model: nn.Module, out: Path) -> None:
    """Write the folder that `open_clip.create_model_and_transforms("local-dir:...")` loads."""
    tokenizer = make_tokenizer()
    out.mkdir(parents=True, exist_ok=True)
    (out / "open_clip_config.json").write_text(json.dumps(make_config(tokenizer), indent=1) + "\n", encoding="utf8")
    halves = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    save_file(halves, out / WEIGHTS)
    tokenizer.save_pretrained(out)


@torch.no_grad()
def choose(model: Any, tokenizer: PreTrainedTokenizerFast, frames: np.ndarray, sentences: Sequence[str]) -> int:
    """Return the index of the sentence with the highest mean cosine to the clip `uint8[T,64,64,3]`."""
    pictures = torch.from_numpy(frames.transpose(0, 3, 1, 2)).float() / 255
    images = model.encode_image(normalised(pictures))
    logits = scaled_cosines(model, images, model.encode_text(tokenize(tokenizer, sentences)))
    return int(logits.mean(dim=0).argmax())


def measure(model: nn.Module, num_clips: int, seed: int) -> dict[str, float]:
    """Measure how often the right prompt of a held-out clip is chosen, with all changes and by attribute.

    The alternatives are up to 15 prompts that differ by one attribute.
    """
    tokenizer, rng = make_tokenizer(), np.random.default_rng([seed, 22])
    scenes, moments = stills.draw_scenes(num_clips, seed, held_out=True)
    asked: dict[str, list[bool]] = {}
    for scene, moment in zip(scenes, moments, strict=True):
        frames = world.render(scene, stills.NUM_FRAMES)
        seen = stills.as_seen(scene, stills.NUM_FRAMES)[moment[0]]
        assert seen is not None
        for name, wrong in _distractors(seen, rng).items():
            right = choose(model, tokenizer, frames[moment], [world.prompt(s) for s in (seen, *wrong)]) == 0
            asked.setdefault(name, []).append(right)
    return {name: round(float(np.mean(told)), 4) for name, told in asked.items()}


def _distractors(scene: world.Scene, rng: np.random.Generator) -> dict[str, list[world.Scene]]:
    """Return 15 scenes that differ from `scene` by any one attribute, and up to 5 for each kind of change."""
    by_change = {
        change.__name__: [
            other for _ in range(5) if stills.look_of(other := change(scene, rng)) != stills.look_of(scene)
        ]
        for change in stills.CHANGES
    }
    return {"any_of_16": stills.swapped(scene, rng, CHOICES - 1)} | {k: v for k, v in by_change.items() if v}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work/reward_nets"), help="checkpoint and drawn frames")
    parser.add_argument("--out", type=Path, default=Path("assets/reward_nets/clip"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--scenes", type=int, default=8000)
    parser.add_argument("--clips", type=int, default=500, help="held-out clips to measure on")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level="INFO", format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    model, spent = train(chosen.work, chosen.steps, chosen.scenes, chosen.seed)
    export(model, chosen.out)
    figures = measure(model, chosen.clips, chosen.seed)
    record = {"seed": chosen.seed, "steps": chosen.steps} | spent.to_dict() | {"held_out_clips": chosen.clips}
    record |= {"right_prompt": figures}
    (chosen.out / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")
    log.info("%s", json.dumps(record))


if __name__ == "__main__":
    main()
