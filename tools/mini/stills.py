"""Labelled single frames of the world, to train the embedded CLIP and captioner of the rewards.

A frame shows less than its scene: a subject may be outside the picture or not have entered yet, and nothing moves. The
label is therefore the scene *as seen*: the subjects of which at least half is in the picture. Frames in which 15 to
50 % of a subject is visible are left out, because their label would be ambiguous. Sizes are not labelled.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor
from torch.nn import functional

from engine.mini import world

log = logging.getLogger(__name__)

SEEN_SHARE, HIDDEN_SHARE = 0.5, 0.15
NUM_FRAMES = 33
CELLS = 8
PER_SCENE = 4
BANK_SEED = 11
Look = tuple[str, tuple[tuple[str, str], ...]]
"""Background, and the sorted colours and shapes of the visible subjects: the content of a still frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """Labelled frames of S scenes.

    `frames` uint8[S,4,64,64,3]: four frames of each scene with the same visible subjects. `scenes`: each scene as seen
    in its frames. `marks` int64[S,4,8,8,2]: colour and shape (from 1; 0 for none) at the centre of each 8x8 px cell.
    """

    frames: np.ndarray
    scenes: tuple[world.Scene, ...]
    marks: np.ndarray


def seen_share(path: np.ndarray) -> np.ndarray:
    """Return the share of a subject's box inside the picture, `float64[T]`, for its path `float64[T,3]`."""
    x, y, radius = path.T
    sides = [np.clip(np.minimum(p + radius, world.SIZE_PX) - np.maximum(p - radius, 0), 0, None) for p in (x, y)]
    return np.asarray(sides[0] * sides[1] / (2 * radius) ** 2)


def as_seen(scene: world.Scene, num_frames: int) -> list[world.Scene | None]:
    """Return the scene as seen in each frame; None if a subject is partly visible (15 to 50 %)."""
    shares = np.stack([seen_share(world.track(scene, subject, num_frames)) for subject in scene.shown])
    unclear = np.any((shares > HIDDEN_SHARE) & (shares < SEEN_SHARE), axis=0)
    shown = shares >= SEEN_SHARE
    return [None if unclear[t] else _with_subjects(scene, shown[:, t]) for t in range(num_frames)]


def look_of(scene: world.Scene) -> Look:
    """Return the content of a still frame of a scene."""
    return scene.background, tuple(sorted((subject.colour, subject.shape) for subject in scene.shown))


def caption(scene: world.Scene, rng: np.random.Generator | None = None) -> str:
    """Describe the look of a scene in words, without size and motion; `rng` draws among synonyms.

    Examples: "a red circle and a blue star over a meadow"; "nothing at night" if no subject is visible.
    """
    nouns = [_noun(subject, rng) for subject in sorted(scene.shown, key=lambda subject: subject.colour)]
    return f"{' and '.join(nouns) or 'nothing'} {world.BACKGROUND_PHRASES[scene.background]}"


def swapped(scene: world.Scene, rng: np.random.Generator, count: int) -> list[world.Scene]:
    """Return up to `count` scenes that each differ from `scene`, and from each other, by one attribute.

    The attribute is the colour or shape of a subject, the background, the number of subjects, or the assignment of the
    colours to two subjects.
    """
    looks, found = {look_of(scene)}, []
    for _ in range(50 * count):
        changed = CHANGES[int(rng.integers(len(CHANGES)))](scene, rng)
        if look_of(changed) not in looks:
            looks.add(look_of(changed))
            found.append(changed)
        if len(found) == count:
            break
    return found


def swap_colour(scene: world.Scene, rng: np.random.Generator) -> world.Scene:
    """Give one subject a colour that the scene does not have."""
    unused = [colour for colour in world.COLOURS if colour not in {s.colour for s in scene.shown}]
    return _change_one(scene, rng, colour=str(rng.choice(unused)))


def swap_shape(scene: world.Scene, rng: np.random.Generator) -> world.Scene:
    """Give one subject a random shape, which is its own in one draw of six."""
    return _change_one(scene, rng, shape=str(rng.choice(world.SHAPES)))


def swap_background(scene: world.Scene, rng: np.random.Generator) -> world.Scene:
    """Draw a random background, which is its own in one draw of six; without a horizon, remove the pan."""
    background = str(rng.choice(world.BACKGROUNDS))
    return replace(scene, background=background, pan=scene.pan if background in world.HORIZONS else 0.0)


def swap_count(scene: world.Scene, rng: np.random.Generator) -> world.Scene:
    """Add a second subject, or remove one of two."""
    if len(scene.shown) > 1:
        keep = int(rng.integers(2))
        return replace(scene, subjects=(scene.shown[keep],), late=None)
    unused = [colour for colour in world.COLOURS if colour != scene.shown[0].colour]
    second = replace(scene.shown[0], colour=str(rng.choice(unused)), shape=str(rng.choice(world.SHAPES)))
    return replace(scene, subjects=(*scene.subjects, second))


def exchange_colours(scene: world.Scene, _rng: np.random.Generator) -> world.Scene:
    """Exchange the colours of two subjects: the caption has the same words in another order."""
    if len(scene.shown) < 2:
        return scene
    colours = [subject.colour for subject in reversed(scene.shown)]
    return _with_shown(scene, [replace(s, colour=c) for s, c in zip(scene.shown, colours, strict=True)])


CHANGES = (swap_colour, swap_shape, swap_background, swap_count, exchange_colours)


def read_bank(path: Path, num_scenes: int, seed: int = BANK_SEED) -> Bank:
    """Read the bank of `num_scenes` from `path`; draw and save it at the first call.

    The file takes a few hundred MB for some thousand scenes.
    """
    scenes, moments = draw_scenes(num_scenes, seed)
    if not path.exists():
        log.info("drawing %d scenes into %s", num_scenes, path)
        frames = np.stack([world.render(s, NUM_FRAMES, m) for s, m in zip(scenes, moments, strict=True)])
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npy")
        np.save(partial, frames)
        os.replace(partial, path)
    frames = np.load(path, mmap_mode="r")
    seen = [as_seen(scene, NUM_FRAMES)[m[0]] or scene for scene, m in zip(scenes, moments, strict=True)]
    marks = [mark_cells(scene, m) for scene, m in zip(scenes, moments, strict=True)]
    return Bank(frames=frames, scenes=tuple(seen), marks=np.stack(marks))


def mark_cells(scene: world.Scene, moments: np.ndarray) -> np.ndarray:
    """Return `Bank.marks` for the frames with the numbers `moments`, `int64[N,8,8,2]`."""
    marks = np.zeros((len(moments), CELLS, CELLS, 2), np.int64)
    middle_y, middle_x = (np.mgrid[0:CELLS, 0:CELLS] + 0.5) * world.SIZE_PX / CELLS
    for subject in scene.shown:
        x, y, radius = (a[:, None, None] for a in world.track(scene, subject, NUM_FRAMES)[moments].T)
        inside = np.hypot(middle_x - x, middle_y - y) < 0.9 * radius
        marks[inside] = (list(world.COLOURS).index(subject.colour) + 1, world.SHAPES.index(subject.shape) + 1)
    return marks


def draw_scenes(num_scenes: int, seed: int, *, held_out: bool = False) -> tuple[list[world.Scene], list[np.ndarray]]:
    """Draw scenes, and for each the numbers of four frames that show the same subjects."""
    rng = np.random.default_rng([seed, int(held_out)])
    scenes: list[world.Scene] = []
    moments: list[np.ndarray] = []
    while len(scenes) < num_scenes:
        scene = world.sample_scene(rng, held_out)
        seen = as_seen(scene, NUM_FRAMES)
        clear = [t for t, at in enumerate(seen) if at is not None and at.shown]
        if clear:
            chosen = seen[int(rng.choice(clear))]
            alike = [t for t in clear if seen[t] == chosen]
            scenes.append(scene)
            moments.append(rng.choice(alike, PER_SCENE))
    return scenes, moments


def reading_loss(colours: Tensor, shapes: Tensor, marks: Tensor) -> Tensor:
    """Return the cross-entropy of the colour, or "none", of every cell plus that of the shapes.

    `colours` float[N,9,...] and `shapes` float[N,6,...] are logits, `marks` int64[N,...,2] is as in `Bank`. The shape
    loss skips empty cells: they are nine in ten and would dominate the loss.
    """
    something = marks[..., 1] > 0
    of_shapes = functional.cross_entropy(shapes.movedim(1, -1)[something], marks[..., 1][something] - 1)
    return functional.cross_entropy(colours, marks[..., 0]) + of_shapes


def disturb(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Convert `uint8[N,H,W,3]` to `float32[N,3,H,W]` in 0..1 with random defects of generated frames.

    Each frame gets changes of brightness and contrast of up to 10 %, blur of up to 1.2 px and noise of up to 8 levels.
    """
    return np.stack([_disturbed(frame.astype(np.float32) / 255, rng).transpose(2, 0, 1) for frame in frames])


def _disturbed(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.3, 1.2)))
    if rng.random() < 0.5:
        level = picture.mean()
        picture = (picture - level) * rng.uniform(0.9, 1.1) + level * rng.uniform(0.9, 1.1)
    if rng.random() < 0.3:
        noise = rng.standard_normal(picture.shape, dtype=np.float32)
        picture = picture + np.float32(rng.uniform(0, 8 / 255)) * noise
    return np.clip(picture, 0, 1)


def _noun(subject: world.Subject, rng: np.random.Generator | None) -> str:
    words: Sequence[str] = world.SHAPE_WORDS.get(subject.shape, (subject.shape,))
    word = words[0] if rng is None else str(rng.choice(words))
    return f"a {subject.colour} {word}".replace("a orange", "an orange")


def _with_subjects(scene: world.Scene, shown: np.ndarray) -> world.Scene:
    return _with_shown(scene, [subject for subject, seen in zip(scene.shown, shown, strict=True) if seen])


def _with_shown(scene: world.Scene, subjects: Sequence[world.Subject]) -> world.Scene:
    """Return the scene with other subjects; the last one stays late only if their number is unchanged."""
    late = scene.late is not None and len(subjects) == len(scene.shown)
    return replace(scene, subjects=tuple(subjects[:-1] if late else subjects), late=subjects[-1] if late else None)


def _change_one(scene: world.Scene, rng: np.random.Generator, **change: str) -> world.Scene:
    chosen = int(rng.integers(len(scene.shown)))
    subjects = [replace(s, **change) if i == chosen else s for i, s in enumerate(scene.shown)]  # type: ignore[arg-type]
    return _with_shown(scene, subjects)
