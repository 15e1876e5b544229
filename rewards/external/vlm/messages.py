"""Messages to a VLM judge and the reading of its answers. No I/O.

Yes or no: `P(yes) / (P(yes) + P(no))` from the log-probabilities of the first answer token, summed over all spellings.
The form is that of VQAScore (arXiv:2404.01291), normalised over the two answers.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rewards.clip import Clip
from rewards.external.clip_json import encode_clip
from rewards.external.vlm.table import PROMPT, VlmJudge
from rewards.external.vlm.verdicts import Choice

TOP_LOGPROBS = 20  # the most that OpenAI's interface allows
PAIR_ENDING = "Which video is better? Answer with one letter, A or B, or with the word tie."
_LAST_LINE = re.compile(
    r"\W*(?:(?:the|my|final)\s+)*(?:answer\W+(?:is\W+)?)?(?:video\s+(?=[AB]\b)|an?\s+(?=tie))?(A|B|tie)(?:\s+is\s+better)?\W*",
    re.IGNORECASE,
)
# The letter is a capital and no article: "answer: A video that ..." chooses nothing.
_ENDING = re.compile(
    r"(?i:answer)\W+(?i:is\W+)?(?:(?i:video)\s+)?(?:((?i:(?:a\s+)?tie)|[AB])\b)(?!\s+(?!because|as|since|is)\w)"
)


Pictures = list[dict[str, Any]]
"""Frames of a clip as parts of a message."""


def request_about(judge: VlmJudge, clip: Clip, names: Sequence[str]) -> dict[str, Any]:
    """Return the body of a pointwise request; `names` are the numbers that a rubric asks for."""
    question = _text(judge.ask.replace(PROMPT, clip.prompt))
    parts = [*pictures_of(judge, clip), question]
    if judge.mode == "rubric" and not judge.labels:
        shape = ", ".join(f"{json.dumps(name)}: number" for name in names)
        parts.append(_text(f"Answer with one JSON object and nothing else: {{{shape}}}"))
    body = _body(judge, parts)
    if judge.mode == "yes_no":
        body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
    return body


def request_about_pair(judge: VlmJudge, prompt: str, first: Pictures, second: Pictures) -> dict[str, Any]:
    """Return the body of a request that shows `first` as video A and `second` as video B."""
    shown = [_text("Video A:"), *first, _text("Video B:"), *second]
    return _body(judge, [*shown, _text(judge.ask.replace(PROMPT, prompt)), _text(PAIR_ENDING)])


def probability_of_yes(answer: Any, judge: VlmJudge) -> float | None:
    """Return the share of yes in 0..1, or None when neither word is among the first tokens.

    Raises ValueError for an answer without log-probabilities.
    """
    try:
        tokens = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        found = [(str(token["token"]), float(token["logprob"])) for token in tokens]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError("gave no log-probabilities of its first token, which yes_no needs") from error
    if any(math.isnan(logprob) or logprob > 1e-6 for _, logprob in found):
        raise ValueError("gave log-probabilities that are not numbers of at most 0")
    yes, no = (_mass(found, words) for words in (judge.yes, judge.no))
    return yes / (yes + no) if yes + no > 0 else None


def numbers_in(text: str, names: Sequence[str]) -> Mapping[str, Any]:
    """Return the last JSON object in a text that has all the names. Raises ValueError when there is none."""
    decoder, found = json.JSONDecoder(), None
    for start in (match.start() for match in re.finditer(r"\{", text)):
        try:
            value, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and set(names) <= value.keys():
            found = value
    if found is None:
        raise ValueError(f"answered {text[:60]!r}, which has no JSON object with {', '.join(names)}")
    return {name: found[name] for name in names}


def numbers_after(text: str, labels: Mapping[str, str]) -> Mapping[str, float]:
    """Return the number of the last line "label: number" of each label.

    Raises ValueError when a label has none.
    """
    numbers = {}
    for name, label in labels.items():
        found = re.findall(rf"{re.escape(label)}\W*?:\W*?(-?\d+(?:\.\d+)?)", text, re.IGNORECASE)
        if not found:
            raise ValueError(f"answered {text[-60:]!r}, which has no number after {label!r}")
        numbers[name] = float(found[-1])
    return numbers


def choice_in(text: str) -> Choice:
    """Return the choice of an answer, "" for one that cannot be read.

    What a reasoning model thinks first does not count. The last line is A, B, tie or a short sentence of it; otherwise
    the last phrase such as "answer: A" counts.
    """
    lines = [line for line in text.rpartition("</think>")[2].partition("<think>")[0].splitlines() if line.strip()]
    last = _LAST_LINE.fullmatch(lines[-1]) if lines else None
    endings = _ENDING.findall("\n".join(lines))
    word = last.group(1) if last else endings[-1] if endings else ""
    choices: dict[str, Choice] = {"a": "A", "b": "B", "tie": "tie"}
    return choices.get(word.lower().split()[-1] if word else "", "")


def text_of(answer: Any) -> str:
    """Return the text of an answer. Raises ValueError when it has none."""
    try:
        text = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError("gave an answer without a message") from error
    if not isinstance(text, str):
        if answer["choices"][0].get("finish_reason") == "length":
            raise ValueError("reached its limit of tokens before an answer: raise max_tokens, or turn off thinking")
        raise ValueError("gave an answer without text")
    return text


def _body(judge: VlmJudge, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    system = [{"role": "system", "content": judge.system}] if judge.system else []
    limits = {"max_tokens": judge.token_limit, "temperature": 0, "seed": 0}
    return {
        "model": judge.model,
        "messages": [*system, {"role": "user", "content": list(parts)}],
        **{name: value for name, value in limits.items() if name not in judge.omit},
        **judge.body,
    }


def pictures_of(judge: VlmJudge, clip: Clip) -> Pictures:
    """Return the frames that the judge is shown. Raises CallFailed if one cannot be encoded."""
    frames = encode_clip(clip, judge.frames, judge.picture)["frames"]
    address = f"data:image/{judge.picture};base64,"
    return [{"type": "image_url", "image_url": {"url": address + frame}} for frame in frames]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _mass(tokens: Sequence[tuple[str, float]], words: Sequence[str]) -> float:
    """Return the probability of all spellings; tokenizers mark a leading space by U+2581 or U+0120."""
    spellings = {word.strip().casefold() for word in words}
    return math.fsum(math.exp(logprob) for token, logprob in tokens if token.strip(" \t\n▁Ġ.,").casefold() in spellings)
