"""Text encoder of `mini`: a small T5 over the words of the world.

It is trained before the video model to predict ten attributes of the scene from the tokens of the prompt, and is then
frozen; its tokens therefore encode "the *subject* is red" instead of "the word red occurs". Prompts are padded to 128
tokens as in LTXPipeline, which all attend to each other.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from engine.mini import world

log = logging.getLogger(__name__)

MAX_TOKENS = 128
WIDTH = 96
SPECIAL = ("<pad>", "</s>", "<unk>")
GRAMMAR = "a an and then the camera pans enters looping growing small large".split()


def vocabulary() -> list[str]:
    """Return every word that prompts of the world can use, in a fixed order."""
    phrases = [*world.COLOURS, *world.SHAPES, *world.SIZES, *world.BACKGROUND_PHRASES.values(), *GRAMMAR]
    phrases += [p for options in (*world.MOTION_PHRASES.values(), *world.SHAPE_WORDS.values()) for p in options]
    return [*SPECIAL, ",", *sorted({word for phrase in phrases for word in phrase.split()})]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Create the tokenizer: whole words, lower case, <unk> for unknown words."""
    words = {word: i for i, word in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", words["</s>"])])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=MAX_TOKENS
    )


def tokenize(tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return ids and mask, `int64[B,128]` each, as LTXPipeline expects them."""
    batch = tokenizer(list(prompts), padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt")
    return batch.input_ids, batch.attention_mask


def attributes(scene: world.Scene) -> dict[str, int]:
    """Return the labels of the encoder: the index of each attribute; 0 is "none" for optional attributes."""
    first, second = scene.subjects[0], (scene.shown[1] if len(scene.shown) > 1 else None)
    colours, shapes, sizes = list(world.COLOURS), list(world.SHAPES), list(world.SIZES)
    alone = len(scene.subjects) == 1
    return {
        "colour": colours.index(first.colour),
        "shape": shapes.index(first.shape),
        "size": sizes.index(first.size) + 1 if alone else 0,
        "second_colour": colours.index(second.colour) + 1 if second else 0,
        "second_shape": shapes.index(second.shape) + 1 if second else 0,
        "late": int(scene.late is not None),
        "motion": world.MOTIONS.index(scene.motion),
        "background": world.BACKGROUNDS.index(scene.background),
        "pan": int(np.sign(scene.pan)) + 1,
        "loop": int(scene.loop),
    }


NUM_VALUES = {
    "colour": len(world.COLOURS),
    "shape": len(world.SHAPES),
    "size": len(world.SIZES) + 1,
    "second_colour": len(world.COLOURS) + 1,
    "second_shape": len(world.SHAPES) + 1,
    "late": 2,
    "motion": len(world.MOTIONS),
    "background": len(world.BACKGROUNDS),
    "pan": 3,
    "loop": 2,
}


class Reader(nn.Module):
    """Predicts the attributes: one learned query per attribute attends to the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(len(NUM_VALUES), WIDTH) / WIDTH**0.5)
        self.heads = nn.ModuleList(nn.Linear(WIDTH, n) for n in NUM_VALUES.values())

    def forward(self, tokens: Tensor, mask: Tensor) -> list[Tensor]:
        scores = torch.einsum("qd,bld->bql", self.queries, tokens).masked_fill(mask[:, None] == 0, -1e9)
        pooled = scores.softmax(dim=-1) @ tokens
        return [head(pooled[:, i]) for i, head in enumerate(self.heads)]


def train(folder: Path, num_steps: int = 700, seed: int = 0, batch: int = 64) -> float:
    """Train and save `text_encoder/` and `tokenizer/`; return the `accuracy` on held-out scenes."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 2])
    tokenizer = make_tokenizer()
    config = T5Config(
        vocab_size=len(tokenizer), d_model=WIDTH, d_kv=24, num_heads=4, num_layers=2, d_ff=192, dropout_rate=0.0
    )
    encoder, reader = T5EncoderModel(config), Reader()
    parameters = [*encoder.parameters(), *reader.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3)
    for step in range(num_steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 50) * (1 - step / num_steps)
        loss = _loss(encoder, reader, tokenizer, rng, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 99:
            log.info("text step %d  loss %.4f", step + 1, loss.item())
    encoder.save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
    return accuracy(encoder, reader, tokenizer, np.random.default_rng([seed, 3]))


def _batch(rng: np.random.Generator, count: int, held_out: bool) -> tuple[list[str], Tensor]:
    scenes = [world.sample_scene(rng, held_out) for _ in range(count)]
    return [world.prompt(s, rng) for s in scenes], torch.tensor([list(attributes(s).values()) for s in scenes])


def _loss(
    encoder: T5EncoderModel,
    reader: Reader,
    tokenizer: PreTrainedTokenizerFast,
    rng: np.random.Generator,
    count: int,
) -> Tensor:
    prompts, truth = _batch(rng, count, held_out=False)
    ids, mask = tokenize(tokenizer, prompts)
    logits = reader(encoder(ids)[0], mask)
    return torch.stack([nn.functional.cross_entropy(part, truth[:, i]) for i, part in enumerate(logits)]).mean()


@torch.no_grad()
def accuracy(
    encoder: T5EncoderModel,
    reader: Reader,
    tokenizer: PreTrainedTokenizerFast,
    rng: np.random.Generator,
    count: int = 256,
) -> float:
    """Return the share of correct attributes of `count` held-out scenes."""
    prompts, truth = _batch(rng, count, held_out=True)
    ids, mask = tokenize(tokenizer, prompts)
    told = torch.stack([part.argmax(dim=1) for part in reader(encoder(ids)[0], mask)], dim=1)
    return float((told == truth).float().mean())
