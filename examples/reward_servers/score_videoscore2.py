"""VideoScore2 (He et al., arXiv:2509.22799): visual quality, alignment, physical consistency, 1 to 5.

Qwen2.5-VL-7B writes its reasons and ends with three digits. The score of an aspect is the expected digit,
`sum_s s P(s)` over 1..5 at the position of the digit, which is finer than the digit itself. Decoding is greedy, so that
a clip always gets the same score; the authors sample at temperature 0.7. Not tested with the published weights: the
tests use a tiny random model of the same class for the loop, and fixed texts for the parsing.
"""

import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration
from transformers.video_utils import VideoMetadata

from rewards.external.frame_scores import even_frames

MODEL = os.environ.get("VIDEOSCORE2_MODEL", "TIGER-Lab/VideoScore2")
DEVICE = os.environ.get("REWARD_DEVICE", "cuda" if torch.cuda.is_available() else "cpu")
FPS, MOST_FRAMES = 2.0, 32
MAX_NEW_TOKENS = 1024
LABELS = {
    "visual": "visual quality",
    "alignment": "text-to-video alignment",
    "physics": "physical/common-sense consistency",
}
QUESTION = (
    "You are an expert for evaluating AI-generated videos from three dimensions: (1) visual quality; (2) "
    "text-to-video alignment; (3) physical/common-sense consistency.\nVideo prompt: {prompt}\nGive each an integer "
    "from 1 to 5. End in this format:\nvisual quality: <v_score>; text-to-video alignment: <t_score>, "
    "physical/common-sense consistency: <p_score>"
)


@cache
def load() -> tuple[Any, Any]:
    """Return the model and its processor."""
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(MODEL, dtype=torch.bfloat16)
    return model.eval().to(DEVICE), AutoProcessor.from_pretrained(MODEL)


def score(
    prompts: Sequence[str], completions: Sequence[np.ndarray], fps: Sequence[float], **_: Any
) -> dict[str, list[float | None]]:
    """Return the three scores in 1..5 of each clip; None where the answer lacks the digit."""
    rows = [score_clip(*clip) for clip in zip(prompts, completions, fps, strict=True)]
    return {name: [row[name] for row in rows] for name in LABELS}


@torch.inference_mode()
def score_clip(prompt: str, frames: np.ndarray, fps: float) -> Mapping[str, float | None]:
    """Return the scores of one clip, sampled at 2 frames per second."""
    model, processor = load()
    seen = even_frames(frames, max(2, min(MOST_FRAMES, round(len(frames) / fps * FPS))))
    # Without it the processor takes 24 frames per second, and the model sees a clip of a fraction of its length.
    rate = VideoMetadata(
        total_num_frames=len(seen), fps=len(seen) / (len(frames) / fps), frames_indices=list(range(len(seen)))
    )
    content = [{"type": "video"}, {"type": "text", "text": QUESTION.replace("{prompt}", prompt)}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    video = torch.from_numpy(np.ascontiguousarray(seen)).permute(0, 3, 1, 2)
    inputs = processor(
        text=[text], videos=[video], video_metadata=[rate], do_sample_frames=False, return_tensors="pt"
    ).to(model.device)
    made = model.generate(
        **inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    tokens = made.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    return expected_scores(tokens, [logits[0] for logits in made.logits], processor.tokenizer)


def expected_scores(tokens: Sequence[int], logits: Sequence[Tensor], tokenizer: Any) -> Mapping[str, float | None]:
    """Return the expected digit of each aspect from the tokens and the logits of an answer.

    `logits` holds a `float[V]` for each token. The digit follows the aspect and a colon, in one line and after the
    model's reasons. An aspect without such a digit is None.
    """
    pieces = [tokenizer.decode([token]) for token in tokens]
    ends = np.cumsum([len(piece) for piece in pieces]).tolist()
    text = "".join(pieces)
    reasons = len(text) if "<think>" in text and "</think>" not in text else text.rfind("</think>") + 1
    digits = {value: tokenizer.encode(str(value), add_special_tokens=False) for value in range(1, 6)}
    if any(len(ids) != 1 for ids in digits.values()):
        return dict.fromkeys(LABELS)
    scores: dict[str, float | None] = {}
    for name, label in LABELS.items():
        answers = re.finditer(rf"{re.escape(label)}[^:;\n]*:\W*([1-5])(?!\.?\d)", text, re.IGNORECASE)
        places = [answer.start(1) for answer in answers if answer.start() >= reasons]
        if not places:
            scores[name] = None
            continue
        index = next(number for number, end in enumerate(ends) if end > places[-1])
        shares = torch.softmax(torch.stack([logits[index][ids[0]] for ids in digits.values()]).float(), dim=0)
        scores[name] = float((shares * torch.arange(1, 6, device=shares.device)).sum())
    return scores
