"""The synthetic world of `mini`: flat coloured shapes that move over simple backgrounds.

A `Scene` is the complete ground truth of a clip: `prompt(scene)` describes it in words, `render(scene, T)` draws it as
`uint8[T,64,64,3]` at 8 fps. Positions are pixels (x right, y down), times are frames. Motion has the same speed at any
length: a shape that leaves on one side re-enters on the other, so a long clip tests the memory of one subject.
"""

import zlib
from dataclasses import dataclass

import numpy as np

SIZE_PX = 64
FPS = 8
LOOP_FRAMES = 16  # period of "looping": the same picture again after this many frames
SPEED_PX = 1.5  # per frame
LATE_FRAME = 12  # when a late object enters

COLOURS = {
    "red": (225, 30, 40),
    "orange": (245, 130, 20),
    "yellow": (240, 215, 20),
    "green": (30, 165, 60),
    "cyan": (20, 190, 205),
    "blue": (35, 70, 225),
    "purple": (130, 45, 190),
    "pink": (240, 75, 175),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
SIZES = {"small": 10.0, "medium": 13.0, "large": 16.0}  # radius, px
BACKGROUNDS = ("white", "grey", "sunset", "meadow", "desert", "night")
HORIZONS = ("meadow", "desert", "night")  # backgrounds that show a camera pan
DIRECTIONS = {
    "left": (-1.0, 0.0),
    "right": (1.0, 0.0),
    "up": (0.0, -1.0),
    "down": (0.0, 1.0),
    "up-left": (-0.8, -0.8),
    "up-right": (0.8, -0.8),
    "down-left": (-0.8, 0.8),
    "down-right": (0.8, 0.8),
}
MOTIONS = (*DIRECTIONS, "bounce", "circle", "grow", "still")
LOOPABLE = ("bounce", "circle", "grow")

MOTION_PHRASES = {
    "left": ("moving left", "sliding to the left"),
    "right": ("moving right", "sliding to the right"),
    "up": ("moving up", "rising"),
    "down": ("moving down", "falling"),
    "up-left": ("moving diagonally up and left",),
    "up-right": ("moving diagonally up and right",),
    "down-left": ("moving diagonally down and left",),
    "down-right": ("moving diagonally down and right",),
    "bounce": ("bouncing",),
    "circle": ("moving in a circle", "circling around"),
    "grow": ("growing",),
    "still": ("standing still",),
}
SHAPE_WORDS = {"circle": ("circle", "ball"), "square": ("square", "box")}
BACKGROUND_PHRASES = {
    "white": "on a white background",
    "grey": "on a grey background",
    "sunset": "in front of a sunset",
    "meadow": "over a meadow",
    "desert": "in the desert",
    "night": "at night",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """One shape.

    `x`, `y`: centre at frame 0 (px); `drift`: sideways drift of a bounce (-1 or 1); `phase`: 0..1.
    """

    shape: str
    colour: str
    size: str
    x: float
    y: float
    drift: float = 1.0
    phase: float = 0.0


@dataclass(frozen=True, slots=True)
class Scene:
    """Ground truth of a clip.

    All `subjects` share `motion`; `late` enters at `LATE_FRAME` and then stands still.
    """

    subjects: tuple[Subject, ...]
    motion: str
    background: str
    pan: float = 0.0  # scroll of the background in px per frame; negative is to the left
    loop: bool = False
    late: Subject | None = None

    @property
    def shown(self) -> tuple[Subject, ...]:
        return (*self.subjects, self.late) if self.late else self.subjects


def is_held_out(scene: Scene) -> bool:
    """Return True for the tenth of all combinations of attributes that is held out of training.

    A combination is shape, colour, motion and background.
    """
    first = scene.subjects[0]
    key = f"{first.shape}/{first.colour}/{scene.motion}/{scene.background}"
    return zlib.crc32(key.encode()) % 10 == 0


def sample_scene(rng: np.random.Generator, held_out: bool | None = None) -> Scene:
    """Return a random scene: of the training set (False), of the held-out set (True), or of either (None)."""
    while True:
        scene = _draw_scene(rng)
        if held_out is None or is_held_out(scene) == held_out:
            return scene


def _draw_scene(rng: np.random.Generator) -> Scene:
    motion = str(rng.choice(MOTIONS))
    background = str(rng.choice(BACKGROUNDS))
    pan = float(rng.choice([-1.0, 1.0])) if background in HORIZONS and rng.random() < 0.2 else 0.0
    loop = motion in LOOPABLE and bool(rng.random() < 0.5) and not pan
    kind = rng.choice(["one", "two", "late"], p=[0.8, 0.12, 0.08])
    colours = [str(c) for c in rng.choice(list(COLOURS), size=2, replace=False)]
    if kind == "two" and motion in ("left", "right", "up", "down", "still", "bounce"):
        subjects = tuple(_place(rng, colours[lane], motion, lane) for lane in (0, 1))
        return Scene(subjects, motion, background, pan, loop)
    first = _place(rng, colours[0], motion, None)
    late = None
    if kind == "late" and motion in ("left", "right", "still"):
        first = _place(rng, colours[0], motion, 1)
        late = Subject(_shape(rng), colours[1], "small", float(rng.uniform(14, 50)), 14.0)
    return Scene((first,), motion, background, pan, loop, late)


def _shape(rng: np.random.Generator) -> str:
    return str(rng.choice(SHAPES))


def _place(rng: np.random.Generator, colour: str, motion: str, lane: int | None) -> Subject:
    """Return a subject placed so that its path shows it for the first seconds.

    `lane` 0 or 1 keeps two subjects apart.
    """
    size = str(rng.choice(list(SIZES))) if lane is None else "small"
    radius = SIZES[size]
    dx, dy = DIRECTIONS.get(motion, (0.0, 0.0))
    free = (radius + 2, SIZE_PX - radius - 2)
    x = rng.uniform(8, 24) if dx > 0 else rng.uniform(40, 56) if dx < 0 else rng.uniform(*free)
    y = rng.uniform(8, 24) if dy > 0 else rng.uniform(40, 56) if dy < 0 else rng.uniform(*free)
    if lane is not None and dx:
        y = (16.0, 47.0)[lane]
    elif lane is not None:
        x = (16.0, 47.0)[lane]
        y = 32.0 if motion == "still" else y
    return Subject(_shape(rng), colour, size, float(x), float(y), float(rng.choice([-1.0, 1.0])), float(rng.random()))


def prompt(scene: Scene, rng: np.random.Generator | None = None) -> str:
    """Return the scene in words; with `rng`, one of several wordings."""

    def pick(options: tuple[str, ...]) -> str:
        return options[0] if rng is None else str(rng.choice(options))

    def noun(s: Subject, sized: bool) -> str:
        size = "" if s.size == "medium" or not sized else s.size + " "
        return f"a {size}{s.colour} {pick(SHAPE_WORDS.get(s.shape, (s.shape,)))}".replace("a orange", "an orange")

    names = " and ".join(noun(s, len(scene.subjects) == 1) for s in scene.subjects)
    words = f"{names} {pick(MOTION_PHRASES[scene.motion])} {BACKGROUND_PHRASES[scene.background]}"
    if scene.late:
        words += f", then {noun(scene.late, False)} enters"
    if scene.pan:
        words += ", the camera pans " + ("right" if scene.pan < 0 else "left")
    return words + (", looping" if scene.loop else "")


def track(scene: Scene, subject: Subject, num_frames: int) -> np.ndarray:
    """Return the path of a subject, `float64[T,3]`: centre x, centre y, radius in px.

    The centre is outside the picture while it wraps round.
    """
    t = np.arange(num_frames, dtype=np.float64)
    radius = np.full_like(t, SIZES[subject.size])
    x, y = np.full_like(t, subject.x), np.full_like(t, subject.y)
    if subject is scene.late:
        y = np.where(t < LATE_FRAME, -99.0, np.minimum(subject.y, -10.0 + 4.0 * (t - LATE_FRAME)))
    elif scene.motion in DIRECTIONS:
        dx, dy = DIRECTIONS[scene.motion]
        x = _wrap(x + dx * SPEED_PX * t, radius) if dx else x
        y = _wrap(y + dy * SPEED_PX * t, radius) if dy else y
    elif scene.motion == "bounce":
        y = SIZE_PX - radius - 3 - 26 * np.abs(np.sin(np.pi * (t / LOOP_FRAMES + subject.phase)))
        x = x if scene.loop or len(scene.subjects) > 1 else _wrap(x + 0.75 * subject.drift * t, radius)
        if not scene.loop and len(scene.subjects) > 1:  # two subjects bounce in place, with decreasing height
            y = SIZE_PX - radius - 3 - (SIZE_PX - radius - 3 - y) * (0.5 + 0.5 * np.exp(-t / 24))
    elif scene.motion == "circle":
        period = LOOP_FRAMES if scene.loop else 1.5 * LOOP_FRAMES
        reach = 12.0 if scene.loop else 10.5 + 4 * np.sin(2 * np.pi * (t / 90 + subject.phase))
        angle = 2 * np.pi * (t / period + subject.phase)
        x, y = SIZE_PX / 2 + reach * np.cos(angle), SIZE_PX / 2 + reach * np.sin(angle)
    elif scene.motion == "grow":
        pulse = 1.0 - 0.3 * np.cos(2 * np.pi * t / LOOP_FRAMES)
        radius = radius * (pulse if scene.loop else 0.7 + 0.65 * np.minimum(1.0, t / 32))
        x, y = np.clip(x, 22, 42), np.clip(y, 22, 42)
    return np.stack([x, y, radius], axis=1)


def _wrap(position: np.ndarray, radius: np.ndarray) -> np.ndarray:
    margin = radius + 2
    return np.mod(position + margin, SIZE_PX + 2 * margin) - margin


def signed_distance(shape: str, x: np.ndarray, y: np.ndarray, r: np.ndarray | float) -> np.ndarray:
    """Return the distance in px from the outline of a shape of radius `r` at the origin.

    It is negative inside. Arguments broadcast.
    """
    if shape == "circle":
        return np.hypot(x, y) - r
    if shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) - 0.88 * r
    if shape == "cross":
        bar = np.maximum(np.abs(x) - r, np.abs(y) - 0.36 * r)
        return np.minimum(bar, np.maximum(np.abs(x) - 0.36 * r, np.abs(y) - r))
    if shape == "triangle":
        slanted = np.abs(x) * np.cos(np.pi / 6) - (y - 0.15 * r) * np.sin(np.pi / 6)
        return np.maximum(slanted, y - 0.15 * r) - 0.6 * r
    if shape == "heart":
        side = 0.56 * r
        lobes = np.hypot(np.abs(x) - side * np.sqrt(0.5), y + side * np.sqrt(0.5) - 0.1 * r) - side
        diamond = (np.abs(x) + np.abs(y - 0.1 * r)) * np.sqrt(0.5) - side
        return np.minimum(lobes, diamond)
    if shape == "star":
        sector = 2 * np.pi / 5
        angle = np.mod(np.arctan2(x, -y) + sector / 2, sector) - sector / 2
        px, py = np.hypot(x, y) * np.cos(angle), np.hypot(x, y) * np.abs(np.sin(angle))
        tip, inner = 1.12 * r, 0.5 * r
        ix, iy = inner * np.cos(sector / 2), inner * np.sin(sector / 2)
        length = np.hypot(tip - ix, iy)
        return ((px - tip) * iy + py * (tip - ix)) / length
    raise ValueError(f"shape {shape!r} is none of {', '.join(SHAPES)}")


def render(scene: Scene, num_frames: int, moments: np.ndarray | None = None) -> np.ndarray:
    """Draw a scene, `uint8[T,64,64,3]`, with edges smoothed over one pixel.

    With `moments`, draw only the frames of these numbers.
    """
    moments = np.arange(num_frames) if moments is None else moments
    frames = _background(scene, moments)
    grid_y, grid_x = np.mgrid[0:SIZE_PX, 0:SIZE_PX].astype(np.float32) + 0.5
    for subject in scene.shown:
        path = track(scene, subject, num_frames)[moments]
        x, y, radius = (a[:, None, None].astype(np.float32) for a in path.T)
        alpha = np.clip(0.5 - signed_distance(subject.shape, grid_x - x, grid_y - y, radius), 0, 1)[..., None]
        frames = frames * (1 - alpha) + alpha * np.array(COLOURS[subject.colour], np.float32)
    return np.round(frames).astype(np.uint8)


def _background(scene: Scene, moments: np.ndarray) -> np.ndarray:
    """Return the background `float32[T,64,64,3]` at the frames numbered `moments`.

    Backgrounds keep low chroma, so that subjects stand out for the judge and the eye.
    """
    y, x = np.mgrid[0:SIZE_PX, 0:SIZE_PX].astype(np.float32)
    scroll = scene.pan * moments.astype(np.float32)[:, None, None] if scene.pan else np.zeros((1, 1, 1))
    x = np.mod(x[None] - scroll.astype(np.float32), SIZE_PX)
    turn = 2 * np.pi * x / SIZE_PX
    if scene.background in ("white", "grey"):
        level = 238.0 if scene.background == "white" else 150.0
        image = np.full((1, SIZE_PX, SIZE_PX, 3), level, np.float32)
    elif scene.background == "sunset":
        mix = (y / (SIZE_PX - 1))[None, ..., None]
        image = (1 - mix) * np.array((178, 172, 205), np.float32) + mix * np.array((246, 214, 196), np.float32)
    else:
        sky, ground, line = {
            "meadow": ((203, 216, 233), (142, 164, 132), 42 + 3 * np.sin(2 * turn)),
            "desert": ((236, 228, 208), (198, 180, 152), 40 + 5 * np.sin(turn)),
            "night": ((34, 36, 58), (58, 58, 60), 46 + 0 * turn),
        }[scene.background]
        mix = np.clip(y[None] - line + 0.5, 0, 1)[..., None]
        image = (1 - mix) * np.array(sky, np.float32) + mix * np.array(ground, np.float32)
        if scene.background == "night":
            for star_x, star_y in ((8, 9), (26, 24), (44, 8), (56, 30)):
                glow = np.clip(2.2 - np.hypot(x - star_x, y[None] - star_y), 0, 1)[..., None]
                image = image + glow * (np.float32(205) - image)
    return np.broadcast_to(image, (len(moments), SIZE_PX, SIZE_PX, 3)).astype(np.float32)
