"""`Clip`: the decoded frames that rewards score."""

from dataclasses import dataclass

import numpy as np

from rewards.errors import RewardError


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A clip: `frames` `uint8[T,H,W,3]` RGB, `fps` in 1/s, and its `prompt` ("" without one).

    `seams` are the frame indices at which generation windows meet (empty when the clip was generated in one window).
    `first_picture` `uint8[H,W,3]` is the picture that the clip was to begin with, at the size of the frames; None for a
    clip from text alone. Raises RewardError when the frames or the picture have another shape or type.
    """

    frames: np.ndarray
    fps: float
    prompt: str = ""
    seams: tuple[int, ...] = ()
    first_picture: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape, dtype = getattr(self.frames, "shape", None), getattr(self.frames, "dtype", None)
        if shape is None or len(shape) != 4 or shape[-1] != 3 or dtype != np.uint8 or 0 in shape:
            given = f"the type {type(self.frames).__name__}" if shape is None else f"{dtype}{list(shape)}"
            raise RewardError(f"A clip needs frames uint8[T,H,W,3] with T >= 1, but got {given}.")
        picture = self.first_picture
        if picture is not None and (picture.shape != shape[1:] or picture.dtype != np.uint8):
            raise RewardError(
                f"A first picture needs the size of the frames, uint8{list(shape[1:])}, but it is "
                f"{picture.dtype}{list(picture.shape)}."
            )
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise RewardError(f"A clip needs a positive frame rate, but got fps={self.fps}.")

    @property
    def num_frames(self) -> int:
        return int(self.frames.shape[0])

    @property
    def height(self) -> int:
        return int(self.frames.shape[1])

    @property
    def width(self) -> int:
        return int(self.frames.shape[2])

    @property
    def seconds(self) -> float:
        return self.num_frames / self.fps
