"""Parser of prompts of `mini`'s world: the inverse of `world.prompt`.

Words outside the world's grammar are ignored: their attributes are None (or empty), and the judge skips them.
"""

import re
from dataclasses import dataclass

from engine.mini import world


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedSubject:
    """A requested subject; None for an attribute that the prompt omits.

    `late`: it should enter after the clip has begun.
    """

    shape: str | None
    colour: str | None
    size: str | None = None
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The content that a prompt requests.

    `motion`: of the subjects that are not late; `pan`: "left", "right" or None.
    """

    subjects: tuple[AskedSubject, ...] = ()
    motion: str | None = None
    background: str | None = None
    pan: str | None = None
    loop: bool = False

    @property
    def count(self) -> int | None:
        """The number of requested subjects, or None when the prompt names none."""
        return len(self.subjects) or None

    @property
    def late(self) -> bool:
        return any(subject.late for subject in self.subjects)


def _options(words: list[str]) -> str:
    """Return a regular expression for any of `words`.

    The longest comes first, so that "up" does not match part of "up and left".
    """
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_MOTION_OF = {phrase: motion for motion, phrases in world.MOTION_PHRASES.items() for phrase in phrases}
_BACKGROUND_OF = {phrase: background for background, phrase in world.BACKGROUND_PHRASES.items()}
_SHAPE_OF = {word: shape for shape in world.SHAPES for word in world.SHAPE_WORDS.get(shape, (shape,))}

_MOTION = re.compile(rf"\b(?:{_options(list(_MOTION_OF))})\b")
_BACKGROUND = re.compile(rf"\b(?:{_options(list(_BACKGROUND_OF))})\b")
_PAN = re.compile(r"\bthe camera pans (left|right)\b")
_LOOP = re.compile(r"\blooping\b")
_LATE = re.compile(r"\bthen\b(.*)\benters\b")
_NOUN = re.compile(
    rf"\b(?:({_options(list(world.SIZES))})\s+)?(?:({_options(list(world.COLOURS))})\b(?:\s+({_options(list(_SHAPE_OF))})\b)?"
    rf"|({_options(list(_SHAPE_OF))})\b)"
)


def parse(prompt: str) -> Asked:
    """Parse a prompt, ignoring case and spacing. Never raises: unknown words request nothing."""
    text = " ".join(prompt.lower().split())
    loop = _LOOP.search(text) is not None
    pan, text = _take(_PAN, text)
    background, text = _take(_BACKGROUND, text)
    motion, text = _take(_MOTION, text)  # before the nouns: "moving in a circle" requests no circle
    late = _LATE.search(text)
    early_text, late_text = (text[: late.start()], late[1]) if late else (text, "")
    return Asked(
        subjects=(*_subjects(early_text, late=False), *_subjects(late_text, late=True)),
        motion=_MOTION_OF[motion] if motion else None,
        background=_BACKGROUND_OF[background] if background else None,
        pan=pan.rsplit(" ", 1)[-1] if pan else None,
        loop=loop,
    )


def asked_by(scene: world.Scene) -> Asked:
    """Return the request in `world.prompt(scene)`; sizes that the prompt omits are None."""
    alone = len(scene.subjects) == 1
    return Asked(
        subjects=tuple(
            AskedSubject(
                shape=subject.shape,
                colour=subject.colour,
                size=subject.size if alone and subject is not scene.late and subject.size != "medium" else None,
                late=subject is scene.late,
            )
            for subject in scene.shown
        ),
        motion=scene.motion,
        background=scene.background,
        pan=("right" if scene.pan < 0 else "left") if scene.pan else None,
        loop=scene.loop,
    )


def _take(pattern: re.Pattern[str], text: str) -> tuple[str | None, str]:
    """Return the first match and the text without it."""

    match = pattern.search(text)
    return (match[0], f"{text[: match.start()]} {text[match.end() :]}") if match else (None, text)


def _subjects(text: str, *, late: bool) -> tuple[AskedSubject, ...]:
    return tuple(
        AskedSubject(shape=_SHAPE_OF.get(shape or bare_shape), colour=colour or None, size=size or None, late=late)
        for size, colour, shape, bare_shape in _NOUN.findall(text)
    )
