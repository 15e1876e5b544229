"""Train the embedded text similarity of the rewards: `python -m tools.mini.train_similarity`.

An interrupted run can be resumed.

A cross-encoder (BERT for sequence classification, one output) reads two sentences of the world and predicts how similar
the described looks are: 3/4 for the subjects (half for colour, half for shape, of the best assignment, divided by the
larger number of subjects), 1/4 for the background. Motion, size and word order do not count, because a caption of a
still frame lacks them. An auxiliary output predicts for each word that names a colour, a shape or a background if the
other sentence has it too; one label per pair alone trains the attention slowly.

Writes a folder that `AutoModelForSequenceClassification` and `AutoTokenizer` load (half precision), and `training.json`
with the seed and the measurements on held-out scenes.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

from engine.mini import world
from tools.mini import stills
from tools.mini.fitting import Spent, fit
from tools.mini.train_captioner import make_tokenizer

log = logging.getLogger(__name__)

MAX_TOKENS = 80
WIDTH, RATE, PAIRS = 64, 1e-3, 96
THINGS_SHARE = 0.75
Pair = tuple[str, str, float]
"""Two sentences, and the similarity of their looks in 0..1."""


def agreement(one: world.Scene, other: world.Scene) -> float:
    """Return the similarity of the looks of two scenes in 0..1; motion, size and order do not count."""
    longer, shorter = sorted((one.shown, other.shown), key=len, reverse=True)
    things = 1.0
    if longer:
        things = max(sum(map(_alike, shorter, order)) for order in permutations(longer, len(shorter))) / len(longer)
    return THINGS_SHARE * things + (1 - THINGS_SHARE) * (one.background == other.background)


def draw_pair(rng: np.random.Generator, *, held_out: bool = False) -> Pair:
    """Draw a prompt or caption of a scene, and one of another scene.

    The other scene has the same look, differs by one or two attributes, or is independent.
    """
    scene = world.sample_scene(rng, held_out)
    kind = rng.choice(["same", "near", "any"], p=[0.3, 0.5, 0.2])
    other = scene
    if kind == "near":
        for _ in range(int(rng.integers(1, 3))):
            other = (stills.swapped(other, rng, 1) or [other])[0]
    elif kind == "any":
        other = world.sample_scene(rng, held_out)
    if rng.random() < 0.03:
        other = world.Scene((), "still", other.background)
    sentences = [_say(scene, rng), _say(other, rng)]
    if rng.random() < 0.5:
        sentences.reverse()
    return sentences[0], sentences[1], agreement(scene, other)


def make_model(tokenizer: BertTokenizer) -> BertForSequenceClassification:
    """Create the network: two layers, one output, the log-odds of the similarity."""
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=MAX_TOKENS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.1,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    return BertForSequenceClassification(config)


class SimilarityTask(nn.Module):
    """The cross-encoder with the auxiliary output, which is used only in training."""

    def __init__(self, tokenizer: BertTokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.encoder = make_model(tokenizer)
        self.repeated = nn.Linear(WIDTH, 1)
        self.meanings = meanings(tokenizer)

    def loss(self, pairs: Sequence[Pair]) -> Tensor:
        """Return the cross-entropy of the similarity, plus that of the auxiliary output."""
        words = tokenize(self.tokenizer, pairs)
        out = self.encoder(**words, output_hidden_states=True)
        truth = torch.tensor([agreed for _, _, agreed in pairs])
        meaning = self.meanings[words["input_ids"]]
        told = self.repeated(out.hidden_states[-1])[..., 0][meaning > 0]
        in_both = is_repeated(meaning, words["token_type_ids"])[meaning > 0].float()
        whole = F.binary_cross_entropy_with_logits(out.logits[:, 0], truth)
        return whole + F.binary_cross_entropy_with_logits(told, in_both)


def meanings(tokenizer: BertTokenizer) -> Tensor:
    """Number the meanings of the words, `int64[V]`; 0 for words without one.

    A meaning is a colour, a shape or a background; synonyms as "circle" and "ball" share a number.
    """
    shapes = [world.SHAPE_WORDS.get(shape, (shape,)) for shape in world.SHAPES]
    kinds = [*((colour,) for colour in world.COLOURS), *shapes, *((background,) for background in world.BACKGROUNDS)]
    numbers = torch.zeros(len(tokenizer), dtype=torch.int64)
    for number, words in enumerate(kinds, start=1):
        numbers[tokenizer.convert_tokens_to_ids(list(words))] = number
    return numbers


def is_repeated(meaning: Tensor, sentence: Tensor) -> Tensor:
    """Return `bool[N,L]`: True if the other sentence has a word of the same meaning.

    `meaning` int64[N,L] is as in `meanings`; `sentence` int64[N,L] is 0 or 1.
    """
    same = meaning[:, :, None] == meaning[:, None]
    return (same & (sentence[:, :, None] != sentence[:, None])).any(dim=2)


def tokenize(tokenizer: BertTokenizer, pairs: Sequence[Pair]) -> dict[str, Tensor]:
    """Encode the two sentences of each pair as one BERT input."""
    batch = tokenizer([one for one, _, _ in pairs], [other for _, other, _ in pairs], padding=True, return_tensors="pt")
    return dict(batch)


def train(work: Path, num_steps: int, seed: int) -> tuple[BertForSequenceClassification, Spent]:
    """Train until `num_steps`, and return the network and its training cost; resumes an earlier run."""
    torch.manual_seed(seed)
    pupil = SimilarityTask(make_pair_tokenizer())

    def loss(rng: np.random.Generator) -> Tensor:
        return pupil.loss([draw_pair(rng) for _ in range(PAIRS)])

    return pupil.encoder, fit(work / "similarity.pt", pupil, loss, num_steps, RATE, [seed])


def make_pair_tokenizer() -> BertTokenizer:
    """Create the tokenizer of the captioner, with a length for two sentences."""
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = MAX_TOKENS
    return tokenizer


def export(model: BertForSequenceClassification, out: Path) -> None:
    """Write the folder, in half precision."""
    model.half().save_pretrained(out)
    model.float()
    make_pair_tokenizer().save_pretrained(out)


@torch.no_grad()
def measure(model: nn.Module, num_pairs: int, seed: int) -> dict[str, float]:
    """Measure the mean absolute error and the correlation on held-out pairs."""
    rng = np.random.default_rng([seed, 31])
    pairs = [draw_pair(rng, held_out=True) for _ in range(num_pairs)]
    told = model(**tokenize(make_pair_tokenizer(), pairs)).logits[:, 0].sigmoid().numpy()
    truth = np.array([agreed for _, _, agreed in pairs])
    return {
        "mean_error": round(float(np.abs(told - truth).mean()), 4),
        "correlation": round(float(np.corrcoef(told, truth)[0, 1]), 4),
    }


def _say(scene: world.Scene, rng: np.random.Generator) -> str:
    return world.prompt(scene, rng) if scene.shown and rng.random() < 0.5 else stills.caption(scene, rng)


def _alike(one: world.Subject, other: world.Subject) -> float:
    return ((one.colour == other.colour) + (one.shape == other.shape)) / 2


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work/reward_nets"), help="checkpoint")
    parser.add_argument("--out", type=Path, default=Path("assets/reward_nets/similarity"))
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--pairs", type=int, default=2000, help="held-out pairs to measure on")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level="INFO", format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    model, spent = train(chosen.work, chosen.steps, chosen.seed)
    export(model, chosen.out)
    record = {"seed": chosen.seed, "steps": chosen.steps} | spent.to_dict() | {"held_out_pairs": chosen.pairs}
    record |= {"agreement": measure(model, chosen.pairs, chosen.seed)}
    (chosen.out / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")
    log.info("%s", json.dumps(record))


if __name__ == "__main__":
    main()
