"""Train the embedded captioner of the rewards: `python -m tools.mini.train_captioner`. It can resume.

A small BLIP of the class in transformers describes a frame of the world: "a blue star and a red circle over a meadow",
"nothing at night". Two auxiliary linear layers, dropped after training, predict colour and shape in each 8x8 px cell
from the picture tokens, because the captions alone give too little information on positions.

Writes a folder that `BlipProcessor` and `BlipForConditionalGeneration` load (weights in half precision), and
`training.json` with the seed and the measurements on held-out scenes.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
)

from engine.mini import world
from tools.mini import stills
from tools.mini.fitting import Spent, fit
from tools.mini.text import SPECIAL, vocabulary

log = logging.getLogger(__name__)

MAX_TOKENS = 48
WIDTH, LAYERS, TEXT_LAYERS, HEADS = 96, 3, 2, 4
RATE = 2e-3
SCENES, MOMENTS, EMPTY = 48, 2, 4  # a batch: 48 scenes with two frames each, and four frames without a subject
TOLD_WEIGHT = 1.0
MEAN, STD = (0.55, 0.55, 0.55), (0.28, 0.28, 0.28)


def make_tokenizer() -> BertTokenizer:
    """Create a BERT tokenizer of whole words: "[CLS] a red circle ... [SEP]"; [UNK] for unknown words."""
    words = [word for word in dict.fromkeys([*vocabulary(), "nothing"]) if word not in SPECIAL]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    return BertTokenizer(vocab={token: i for i, token in enumerate(tokens)}, model_max_length=MAX_TOKENS)


def make_processor() -> BlipProcessor:
    """Create the processor: frames to 64x64 px and a fixed range, words to ids."""
    size = {"height": world.SIZE_PX, "width": world.SIZE_PX}
    return BlipProcessor(BlipImageProcessor(size=size, image_mean=MEAN, image_std=STD), make_tokenizer())


def make_config() -> BlipConfig:
    """Return the configuration: three vision layers over 8x8 px patches, two text layers."""
    tokenizer = make_tokenizer()
    sizes = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_attention_heads": HEADS}
    text = sizes | {
        "vocab_size": len(tokenizer),
        "encoder_hidden_size": WIDTH,
        "num_hidden_layers": TEXT_LAYERS,
        "max_position_embeddings": MAX_TOKENS,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = sizes | {"num_hidden_layers": LAYERS, "image_size": world.SIZE_PX, "patch_size": world.SIZE_PX // 8}
    return BlipConfig(text_config=text, vision_config=vision, projection_dim=WIDTH, image_text_hidden_size=WIDTH)


class CaptionerTask(nn.Module):
    """The captioner with the auxiliary layers, which are used only in training."""

    def __init__(self) -> None:
        super().__init__()
        self.captioner = BlipForConditionalGeneration(make_config())
        nn.init.normal_(self.captioner.vision_model.embeddings.position_embedding, std=0.02)
        self.colours = nn.Linear(WIDTH, len(world.COLOURS) + 1)
        self.shapes = nn.Linear(WIDTH, len(world.SHAPES))

    def loss(self, pictures: Tensor, ids: Tensor, mask: Tensor, marks: Tensor) -> Tensor:
        """Return the loss of the captions plus that of the cells.

        `marks` int64[N,64,2]: colour and shape in each cell, 0 for none.
        """
        with torch.autocast("cpu", torch.bfloat16):
            out = self.captioner(
                pixel_values=pictures,
                input_ids=ids,
                attention_mask=mask,
                labels=ids.masked_fill(mask == 0, -100),
                return_dict=True,
            )
        cells = out.last_hidden_state[:, 1:].float()
        colours, shapes = (reader(cells).transpose(1, 2) for reader in (self.colours, self.shapes))
        told = stills.reading_loss(colours, shapes, marks)
        caption_loss: Tensor = out.loss
        return caption_loss + TOLD_WEIGHT * told


def make_batch(bank: stills.Bank, tokenizer: BertTokenizer, rng: np.random.Generator) -> tuple[Tensor, ...]:
    """Draw the arguments of `CaptionerTask.loss`."""
    rows = rng.choice(len(bank.scenes), SCENES, replace=False)
    which = [(row, moment) for row in rows for moment in rng.choice(stills.PER_SCENE, MOMENTS, replace=False)]
    empty = [world.Scene((), "still", str(rng.choice(world.BACKGROUNDS))) for _ in range(EMPTY)]
    pictures = np.stack([*(bank.frames[place] for place in which), *(world.render(scene, 1)[0] for scene in empty)])
    scenes = [*(bank.scenes[row] for row, _ in which), *empty]
    marks = np.stack([bank.marks[place].reshape(-1, 2) for place in which])
    marks = np.concatenate([marks, np.zeros((EMPTY, *marks.shape[1:]), int)])
    words = tokenizer([stills.caption(scene) for scene in scenes], padding=True, return_tensors="pt")
    return (
        normalised(torch.from_numpy(stills.disturb(pictures, rng))),
        words.input_ids,
        words.attention_mask,
        torch.from_numpy(marks),
    )


def normalised(pictures: Tensor) -> Tensor:
    """Normalise `float32[N,3,H,W]` in 0..1 to the input range of the network."""
    return (pictures - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def train(work: Path, num_steps: int, num_scenes: int, seed: int) -> tuple[BlipForConditionalGeneration, Spent]:
    """Train until `num_steps`, and return the captioner and its training cost; resumes an earlier run."""
    torch.manual_seed(seed)
    pupil, tokenizer = CaptionerTask(), make_tokenizer()
    bank = stills.read_bank(work / f"stills-{num_scenes}.npy", num_scenes)
    spent = fit(
        work / "captioner.pt", pupil, lambda rng: pupil.loss(*make_batch(bank, tokenizer, rng)), num_steps, RATE, [seed]
    )
    return pupil.captioner, spent


def export(captioner: BlipForConditionalGeneration, out: Path) -> None:
    """Write the folder, in half precision."""
    captioner.half().save_pretrained(out)
    captioner.float()
    make_processor().save_pretrained(out)


@torch.no_grad()
def describe(captioner: BlipForConditionalGeneration, frames: np.ndarray) -> list[str]:
    """Return a caption for each frame of `uint8[N,64,64,3]`."""
    pictures = normalised(torch.from_numpy(frames.transpose(0, 3, 1, 2)).float() / 255)
    ids = captioner.generate(pixel_values=pictures, max_new_tokens=24, num_beams=1, do_sample=False)
    texts: list[str] = make_tokenizer().batch_decode(ids, skip_special_tokens=True)
    return texts


def measure(captioner: BlipForConditionalGeneration, num_clips: int, seed: int) -> dict[str, float]:
    """Return the shares of correct words and of correct captions on `num_clips` held-out frames."""
    scenes, moments = stills.draw_scenes(num_clips, seed, held_out=True)
    frames = np.concatenate([world.render(s, stills.NUM_FRAMES, m[:1]) for s, m in zip(scenes, moments, strict=True)])
    told: dict[str, list[bool]] = {"colour": [], "shape": [], "background": [], "count": [], "caption": []}
    for scene, moment, text in zip(scenes, moments, describe(captioner, frames), strict=True):
        seen = stills.as_seen(scene, stills.NUM_FRAMES)[moment[0]]
        assert seen is not None
        right = stills.caption(seen)
        told["caption"].append(text == right)
        told["background"].append(text.endswith(world.BACKGROUND_PHRASES[seen.background]))
        told["count"].append(text.count(" and ") == right.count(" and "))
        told["colour"].append(_words_of(text, world.COLOURS) == _words_of(right, world.COLOURS))
        told["shape"].append(_words_of(text, world.SHAPES) == _words_of(right, world.SHAPES))
    return {name: round(float(np.mean(results)), 4) for name, results in told.items()}


def _words_of(text: str, known: Sequence[str] | dict[str, tuple[int, int, int]]) -> list[str]:
    return sorted(word for word in text.split() if word in known)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work/reward_nets"), help="checkpoint and drawn frames")
    parser.add_argument("--out", type=Path, default=Path("assets/reward_nets/blip"))
    parser.add_argument("--steps", type=int, default=1100)
    parser.add_argument("--scenes", type=int, default=8000)
    parser.add_argument("--clips", type=int, default=500, help="held-out clips to measure on")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level="INFO", format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    captioner, spent = train(chosen.work, chosen.steps, chosen.scenes, chosen.seed)
    export(captioner, chosen.out)
    record = {"seed": chosen.seed, "steps": chosen.steps} | spent.to_dict() | {"held_out_clips": chosen.clips}
    record |= {"right": measure(captioner, chosen.clips, chosen.seed)}
    (chosen.out / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")
    log.info("%s", json.dumps(record))


if __name__ == "__main__":
    main()
