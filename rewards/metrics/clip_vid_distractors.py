"""Sentences that a prompt competes with, from `assets/reward_nets/distractors.toml`.

They depend on the prompt alone. The other prompts of a batch are not used: a clip's reward would depend on the batch.
"""

import re
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import chain, islice, zip_longest
from pathlib import Path

from pydantic import ValidationError

from rewards.errors import RewardError
from rewards.models import FrozenModel
from rewards.weights.assets import ASSETS

PATH = ASSETS / "reward_nets" / "distractors.toml"
MAX_SWAPPED = 24
REMEMBERED_PROMPTS = 256  # a longest prompt of 10,000 characters keeps about 0.3 MB

Group = tuple[tuple[str, ...], ...]


class Distractors(FrozenModel):
    """One set of the file, whose comments describe the entries."""

    prompts: tuple[str, ...]
    forms: tuple[str, ...]
    swaps: tuple[Group, ...]
    keep: tuple[str, ...]


@cache
def read_distractors(name: str, path: Path = PATH) -> Distractors:
    """Return the set of that name. Raises RewardError when the file or the set is missing or malformed."""
    try:
        return Distractors.model_validate(tomllib.loads(path.read_text(encoding="utf8"))[name])
    except (OSError, tomllib.TOMLDecodeError, KeyError, ValidationError) as error:
        raise RewardError(f"The distractors {name!r} cannot be read from {path.name}: {error}.") from error


@lru_cache(maxsize=REMEMBERED_PROMPTS)
def distractors_of(prompt: str, name: str) -> tuple[str, ...]:
    """Return at most 24 versions of `prompt` with a word changed, its forms, and the fixed prompts.

    Versions are generated lazily, because a long prompt has thousands.
    """
    known = read_distractors(name)
    places = [_find(prompt, group, known.keep) for group in known.swaps]
    changed = [_changed(prompt, group, found) for group, found in zip(known.swaps, places, strict=True)]
    in_turn = (text for row in zip_longest(*changed) for text in row if text is not None)
    swapped = islice(chain(_exchanged(prompt, known.swaps, places), in_turn), MAX_SWAPPED)
    forms = [form.format(prompt=prompt) for form in known.forms]
    plain = _plain(prompt)
    return tuple(text for text in dict.fromkeys((*swapped, *forms, *known.prompts)) if _plain(text) != plain)


def _changed(prompt: str, group: Group, places: Sequence[re.Match[str]]) -> Iterator[str]:
    """Yield the prompt with one of the group's words changed into each other kind, the places in turn."""
    others = [[kind[0] for kind in group if place[0].lower() not in kind] for place in places]
    for words in zip_longest(*others):
        for place, word in zip(places, words, strict=True):
            if word is not None:
                yield _replace(prompt, place, word)


def _exchanged(prompt: str, groups: Sequence[Group], places: Sequence[Sequence[re.Match[str]]]) -> Iterator[str]:
    """Yield "a blue car and a red bus" for "a red car and a blue bus".

    Two groups need two kinds each: "a red car and a blue car" with exchanged words would mean the same.
    """
    pairs = [found[:2] for group, found in zip(groups, places, strict=True) if _is_pair(group, found[:2])]
    if len(pairs) > 1:
        first, second = pairs[0]
        between = prompt[first.end() : second.start()]
        yield _with_articles(prompt[: first.start()] + second[0] + between + first[0] + prompt[second.end() :])


def _is_pair(group: Group, places: Sequence[re.Match[str]]) -> bool:
    kinds = {kind for kind in group for place in places if place[0].lower() in kind}
    return len(kinds) > 1


def _find(prompt: str, group: Group, keep: tuple[str, ...]) -> list[re.Match[str]]:
    phrases = (found for phrase in keep for found in re.finditer(re.escape(phrase), prompt, re.IGNORECASE))
    kept = {at for found in phrases for at in range(*found.span())}
    words = sorted((re.escape(word) for kind in group for word in kind), key=len, reverse=True)
    places = re.finditer(rf"\b(?:{'|'.join(words)})\b", prompt, re.IGNORECASE)
    return [place for place in places if place.start() not in kept]


def _replace(prompt: str, place: re.Match[str], word: str) -> str:
    return _with_articles(prompt[: place.start()] + word + prompt[place.end() :])


def _with_articles(text: str) -> str:
    """Correct "a orange" and "an red": a network must not judge by the article."""
    text = re.sub(r"\b([Aa])n (?=[^aeiouAEIOU\W])", r"\1 ", text)
    return re.sub(r"\b([Aa]) (?=[aeioAEIO])", r"\1n ", text)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
